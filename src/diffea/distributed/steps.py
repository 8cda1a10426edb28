"""Steps: what is computed on a shard, and how what is not finite is traced to an event."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, TypeGuard, get_args

import jax
import numpy as np

from diffea.distributed.reduction import Partial, merge
from diffea.distributed.shards import Held, Shard
from diffea.errors import DiffeaError, LedgerError, NotFiniteError
from diffea.events.blocks import Blocks
from diffea.events.minibatches import Part
from diffea.parameters import brief, finite
from diffea.portable import Portable
from diffea.program import Mode, Program, Structure, hard_sums, replicated_sums, selected, surveyed
from diffea.program.explain import explain
from diffea.runtime import check_worker, on_accelerator
from diffea.templates import Layout
from diffea.types import AnyArray, Params, PyTree

Exact: TypeAlias = Literal["hard", "replicas", "survey", "selection"]
AnyMode: TypeAlias = Mode | Exact
"""What to sum: see ``Program.run``; ``hard`` for exact cuts and plain histograms, ``replicas`` for those and their bootstrap, ``survey`` and
``selection`` for what each cut does, see ``diffea.program.cuts``."""


@dataclasses.dataclass(frozen=True)
class Point:
    """Where the sums are taken.

    Attributes:
        params: pytree of float64 arrays.
        widths: scale of the widths of soft cuts.
        part: of the events, as number, parts and seed of a ``Part``.
        more: the cotangents, for ``vjp``; the numbers of the replicas, for ``replicas``; names of cuts and channels, for ``survey``, and then
            ranges and directions, for ``selection``.
    """

    params: Params
    widths: float
    part: AnyArray
    more: tuple[AnyArray, ...]


def points_of(params: Params, widths: AnyArray, part: AnyArray, *more: AnyArray) -> list[Point]:
    """The points of a pass, from arrays whose first axis numbers them, or has one entry that is the same for all."""
    arguments = params, widths, part, more
    return [
        Point(*jax.tree.map(lambda leaf: leaf[min(number, len(leaf) - 1)], arguments))  # noqa: B023
        for number in range(points(arguments))
    ]


def points(arguments: PyTree) -> int:
    """How many points the arguments of a pass are."""
    return max(len(leaf) for leaf in jax.tree.leaves(arguments))


def step(shard: Shard, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> Partial:
    """Sums over a shard, at one or more points: the first axis of all sums is that of the points.

    Args:
        shard: its batches.
        mode: see ``Kernels.run``; ``hard`` for exact cuts and plain histograms.
        layout: of the analysis.
        *arguments: see ``points_of``.

    Raises:
        WorkerMismatchError: if this worker, to which dask may have moved the shard, would compute other numbers than the driver.
        NotFiniteError: if a sum or gradient is NaN or infinite, naming dataset, file and event.
    """
    began = time.perf_counter()
    source = shard.source
    check_worker(source.versions)
    program, whole = source.program, source.program.keep(layout)
    compiled = program.compile_seconds
    scale = 1.0 if source.split is None else source.split.scale
    empty = Partial(source.batches, {(0, index): (0, None) for index in shard.empty})
    points = points_of(*arguments)
    if _is_soft(mode):
        points = [dataclasses.replace(point, params=on_accelerator(point.params)) for point in points]
    sums = (
        Partial(source.batches, {(0, held.batch.index): _sums(program, held, scale, mode, whole, points)})
        for held in shard.held
    )
    partial = merge(itertools.chain([empty], sums))
    compiling = program.compile_seconds - compiled
    return partial.here().spent(compute=time.perf_counter() - began - compiling, compile=compiling)


def _sums(
    program: Program, held: Held, scale: float, mode: AnyMode, whole: Layout, points: Sequence[Point]
) -> tuple[int, PyTree]:
    """The number of events of a batch, less those that a part of it should hold and did not count; and their sums at each point, stacked.

    Raises:
        LedgerError: if a point counted other events than the first.
    """
    blocks, counts, sums = held.blocks, [], []
    for point in points:
        windows = _windows(held, Part(*map(int, point.part)))
        counted, summed = _sum(program, held, blocks, windows, scale, mode, whole, point)
        counts.append(sum(held.rows) - sum(stop - start for _, start, stop in windows) + counted)
        sums.append(summed)
    if len(set(counts)) > 1:
        msg = f"{held.batch.chunks[0]} and what follows: points of one pass counted {sorted(set(counts))} events"
        raise LedgerError(msg)
    return counts[0], jax.tree.map(lambda *leaves: np.stack(leaves), *sums)


def _windows(held: Held, part: Part) -> list[tuple[int, int, int]]:
    """The rows of each piece that belong to a part, its share of each size class; never none, of which there would be no sum."""
    found, before = [], 0
    for _, pieces in itertools.groupby(zip(held.structures, held.rows, strict=True), key=lambda piece: piece[0]):
        rows = [count for _, count in pieces]
        windows = part.windows(rows, held.batch.index, before)
        found += [(before + piece, start, stop) for piece, start, stop in windows]
        before += len(rows)
    return found or [(0, 0, 0)]


def _sum(
    program: Program,
    held: Held,
    blocks: Sequence[Blocks],
    windows: Sequence[tuple[int, int, int]],
    scale: float,
    mode: AnyMode,
    whole: Layout,
    point: Point,
) -> tuple[int, PyTree]:
    """The number of events and their sum over some rows of a batch's pieces, one after the other."""
    sums = (
        _of_window(program, held, held.structures[piece], blocks[piece], start, stop, scale, mode, whole, point)
        for piece, start, stop in windows
    )
    count, summed = functools.reduce(functools.partial(jax.tree.map, np.add), sums)
    if _is_soft(mode) and not finite(summed):
        raise _not_finite(program, held, blocks, scale, mode, whole, point)
    return int(count), summed


