"""Steps: what is computed on a shard, and how what is not finite is traced to an event."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import jax
import numpy as np

from diffea.distributed.reduction import Partial, merge
from diffea.distributed.shards import Held, Shard
from diffea.errors import DiffeaError, NotFiniteError
from diffea.events.blocks import Blocks
from diffea.parameters import brief, finite
from diffea.portable import Portable
from diffea.program import Mode, Program, Structure, hard_sums
from diffea.program.explain import explain
from diffea.runtime import check_worker
from diffea.templates import Layout
from diffea.types import AnyArray, Params, PyTree

AnyMode: TypeAlias = Mode | Literal["hard"]
"""What to sum: see ``Program.run``; ``hard`` for exact cuts and plain histograms."""


def step(shard: Shard, mode: AnyMode, layout: Portable[Layout], params: Params, *more: AnyArray) -> Partial:
    """Sums over a shard.

    Args:
        shard: its batches.
        mode: see ``Kernels.run``; ``hard`` for exact cuts and plain histograms.
        layout: of the analysis.
        params: pytree of float64 arrays.
        *more: the cotangents, for ``vjp``.

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
    sums = (
        Partial(source.batches, {(0, held.batch.index): _sum(program, held, scale, mode, whole, params, *more)})
        for held in shard.held
    )
    partial = merge(itertools.chain([empty], sums))
    compiling = program.compile_seconds - compiled
    return partial.spent(compute=time.perf_counter() - began - compiling, compile=compiling)


def _sum(
    program: Program, held: Held, scale: float, mode: AnyMode, whole: Layout, params: Params, *more: AnyArray
) -> tuple[int, PyTree]:
    """The number of events of a batch and their sum, over its size classes, one after the other."""
    blocks = held.blocks
    count, summed = functools.reduce(
        functools.partial(jax.tree.map, np.add),
        (
            _of_class(program, held, *piece, scale, mode, whole, params, *more)
            for piece in zip(held.structures, blocks, strict=True)
        ),
    )
    if mode != "hard" and not finite(summed):
        raise _not_finite(program, held, blocks, scale, mode, whole, params, *more)
    return int(count), summed


def _of_class(
    program: Program,
    held: Held,
    structure: Structure,
    blocks: Blocks,
    scale: float,
    mode: AnyMode,
    whole: Layout,
    *arguments: PyTree,
) -> tuple[int, PyTree]:
    sample, (params, *more) = held.batch.file.sample, arguments
    if mode != "hard":
        return program.run(mode, structure, sample, whole, params, blocks, scale, *more)
    chunks = held.batch.chunks
    where = f"{chunks[0]}" if len(chunks) == 1 else f"{chunks[0]}, to {chunks[-1]}"
    return hard_sums(program, structure, sample, whole, params, blocks, scale, where)


def _not_finite(
    program: Program, held: Held, blocks: Sequence[Blocks], scale: float, mode: Mode, *arguments: PyTree
) -> DiffeaError:
    """Find the first event whose contribution is not finite: by blocks, then by halves."""
    size = max(piece.size for piece in blocks)
    sample, (whole, params, *more) = held.batch.file.sample, arguments

    def parts(start: int, stop: int) -> Iterator[tuple[Structure, Blocks]]:
        for structure, piece, rows in zip(held.structures, blocks, held.within(start, stop), strict=True):
            yield from ((structure, part) for part in piece.parts(rows))

    def bad(start: int, stop: int) -> bool:
        return any(
            not finite(program.run(mode, structure, sample, whole, params, part, scale, *more)[1])
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
