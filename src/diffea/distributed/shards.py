"""Shards: the batches that stay on one worker, and what is computed on them in a step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np

from diffea.distributed.reduction import Partial, merge
from diffea.errors import NotFiniteError
from diffea.events.batches import Batch
from diffea.events.blocks import Blocks
from diffea.events.columns import concatenate, read
from diffea.events.splits import Split
from diffea.histograms.templates import Layout
from diffea.processor import Kernels, Structure, kernels_of, structured
from diffea.processor.hard import hard_templates
from diffea.processor.kernels import Mode
from diffea.runtime import Portable, check_worker


@dataclasses.dataclass(frozen=True)
class Source:
    """How to read: what is the same for all shards.

    Attributes:
        processor: pickled once.
        schemaclass: of NanoEvents.
        split: which events to keep, if not all.
        dtype: of floating-point columns.
        block: rows of a block.
        batches: their number in the whole data set.
        versions: of the driver's packages.
    """

    processor: Portable
    schemaclass: type
    split: Split | None
    dtype: np.dtype
    block: int
    batches: int
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Held:
    """A batch in memory.

    Attributes:
        kept: number of events of each chunk.
    """

    batch: Batch
    structure: Structure
    blocks: Blocks
    kept: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some batches, their columns in memory."""

    source: Source
    held: tuple[Held, ...]

    def __sizeof__(self) -> int:
        return sum(held.blocks.nbytes for held in self.held)


@dataclasses.dataclass(frozen=True)
class Content:
    """What the driver knows of a shard.

    Attributes:
        structures: those that occur, each with its sample.
        events: how many it holds, by dataset.
        nbytes: of columns.
    """

    structures: frozenset[tuple[str, Structure]]
    events: dict[str, int]
    nbytes: int


def load(source: Source, batches: Sequence[Batch]) -> Shard:
    """Read the columns of some batches.

    Raises:
        WorkerMismatchError: if this worker would compute other numbers than the driver.
        FileReadError, MissingBranchError, ColumnError, NotFiniteError: naming dataset, file and entries.
    """
    check_worker(source.versions)
    return Shard(source, tuple(_hold(source, batch) for batch in batches))


def content(shard: Shard) -> Content:
    """Tell the driver what a shard holds."""
    events: dict[str, int] = {}
    for held in shard.held:
        events[held.batch.file.dataset] = events.get(held.batch.file.dataset, 0) + sum(held.kept)
    return Content(
        frozenset((held.batch.file.sample, held.structure) for held in shard.held), events, shard.__sizeof__()
    )


def step(shard: Shard, mode: Mode | Literal["hard"], layout: Portable, params: Any, *more: Any) -> Partial:
    """Sums over a shard.

    Args:
        shard: its batches.
        mode: see ``Kernels.run``; ``hard`` for exact cuts and plain histograms.
        layout: of the analysis.
        params: pytree of float64 arrays.
        *more: the cotangents, for ``vjp``.

    Raises:
        NotFiniteError: if a sum or gradient is NaN or infinite, naming dataset, file and entries.
    """
    start = time.perf_counter()
    kernels = kernels_of(shard.source.processor, shard.source.dtype)
    partials = []
    for held in shard.held:
        summed = _sum(kernels, held, _scale(shard.source), mode, layout.value, params, *more)
        node = {(0, held.batch.index): (sum(held.kept), summed)}
        partials.append(Partial(shard.source.batches, node))
    return dataclasses.replace(merge(partials), seconds=time.perf_counter() - start)


def _sum(kernels: Kernels, held: Held, scale: float, mode: Any, whole: Layout, params: Any, *more: Any) -> Any:
    if mode == "hard":
        templates = hard_templates(kernels, held.structure, held.batch.file.sample, params, held.blocks, scale)
        spread = np.zeros((2, whole.size))
        spread[:, templates.layout.within(whole)] = templates.values_flat, templates.variances_flat
        return spread
    summed = kernels.run(mode, held.structure, held.batch.file.sample, whole, params, held.blocks, scale, *more)
    summed = jax.tree.map(np.asarray, summed)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(summed)):
        raise _not_finite(kernels, held, scale, mode, whole, params, *more)
    return summed


def _not_finite(
    kernels: Kernels, held: Held, scale: float, mode: Any, whole: Layout, params: Any, *more: Any
) -> Exception:
    """Find the first event whose contribution is not finite, by running it alone."""

    def bad(start: int, stop: int) -> bool:
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[start:stop], held.blocks.arrays)
        padding = size - (stop - start)
        block = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], padding, 0)])[None], rows)
        summed = kernels.run(
            mode,
            held.structure,
            held.batch.file.sample,
            whole,
            params,
            Blocks(block, np.asarray(stop - start)),
            scale,
            *more,
        )
        return not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(summed))

    size = jax.tree.leaves(held.blocks.arrays)[0].shape[1]
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
        f"{what} is NaN or infinite from {held.batch.chunks[number]}, "
        f"event {start - before[number]} of the {held.kept[number]} that the split kept there; look at "
        f" `{type(kernels.processor).__name__}.fill` for these parameters: {_brief(params)}"
    )
    return NotFiniteError(msg)


def _hold(source: Source, batch: Batch) -> Held:
    processor = source.processor.value
    parts = [read(chunk, processor.columns, source.schemaclass, source.split) for chunk in batch.chunks]
    structure, blocks = structured(concatenate(parts), source.dtype, source.block)
    return Held(batch, structure, blocks, tuple(part.rows for part in parts))


def _scale(source: Source) -> float:
    return 1.0 if source.split is None else source.split.scale


def _brief(params: Any) -> str:
    text = str(params)
    return text if len(text) < 200 else f"{text[:200]}…"
