"""The hard twin: the same ``fill`` with exact cuts, into real histograms."""

from __future__ import annotations

import hist
import jax
import numpy as np

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
    known = jax.tree.map(lambda leaf: np.asarray(leaf, program.dtype), params)
    fills, edges = traced.rows(known, blocks.arrays, rows)
    axes = axes_of(program.processor)
    for channel in traced.learned:
        (axis,), (found,) = axes[channel], edges[channel]
        axes[channel] = (with_edges(axis, checked_edges(np.asarray(found))),)
    histograms: dict[Key, hist.Hist] = {}
    for key, fill in zip(of_sample(traced.keys, sample), fills, strict=True):
        histogram = histograms.setdefault(key, hist.Hist(*axes[fill.channel], storage=hist.storage.Weight()))
        place = f"{where}: the %s of {'/'.join(key)} is NaN or infinite in %s events with exact cuts; look at "
        place += f"`{program.name}.fill` at the parameters {brief(params)}"
        _fill(histogram, fill, rows, scale, place)
    return rows, _gathered(whole, histograms)


def _fill(histogram: hist.Hist, fill: Fill, rows: int, scale: float, message: str) -> None:
    weight, *observables = _one_row_each(1.0 if fill.weight is None else fill.weight, *fill.observables, rows=rows)
    for name, numbers in (("weight", weight), *(("observable", observable) for observable in observables)):
        if count := np.sum(~np.isfinite(numbers)):
            raise NotFiniteError(message % (name, count))
    entries = [
        category_values(axis, numbers) if axis.traits.discrete else numbers
        for axis, numbers in zip(histogram.axes, observables, strict=True)
    ]
    histogram.fill(*entries, weight=weight * scale)


def _one_row_each(*columns: Column, rows: int) -> list[np.ndarray]:
    """Arrays of one length: an entry an event, or an entry an object where one of the columns is ragged."""
    masks = [np.asarray(column.mask) for column in columns if isinstance(column, Ragged)]
    if not masks:
        arrays = [np.asarray(column, dtype=float) for column in columns]
        return [array if array.ndim == 2 else np.broadcast_to(array, (rows,)) for array in arrays]
    mask = np.logical_and.reduce(masks)
    arrays = [np.asarray(column.values if isinstance(column, Ragged) else column, dtype=float) for column in columns]
    return [np.broadcast_to(array[:, None] if array.ndim == 1 else array, mask.shape)[mask] for array in arrays]


def _gathered(whole: Layout, histograms: dict[Key, hist.Hist]) -> np.ndarray:
    sums = np.zeros((2, whole.size))
    for key, histogram in histograms.items():
        padding = [(int(not axis.traits.underflow), int(not axis.traits.overflow)) for axis in histogram.axes]
        sums[0, whole.spans[key]] = np.pad(np.asarray(histogram.values(flow=True)), padding).ravel()
        sums[1, whole.spans[key]] = np.pad(np.asarray(histogram.variances(flow=True)), padding).ravel()
    return sums
