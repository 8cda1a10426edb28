"""The hard twin: the same ``fill`` with exact cuts, into real histograms."""

from __future__ import annotations

from typing import Any

import hist
import jax
import numpy as np

from diffea import soft
from diffea.errors import NotFiniteError
from diffea.events.blocks import Blocks
from diffea.events.ragged import Ragged
from diffea.histograms import category_values
from diffea.parameters import brief
from diffea.program.kernels import Kernels, bin_edges
from diffea.program.structure import Structure
from diffea.templates import Layout, TemplateSet
from diffea.templates.layout import with_edges


def hard_templates(
    kernels: Kernels, structure: Structure, sample: str, params: Any, blocks: Blocks, scale: float, where: str
) -> TemplateSet:
    """Templates of a batch under ``soft.hard()``, filled by boost-histogram.

    Args:
        kernels: of the processor.
        structure: of the blocks.
        sample: of the dataset.
        params: the parameters.
        blocks: the batch.
        scale: of the weights.
        where: the batch comes from, for the message.

    Raises:
        NotFiniteError: if an observable or a weight is NaN or infinite.
    """
    rows = int(blocks.rows)
    arrays = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:rows], blocks.arrays)
    edges = bin_edges(kernels.processor, params)
    learned = dict(kernels.processor.edges(params))
    histograms: dict[Any, hist.Hist] = {}
    with soft.hard():
        fills = kernels.fills(structure, sample, params, arrays)
    layout = kernels.layout(structure, sample, params)
    for key, fill in fills:
        if key not in histograms:
            axes = layout.axes[fill.channel]
            if fill.channel in learned:
                axes = tuple(with_edges(axis, values) for axis, values in zip(axes, edges[fill.channel], strict=True))
            histograms[key] = hist.Hist(*axes, storage=hist.storage.Weight())
        weight, *observables = _one_row_each(1.0 if fill.weight is None else fill.weight, *fill.observables, rows=rows)
        for name, numbers in (("weight", weight), *(("observable", observable) for observable in observables)):
            if not np.isfinite(numbers).all():
                count = np.sum(~np.isfinite(numbers))
                msg = (
                    f"{where}: the {name} of {'/'.join(key)} is NaN or infinite in {count} events with exact cuts; look at "
                    f"`{type(kernels.processor).__name__}.fill` at the parameters {brief(params)}"
                )
                raise NotFiniteError(msg)
        entries = [
            category_values(axis, numbers) if axis.traits.discrete else numbers
            for axis, numbers in zip(layout.axes[fill.channel], observables, strict=True)
        ]
        histograms[key].fill(*entries, weight=weight * scale)
    return _gather(layout, histograms, learned)


def _one_row_each(*columns: Any, rows: int) -> list[np.ndarray]:
    """Arrays of one length: an entry an event, or an entry an object where one of the columns is ragged."""
    masks = [np.asarray(column.mask) for column in columns if isinstance(column, Ragged)]
    if not masks:
        arrays = [np.asarray(column, dtype=float) for column in columns]
        return [array if array.ndim == 2 else np.broadcast_to(array, (rows,)) for array in arrays]
    mask = np.logical_and.reduce(masks)
    arrays = [np.asarray(column.values if isinstance(column, Ragged) else column, dtype=float) for column in columns]
    return [np.broadcast_to(array[:, None] if array.ndim == 1 else array, mask.shape)[mask] for array in arrays]


def _gather(layout: Layout, histograms: dict[Any, hist.Hist], edges: dict[str, Any]) -> TemplateSet:
    sums = np.zeros((2, layout.size))
    for key, histogram in histograms.items():
        padding = [(int(not axis.traits.underflow), int(not axis.traits.overflow)) for axis in histogram.axes]
        sums[0, layout.spans[key]] = np.pad(np.asarray(histogram.values(flow=True)), padding).ravel()
        sums[1, layout.spans[key]] = np.pad(np.asarray(histogram.variances(flow=True)), padding).ravel()
    return TemplateSet(layout, sums[0], sums[1], edges)
