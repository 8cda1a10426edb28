"""Steps: what is computed on a shard, and how what is not finite is traced to an event."""

from __future__ import annotations

import itertools
import time
from typing import Any, Literal

import jax
import numpy as np

from diffea.distributed.reduction import Partial, merge
from diffea.distributed.shards import Held, Shard
from diffea.errors import DiffeaError, NotFiniteError
from diffea.events.blocks import Blocks
from diffea.parameters import brief, finite
from diffea.portable import Portable
from diffea.program import Mode, Program, hard_sums
from diffea.program.explain import explain
from diffea.runtime import check_worker
from diffea.templates import Layout


def step(shard: Shard, mode: Mode | Literal["hard"], layout: Portable[Layout], params: Any, *more: Any) -> Partial:
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
    program: Program, held: Held, scale: float, mode: Any, whole: Layout, params: Any, *more: Any
) -> tuple[int, Any]:
    sample, blocks = held.batch.file.sample, held.blocks
    if mode == "hard":
        chunks = held.batch.chunks
        where = f"{chunks[0]}" if len(chunks) == 1 else f"{chunks[0]}, to {chunks[-1]}"
        return hard_sums(program, held.structure, sample, whole, params, blocks, scale, where)
    count, summed = program.run(mode, held.structure, sample, whole, params, blocks, scale, *more)
    if not finite(summed):
        raise _not_finite(program, held, blocks, scale, mode, whole, params, *more)
    return count, summed


def _not_finite(
    program: Program, held: Held, blocks: Blocks, scale: float, mode: Mode, whole: Layout, params: Any, *more: Any
) -> DiffeaError:
    """Find the first event whose contribution is not finite: by blocks, then by halves."""
    size = jax.tree.leaves(blocks.arrays)[0].shape[1]

    def bad(start: int, stop: int) -> bool:
        take = np.minimum(np.arange(start, start + size), stop - 1)
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[take][None], blocks.arrays)
        part = Blocks(rows, np.asarray(stop - start))
        return not finite(program.run(mode, held.structure, held.batch.file.sample, whole, params, part, scale, *more))

    total = sum(held.kept)
    start = next((row for row in range(0, total, size) if bad(row, min(row + size, total))), 0)
    stop = min(start + size, total)
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (start, middle) if bad(start, middle) else (middle, stop)
    before = np.cumsum([0, *held.kept])
    number = int(np.searchsorted(before, start, side="right")) - 1
    where = f"{held.batch.chunks[number]}, event {start - before[number]} of the {held.kept[number]} selected there"
    event = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[np.full(size, start)], blocks.arrays)
    what = "a template" if mode == "values" else "a template or its gradient"
    cause = explain(program, held.structure, params, event)
    msg = f"{what} is NaN or infinite from {where}; look at `{program.name}.fill` at the parameters {brief(params)}"
    return type(cause)(f"{cause} (from {where}, at the parameters {brief(params)})") if cause else NotFiniteError(msg)
