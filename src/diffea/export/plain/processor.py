"""The plain coffea processor that an exported one derives from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import hist
import numpy as np
from coffea.processor import ProcessorABC

from diffea.export.plain.folds import fold_of, uniform
from diffea.export.plain.ragged import Ragged, packed
from diffea.export.plain.sums import exact_sums, rounded


class Fill(NamedTuple):
    """Events that go into one template: channel, observable (a tuple of them for several axes) and weight.

    Bandwidth and kernel are of the smooth histograms that were optimised; those here are plain ones.
    """

    channel: str
    observable: Any
    weight: Any = None
    sample: str | None = None
    variation: str = "nominal"
    bandwidth: Any = None
    kernel: str = ""


class PlainProcessor(ProcessorABC):
    """Selects with exact cuts, and fills plain histograms.

    The result is one `hist.Hist` for each channel, with the axes process (the sample), variation and those of the channel, and Weight storage.

    Args:
        stored: what parameters.json holds; by default that of the file beside this one.
    """

    channels: ClassVar[Mapping[str, Any]] = {}
    variations: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, stored: Any = None) -> None:
        stored = stored or json.loads(Path(__file__).with_name("parameters.json").read_text(encoding="utf-8"))
        self.split = stored["split"]
        self.params = [arrays(params) for params in stored["params"]]
        self.learned = stored["edges"]

    def axes(self, channel: str) -> tuple[Any, ...]:
        """Of a channel, with the edges that were learned."""
        given = self.channels[channel]
        axes = tuple(given) if isinstance(given, tuple | list) else (given,)
        if channel not in self.learned:
            return axes
        flow = {name: getattr(axes[0].traits, name) for name in ("underflow", "overflow")}
        return (hist.axis.Variable(self.learned[channel], name=axes[0].name, label=axes[0].label, **flow),)

    def process(self, events: Any) -> dict[Any, Any]:
        """Exact sums of one chunk, by part, channel, sample and variation."""
        dataset = events.metadata.get("dataset", "")
        sample = str(events.metadata.get("sample", dataset))
        found: dict[Any, Any] = {}
        for part, mask, scale in parts(self.split, events):
            columns = packed(self.columns(events if mask is None else events[mask]))
            rows = next(len(value) for value in columns.values() if isinstance(value, np.ndarray | Ragged))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                fills = list(self.all_fills(self.params[part], columns))
            for fill in fills:
                key = part, fill.channel, fill.sample or sample, fill.variation
                sums = self.sums(fill, rows, scale, dataset)
                found[key] = found[key] + sums if key in found else sums
        return found

    def all_fills(self, params: Any, columns: dict[str, Any]) -> Iterator[Fill]:
        """The fills, and those of shifted columns."""
        yield from self.fill(params, columns)
        for name, shift in self.variations.items():
            for direction, sign in (("up", 1), ("down", -1)):
                if shifted := shift(columns, sign):
                    for fill in self.fill(params, {**columns, **shifted}):
                        if fill.variation == "nominal":
                            yield fill._replace(variation=f"{name}_{direction}")

    def columns(self, events: Any) -> dict[str, Any]:
        """What `fill` needs, one entry for each selected event."""
        raise NotImplementedError

    def fill(self, params: Any, columns: dict[str, Any]) -> Iterator[Fill]:
        """Selection and histograms."""
        raise NotImplementedError

    def sums(self, fill: Fill, rows: int, scale: float, dataset: str) -> Any:
        """Exact sums of weights and of their squares, flow bins included."""
        axes = self.axes(fill.channel)
        observables = fill.observable if isinstance(fill.observable, tuple) else (fill.observable,)
        weight, *values = one_row_each(1.0 if fill.weight is None else fill.weight, *observables, rows=rows)
        if not all(np.isfinite(array).all() for array in (weight, *values)):
            msg = f"dataset {dataset!r}: an observable or a weight of channel {fill.channel!r} is NaN or infinite"
            raise ValueError(msg)
        weight = weight * scale
        shape = tuple(len(axis) + 2 for axis in axes)
        place, inside = np.zeros(len(weight), int), weight != 0
        for axis, value, bins in zip(axes, values, shape, strict=True):
            index = bins_of(axis, value)
            inside &= ((index > 0) | axis.traits.underflow) & ((index < bins - 1) | axis.traits.overflow)
            place = place * bins + index
        place, weight, size = place[inside], weight[inside], int(np.prod(shape))
        return np.stack([exact_sums(place, power, size).reshape(shape) for power in (weight, weight**2)])

    def postprocess(self, accumulator: dict[Any, Any]) -> dict[str, hist.Hist]:
        """The histograms."""
        keys = {key[1:] for key in accumulator}
        result = {}
        for channel in self.channels:
            samples, variations = (sorted({key[i] for key in keys if key[0] == channel}) for i in (1, 2))
            names = hist.axis.StrCategory(samples, name="process"), hist.axis.StrCategory(variations, name="variation")
            axes = self.axes(channel)
            histogram = hist.Hist(*names, *axes, storage=hist.storage.Weight())
            view = histogram.view(flow=True)
            flow = tuple(slice(int(not a.traits.underflow), None if a.traits.overflow else -1) for a in axes)
            for part, of, sample, variation in sorted(accumulator):
                if of == channel:
                    place = samples.index(sample), variations.index(variation)
                    for name, sums in zip(("value", "variance"), accumulator[part, of, sample, variation], strict=True):
                        view[name][place] += rounded(sums)[flow]
            result[channel] = histogram
        return result


def arrays(tree: Any) -> Any:
    """JSON as parameters: numbers, and arrays where lists hold nothing but numbers."""
    if isinstance(tree, dict):
        return {key: arrays(value) for key, value in tree.items()}
    try:
        return np.asarray(tree, float)
    except (TypeError, ValueError):
        return [arrays(value) for value in tree]


def one_row_each(*columns: Any, rows: int) -> list[Any]:
    """Arrays of one length: an entry an event, or an entry an object where one of them is ragged."""
    masks = [column.mask for column in columns if isinstance(column, Ragged)]
    if not masks:
        each = [np.asarray(column, float) for column in columns]
        return [array if array.ndim == 2 else np.broadcast_to(array, (rows,)) for array in each]
    mask = np.logical_and.reduce(masks)
    each = [np.asarray(column.values if isinstance(column, Ragged) else column, float) for column in columns]
    return [np.broadcast_to(array[:, None] if array.ndim == 1 else array, mask.shape)[mask] for array in each]


def bins_of(axis: Any, x: Any) -> Any:
    """The bin of each number, counted from the underflow on."""
    if not axis.traits.discrete:
        return np.asarray(axis.index(x)) + 1
    values = np.arange(len(axis)) if isinstance(axis.value(0), str) else np.array(list(axis))
    if x.ndim == 2:  # probabilities of each category
        x = np.where(x.sum(axis=1) > 0.5, values[np.argmax(x, axis=1)], values.max() + 1)
    whole = np.floor(x).astype(int)
    if axis.traits.ordered:
        return np.asarray(axis.index(whole)) + 1
    index = np.full(len(whole), len(axis) + 1)
    for place, value in enumerate(values):
        index[whole == value] = place + 1
    return index


def parts(split: Any, events: Any) -> Iterator[tuple[int, Any, float]]:
    """The parts of a chunk that are judged by parameters of their own: number, mask of events, and scale of the weights."""
    observed = events.metadata.get("is_data", False)
    if split is None or (observed and split["folds"] is None):
        yield 0, None, 1.0
        return
    seed, folds, identity = split["seed"], split["folds"], identity_of(events)
    if folds is None:
        number = uniform(seed, *identity)
        yield 0, (split["low"] <= number) & (number < split["high"]), 1.0 / (split["high"] - split["low"])
        return
    of = fold_of(seed, folds, *identity)
    for fold in range(folds):
        yield fold, of == fold, 1.0


def identity_of(events: Any) -> list[Any]:
    """What identifies each event: integer arrays."""
    if {"run", "luminosityBlock", "event"} <= set(events.fields):
        return [np.asarray(events[name]) for name in ("run", "luminosityBlock", "event")]
    if missing := {"entrystart", "fileuuid"} - set(events.metadata):
        msg = f"events without run, luminosityBlock and event are told apart by file and entry: coffea's Runner says {sorted(missing)} in their metadata"
        raise ValueError(msg)
    start, uuid = events.metadata["entrystart"], events.metadata["fileuuid"]
    high, low = divmod(int(uuid.replace("-", ""), 16), 2**64)
    entries = np.arange(start, start + len(events), dtype=np.uint64)
    return [np.full_like(entries, high), np.full_like(entries, low), entries]
