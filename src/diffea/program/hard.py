"""The hard twin: the same ``fill`` with exact cuts, into real histograms, in bins that boost-histogram finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from diffea.errors import NotFiniteError
from diffea.events.blocks import Blocks
from diffea.events.ragged import Column, Ragged
from diffea.histograms import category_values
from diffea.histograms.window import checked_edges
from diffea.parameters import brief
from diffea.processor.base import axes_of
from diffea.program.exact import exact_sums
from diffea.program.program import Program
from diffea.program.structure import Structure
from diffea.program.traced import of_sample
from diffea.templates import Key, Layout
from diffea.templates.layout import with_edges
from diffea.types import Axis, Params, PyTree


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
    """Sums of a batch under ``soft.hard()``.

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
        the number of rows that were filled, and the sums of weights and of their squares, shape ``(2, whole.size)``, exact as
        ``exact_sums`` gives them.

    Raises:
        NotFiniteError: if an observable or a weight is NaN or infinite.
        HistogramError: if learned edges do not ascend.
    """
    entries = hard_entries(program, structure, sample, params, blocks, scale, where)
    return int(blocks.rows), filled(entries, whole)


@dataclasses.dataclass(frozen=True)
class Entries:
    """What one fill enters into the histogram of a template.

    Attributes:
        key: of the template.
        axes: of its channel, with learned edges where it has them.
        observables: as boost-histogram takes them, each of shape ``(entries,)``.
        weight: shape ``(entries,)``.
        events: the row of the batch that each entry belongs to, shape ``(entries,)``.
    """

    key: Key
    axes: tuple[Axis, ...]
    observables: list[np.ndarray]
    weight: np.ndarray
    events: np.ndarray


def hard_entries(
    program: Program,
    structure: Structure,
    sample: str,
    params: Params,
    blocks: Blocks,
    scale: float,
    where: str,
) -> Iterator[Entries]:
    """What the fills of a batch enter under ``soft.hard()``; arguments and errors as for ``hard_sums``."""
    rows = int(blocks.rows)
    traced = program.traced(structure, params, hard=True)
    fills, edges = program.fills(structure, params, blocks)
    axes = axes_of(program.processor)
    for channel in traced.own.learned:
        (axis,), (found,) = axes[channel], edges[channel]
        axes[channel] = (with_edges(axis, checked_edges(np.asarray(found))),)
    for key, fill in zip(of_sample(traced.keys, sample), fills, strict=True):
        weight = 1.0 if fill.weight is None else fill.weight
        discrete = [False, *(axis.traits.discrete for axis in axes[fill.channel])]
        events, (weights, *observables) = _one_row_each([weight, *fill.observables], discrete, rows)
        for name, numbers in (("weight", weights), *(("observable", observable) for observable in observables)):
            if count := int(np.sum(~np.isfinite(numbers))):
                msg = (
                    f"{where}: the {name} of {'/'.join(key)} is NaN or infinite in {count} events with exact cuts; look at "
                    f"`{program.name}.fill` at the parameters {brief(params)}"
                )
                raise NotFiniteError(msg)
        entered = [
            category_values(axis, numbers) if axis.traits.discrete else numbers
            for axis, numbers in zip(axes[fill.channel], observables, strict=True)
        ]
        scaled = weights * scale
        with np.errstate(over="ignore"):
            squares = scaled**2
        if not np.isfinite(squares).all():
            msg = f"{where}: weights of {'/'.join(key)} have squares that are infinite, as the variances are: scale the weights"
            raise NotFiniteError(msg)
        yield Entries(key, axes[fill.channel], entered, scaled, events)


def _one_row_each(
    columns: Sequence[Column], discrete: Sequence[bool], rows: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Arrays of one length, and the row of each entry: an entry an event, or an entry an object where one of the columns is ragged."""
    masks = [np.asarray(column.mask) for column in columns if isinstance(column, Ragged)]
    if not masks:
        arrays = [np.asarray(column, dtype=float) for column in columns]
        each = [array if array.ndim == 2 else np.broadcast_to(array, (rows,)) for array in arrays]
        return np.arange(rows), each
    mask = np.logical_and.reduce(masks)
    arrays = [np.asarray(column.values if isinstance(column, Ragged) else column, dtype=float) for column in columns]
    events = np.nonzero(mask)[0]
    probabilities = [
        of and array.ndim == 2 and not isinstance(column, Ragged)
        for column, array, of in zip(columns, arrays, discrete, strict=True)
    ]
    each = [
        array[events] if known else np.broadcast_to(array[:, None] if array.ndim == 1 else array, mask.shape)[mask]
        for array, known in zip(arrays, probabilities, strict=True)
    ]
    return events, each


def places_of(entries: Entries, whole: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Event, place in the flat vector of bins and weight of each entry that is in a bin and has a weight."""
    weighted = np.flatnonzero(entries.weight)
    kept, place = np.ones(len(weighted), bool), np.zeros(len(weighted), np.intp)
    for axis, numbers, bins in zip(entries.axes, entries.observables, whole.shape(entries.key[0]), strict=True):
        index = _index(axis, numbers[weighted])
        traits = axis.traits
        kept &= ((index > 0) | traits.underflow) & ((index < bins - 1) | traits.overflow)
        place = place * bins + index
    chosen = weighted[kept]
    return entries.events[chosen], place[kept] + whole.spans[entries.key].start, entries.weight[chosen]


def _index(axis: Axis, numbers: np.ndarray) -> np.ndarray:
    """The bin of each number, counted from the underflow on, as boost-histogram fills it."""
    if not axis.traits.discrete or axis.traits.ordered:
        ordered: PyTree = axis
        return np.asarray(ordered.index(numbers)) + 1
    index = np.full(len(numbers), len(axis) + 1)
    for place, value in enumerate(axis):
        index[numbers == value] = place + 1
    return index


def filled(entered: Iterable[Entries], whole: Layout) -> np.ndarray:
    """Exact sums of weights and of their squares, in the places of a layout, shape ``(2, whole.size)``."""
    total = np.zeros((2, whole.size), object)
    for entries in entered:
        span = whole.spans[entries.key]
        _, places, weight = places_of(entries, whole)
        for sums, numbers in zip(total, (weight, weight**2), strict=True):
            sums[span] += exact_sums(places - span.start, numbers, span.stop - span.start)
    return total