def _of_window(
    program: Program,
    held: Held,
    structure: Structure,
    blocks: Blocks,
    start: int,
    stop: int,
    scale: float,
    mode: AnyMode,
    whole: Layout,
    point: Point,
) -> tuple[int, PyTree]:
    sample, params = held.batch.file.sample, point.params
    if _is_soft(mode):
        window = blocks.window(start, stop)
        return program.run(mode, structure, sample, whole, params, window, scale, *point.more, widths=point.widths)
    chunks = held.batch.chunks
    where = f"{chunks[0]}" if len(chunks) == 1 else f"{chunks[0]}, to {chunks[-1]}"
    if mode == "replicas":
        return replicated_sums(
            program, structure, sample, whole, params, blocks, scale, where, np.asarray(point.more[0])
        )
    if mode == "survey":
        names, channels = (list(map(str, more)) for more in point.more)
        return surveyed(program, structure, sample, params, blocks, names, channels)
    if mode == "selection":
        names, channels = (list(map(str, more)) for more in point.more[:2])
        ranges, directions = map(np.asarray, point.more[2:])
        return selected(program, structure, sample, whole, params, blocks, scale, names, channels, ranges, directions)
    parts = [blocks] if (start, stop) == (0, int(blocks.rows)) else blocks.parts(np.arange(start, stop))
    sums = (hard_sums(program, structure, sample, whole, params, part, scale, where) for part in parts)
    return functools.reduce(functools.partial(jax.tree.map, np.add), sums, (0, np.zeros((2, whole.size), object)))


def _is_soft(mode: AnyMode) -> TypeGuard[Mode]:
    return mode not in get_args(Exact)


def _not_finite(
    program: Program, held: Held, blocks: Sequence[Blocks], scale: float, mode: Mode, whole: Layout, point: Point
) -> DiffeaError:
    """Find the first event whose contribution is not finite: by blocks, then by halves."""
    size = max(piece.size for piece in blocks)
    sample, params = held.batch.file.sample, point.params

    def parts(start: int, stop: int) -> Iterator[tuple[Structure, Blocks]]:
        for structure, piece, rows in zip(held.structures, blocks, held.within(start, stop), strict=True):
            yield from ((structure, part) for part in piece.parts(rows))

    def bad(start: int, stop: int) -> bool:
        return any(
            not finite(
                program.run(mode, structure, sample, whole, params, part, scale, *point.more, widths=point.widths)[1]
            )
            for structure, part in parts(start, stop)
        )

    total = sum(held.kept)
    start = next((row for row in range(0, total, size) if bad(row, min(row + size, total))), 0)
    stop = min(start + size, total)
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (start, middle) if bad(start, middle) else (middle, stop)
    before = np.cumsum([0, *held.kept])
    number = int(np.searchsorted(before, start, side="right")) - 1
    where = f"{held.batch.chunks[number]}, event {start - before[number]} of the {held.kept[number]} selected there"
    ((structure, event),) = parts(start, start + 1)
    if cause := explain(program, structure, params, jax.tree.map(lambda leaf: leaf[0], event.arrays)):
        return type(cause)(f"{cause} (from {where}, at the parameters {brief(params)})")
    what = "a template" if mode == "values" else "a template or its gradient"
    msg = f"{what} is NaN or infinite from {where}; look at `{program.name}.fill` at the parameters {brief(params)}"
    return NotFiniteError(msg)
