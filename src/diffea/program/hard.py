"""The hard twin: the same ``fill`` with exact cuts, into real histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
from boost_histogram import Histogram
from boost_histogram.storage import Weight

from diffea.errors import NotFiniteError
from diffea.events.blocks import Blocks
from diffea.events.ragged import Column, Ragged
from diffea.histograms import category_values
from diffea.histograms.window import checked_edges
from diffea.parameters import brief
from diffea.processor.base import axes_of
from diffea.processor.fill import Fill
from diffea.program.program import Program
from diffea.program.structure import Structure
from diffea.program.traced import of_sample
from diffea.templates import Key, Layout
from diffea.templates.layout import with_edges
from diffea.types import Params


def hard_sums(
    program: Program,
    structure: Structure,
    sample: str,
    whole: Layout,
    params: Params,
    blocks: Blocks,
    scale: float,
    where: str,
) -> tuple[int, np.ndarray]:
    """Sums of a batch under ``soft.hard()``, filled by boost-histogram.

    Args:
        program: of the processor.
        structure: of the blocks.
        sample: of the dataset.
        whole: the layout of the analysis.
        params: the parameters.
        blocks: the batch.
        scale: of the weights.
        where: the batch comes from, for the message.

    Returns:
        the number of rows that were filled, and the sums of weights and of their squares, shape ``(2, whole.size)``.

    Raises:
        NotFiniteError: if an observable or a weight is NaN or infinite.
        HistogramError: if learned edges do not ascend.
    """
    rows = int(blocks.rows)
    traced = program.traced(structure, params, hard=True)
    fills, edges = program.fills(structure, params, blocks)
    axes = axes_of(program.processor)
    for channel in traced.learned:
        (axis,), (found,) = axes[channel], edges[channel]
        axes[channel] = (with_edges(axis, checked_edges(np.asarray(found))),)
    histograms: dict[Key, Histogram] = {}
    for key, fill in zip(of_sample(traced.keys, sample), fills, strict=True):
        if key not in histograms:
            histograms[key] = Histogram(*axes[fill.channel], storage=Weight())
        if wrong := _fill(histograms[key], fill, rows, scale):
            msg = (
                f"{where}: the {wrong[0]} of {'/'.join(key)} is NaN or infinite in {wrong[1]} events with exact cuts; look at "
                f"`{program.name}.fill` at the parameters {brief(params)}"
            )
            raise NotFiniteError(msg)
    return rows, _gathered(whole, histograms)


def _fill(histogram: Histogram, fill: Fill, rows: int, scale: float) -> tuple[str, int] | None:
    """Fill, unless something is not finite: what, and how often."""
    weight, *observables = _one_row_each(1.0 if fill.weight is None else fill.weight, *fill.observables, rows=rows)
    for name, numbers in (("weight", weight), *(("observable", observable) for observable in observables)):
        if count := int(np.sum(~np.isfinite(numbers))):
            return name, count
    entries = [
        category_values(axis, numbers) if axis.traits.discrete else numbers
        for axis, numbers in zip(histogram.axes, observables, strict=True)
    ]
    histogram.fill(*entries, weight=weight * scale)
    return None


def _one_row_each(*columns: Column, rows: int) -> list[np.ndarray]:
    """Arrays of one length: an entry an event, or an entry an object where one of the columns is ragged."""
    masks = [np.asarray(column.mask) for column in columns if isinstance(column, Ragged)]
    if not masks:
        arrays = [np.asarray(column, dtype=float) for column in columns]
        return [array if array.ndim == 2 else np.broadcast_to(array, (rows,)) for array in arrays]
    mask = np.logical_and.reduce(masks)
    arrays = [np.asarray(column.values if isinstance(column, Ragged) else column, dtype=float) for column in columns]
    return [np.broadcast_to(array[:, None] if array.ndim == 1 else array, mask.shape)[mask] for array in arrays]


def _gathered(whole: Layout, histograms: dict[Key, Histogram]) -> np.ndarray:
    sums = np.zeros((2, whole.size))
    for key, histogram in histograms.items():
        filled: Any = histogram.view(flow=True)
        inner = tuple(slice(int(not ax.traits.underflow), None if ax.traits.overflow else -1) for ax in histogram.axes)
        for kind, part in enumerate(("value", "variance")):
            sums[kind, whole.spans[key]].reshape(whole.shape(key[0]))[inner] = filled[part]
    return sums
