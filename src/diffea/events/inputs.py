"""Inputs: which entries of which files the partitions of a dask-awkward collection read, so that no sample reads any twice.

A partition of one input that uproot reads is known by file, tree and range; of another kind, or of several inputs, by nothing. A copy of
a file is not told from the file: its UUID is read later, and by uproot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

from diffea.errors import FilesetError
from diffea.events.filesets import Chunk
from diffea.events.plan import place_of, tree_of
from diffea.types import Events


@dataclasses.dataclass(frozen=True)
class Input:
    """What a partition reads.

    Attributes:
        start: first entry, or share of the file before it.
        stop: one past the last, or share of the file up to it.
        unit: of these: ``"entries"`` or ``"shares"``.
    """

    path: str
    tree: str
    start: int | Fraction
    stop: int | Fraction
    unit: str


def inputs_of(collection: Events) -> list[Input | None]:
    """What each partition of a collection reads, as far as it is known."""
    read = {
        (name, *number): description
        for name, layer in collection.dask.layers.items()
        for blockwise in (getattr(layer, "io_deps", None) or {}).values()
        if hasattr(blockwise, "mapping")
        for number in _numbers(layer)
        if (description := _described(blockwise.mapping[number]))
    }
    found: list[Input | None] = []
    for number in range(collection.npartitions):
        tasks = collection.dask.cull({(collection.name, number)}).to_dict()
        inputs = [read[key] for key in tasks if key in read]
        found.append(inputs[0] if len(inputs) == 1 else None)
    return found


def check_disjoint(found: Iterable[tuple[Chunk, Input | None]]) -> None:
    """See that no two partitions of one sample read the same entries.

    Raises:
        FilesetError: if two do.
    """
    by_tree: dict[tuple[str, object, str], list[tuple[Input, Chunk]]] = {}
    for chunk, read in found:
        if read is not None:
            by_tree.setdefault((chunk.file.sample, place_of(read.path), tree_of(read.tree)), []).append((read, chunk))
    for pairs in by_tree.values():
        pairs.sort(key=lambda pair: (pair[0].unit, pair[0].start))
        for (read, chunk), (other, after) in pairwise(pairs):
            if read.unit != other.unit or other.start < read.stop:
                msg = (
                    f"sample {chunk.file.sample!r} would count events of {other.path}, tree {other.tree!r}, twice: {chunk} and {after} "
                    f"read {_range(read)} and {_range(other)} of it"
                )
                raise FilesetError(msg)


def _numbers(layer: Any) -> list[tuple[int]]:
    return sorted((key[1],) for key in layer.get_output_keys())


def _described(inputs: object) -> Input | None:
    match inputs:
        case (str(path), str(tree), int(start), int(stop), True):
            return Input(path, tree, start, stop, "entries")
        case (str(path), str(tree), int(number), int(steps), False):
            return Input(path, tree, Fraction(number, steps), Fraction(number + 1, steps), "shares")
    return None


def _range(read: Input) -> str:
    return f"the {read.unit} {read.start}–{read.stop}"
