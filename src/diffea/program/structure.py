"""Structure: what decides which code a batch compiles to."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from diffea.events.blocks import Blocks, block_rows, capacity, crowded_rows, runs, to_blocks
from diffea.events.classes import divided
from diffea.events.columns import Columns, pack
from diffea.events.minibatches import shuffled
from diffea.events.scalars import Static
from diffea.runtime import accelerator
from diffea.types import PyTree


@dataclasses.dataclass(frozen=True)
class Structure:
    """What ``fill`` may branch on: the same structure compiles to the same code.

    Attributes:
        static: the plain Python values among the columns.
        shapes: pytree of ``jax.ShapeDtypeStruct`` of one block.
    """

    static: tuple[tuple[str, Static], ...]
    shapes: PyTree

    @property
    def rows(self) -> int:
        """Of a block."""
        return int(jax.tree.leaves(self.shapes)[0].shape[0])

    @functools.cached_property
    def identity(self) -> tuple[object, ...]:
        leaves, tree = jax.tree.flatten(self.shapes)
        return repr(self.static), tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves), tree

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.identity == other.identity


def pieces(
    columns: Columns, dtype: np.dtype, size: int | None = None
) -> tuple[tuple[Structure, ...], tuple[Blocks, ...], tuple[np.ndarray, ...]]:
    """Columns of a batch in size classes, each shuffled and in blocks: all at once, or a few at a time so that few shapes compile.

    Args:
        columns: of some events of one dataset.
        dtype: of floating-point columns.
        size: rows of a block of the class with most events; by default chosen for it alone.

    Returns:
        structure and blocks of each piece, and which events it holds.
    """
    classes = divided(columns) or (np.arange(columns.rows, dtype=np.int32),)
    most = max(map(len, classes))
    found: list[tuple[Structure, Blocks, np.ndarray]] = []
    for ordered in classes:
        members = ordered[shuffled(len(ordered))]
        part = columns.of(members)
        arrays = pack(part, dtype)
        rows = (size or block_rows([len(members)])) if len(members) == most else crowded_rows(arrays)
        if accelerator() is not None:  # which takes all rows at once
            rows *= capacity(-(-len(members) // rows))
        for start, stop, blocks in runs(len(members), rows, classes=len(classes)):
            some = jax.tree.map(lambda leaf, start=start, stop=stop: leaf[start:stop], arrays)
            cut = to_blocks(some, stop - start, rows, blocks)
            if part.hashes is not None:
                cut = dataclasses.replace(cut, hashes=part.hashes[start:stop])
            found.append((_structure(columns, cut), cut, members[start:stop]))
    structures, cuts, events = zip(*found, strict=True)
    return structures, cuts, events


def structured(columns: Columns, dtype: np.dtype, size: int | None = None) -> tuple[Structure, Blocks]:
    """Columns in blocks, with their structure.

    Args:
        columns: of some events of one dataset.
        dtype: of floating-point columns.
        size: rows of a block; by default chosen for these rows alone.
    """
    blocks = to_blocks(pack(columns, dtype), columns.rows, size or block_rows([columns.rows]))
    return _structure(columns, blocks), blocks


def _structure(columns: Columns, blocks: Blocks) -> Structure:
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), blocks.arrays)
    return Structure(tuple(sorted(columns.static.items())), shapes)
