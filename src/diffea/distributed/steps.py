"""Steps: what is computed on a shard, and how what is not finite is traced to an event."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np

from diffea.distributed.reduction import Partial, merge
from diffea.distributed.shards import Held, Shard
from diffea.errors import NotFiniteError
from diffea.events.blocks import Blocks
from diffea.parameters import brief, finite
from diffea.program import Kernels, Structure, kernels_of
from diffea.program.hard import hard_templates
from diffea.program.kernels import Mode
from diffea.runtime import Portable, check_worker
from diffea.templates.layout import Layout


def step(shard: Shard, mode: Mode | Literal["hard"], layout: Portable, params: Any, *more: Any) -> Partial:
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
    check_worker(shard.source.versions)
    kernels = kernels_of(shard.source.processor, shard.source.dtype)
    compiled = kernels.compile_seconds
    scale = 1.0 if shard.source.split is None else shard.source.split.scale
    batches = shard.source.batches
    empty = Partial(batches, {(0, index): (0, None) for index in shard.empty})
    sums = (
        Partial(
            batches,
            {(0, held.batch.index): (sum(held.kept), _sum(kernels, held, scale, mode, layout.value, params, *more))},
        )
        for held in shard.held
    )
    partial = merge(itertools.chain([empty], sums))
    compiling = kernels.compile_seconds - compiled
    return partial.spent(compute=time.perf_counter() - began - compiling, compile=compiling)


def _sum(kernels: Kernels, held: Held, scale: float, mode: Any, whole: Layout, params: Any, *more: Any) -> Any:
    """Over the size classes of a batch, one after the other."""
    blocks = held.blocks
    pieces = zip(held.structures, blocks, strict=True)
    summed = functools.reduce(
        functools.partial(jax.tree.map, np.add),
        (_of_class(kernels, held, *piece, scale, mode, whole, params, *more) for piece in pieces),
    )
    if mode != "hard" and not finite(summed):
        raise _not_finite(kernels, held, blocks, scale, mode, whole, params, *more)
    return summed


def _of_class(
    kernels: Kernels,
    held: Held,
    structure: Structure,
    blocks: Blocks,
    scale: float,
    mode: Any,
    whole: Layout,
    params: Any,
    *more: Any,
) -> Any:
    sample = held.batch.file.sample
    if mode != "hard":
        return kernels.run(mode, structure, sample, whole, params, blocks, scale, *more)
    chunks = held.batch.chunks
    where = f"{chunks[0]}" if len(chunks) == 1 else f"{chunks[0]}, to {chunks[-1]}"
    templates = hard_templates(kernels, structure, sample, params, blocks, scale, where)
    spread = np.zeros((2, whole.size))
    spread[:, templates.layout.within(whole)] = templates.values_flat, templates.variances_flat
    return spread


def _not_finite(
    kernels: Kernels, held: Held, blocks: Sequence[Blocks], scale: float, mode: Mode, *arguments: Any
) -> NotFiniteError:
    """Find the first event whose contribution is not finite: by blocks, then by halves."""
    size = max(piece.size for piece in blocks)

    def bad(start: int, stop: int) -> bool:
        return any(
            not finite(kernels.run(mode, structure, sample, whole, params, part, scale, *more))
            for structure, piece, rows in zip(held.structures, blocks, held.within(start, stop), strict=True)
            for part in piece.parts(rows)
        )

    sample, (whole, params, *more) = held.batch.file.sample, arguments
    total = sum(held.kept)
    start = next((row for row in range(0, total, size) if bad(row, min(row + size, total))), 0)
    stop = min(start + size, total)
    while stop - start > 1:
        middle = (start + stop) // 2
        start, stop = (start, middle) if bad(start, middle) else (middle, stop)
    before = np.cumsum([0, *held.kept])
    number = int(np.searchsorted(before, start, side="right")) - 1
    what = "a template" if mode == "values" else "a template or its gradient"
    msg = (
        f"{what} is NaN or infinite from {held.batch.chunks[number]}, event {start - before[number]} of the "
        f"{held.kept[number]} selected there; look at `{type(kernels.processor).__name__}.fill` at the parameters {brief(params)}"
    )
    return NotFiniteError(msg)
