"""Bins of a score: at quantiles of the signal, merged where too few simulated background events carry one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np

from diffea.errors import HistogramError, OptionError, UnknownTemplateError
from diffea.events.scalars import plain
from diffea.histograms import edges_of
from diffea.processor import DifferentiableProcessor
from diffea.processor.base import check_axes
from diffea.templates import TemplateSet
from diffea.templates.layout import NOMINAL
from diffea.types import Axis


def with_axis(
    processor: DifferentiableProcessor, channel: str, axis: Axis | tuple[Axis, ...]
) -> DifferentiableProcessor:
    """The same processor with another axis of a channel: a fine one to find bins on, or the one that was found.

    Raises:
        HistogramError: if there is no such channel, or templates on the axis would not add up.
    """
    if channel not in processor.channels:
        msg = f"{type(processor).__name__} has no channel {channel!r}; it has: {', '.join(processor.channels)}"
        raise HistogramError(msg)
    made = copy.copy(processor)
    made.channels = {**processor.channels, channel: axis}  # type: ignore[misc]
    check_axes(made)
    return made


def quantile_edges(
    templates: TemplateSet,
    channel: str,
    signal: str | Sequence[str],
    bins: int | Sequence[float],
    *,
    background: str | Sequence[str] | None = None,
    largest_error: float | None = None,
) -> np.ndarray:
    """Edges of bins that hold equal signal, or the shares of it that are asked for, from templates of a fine axis.

    With ``largest_error`` bins are merged, from the upper end down, until the simulated background of each is known to that relative error,
    √(sum of squared weights) / sum of weights; what is left at the lower end joins the last one.

    ::

        fine = learning.with_axis(processor, "score", hist.axis.Regular(2000, 0, 1, name="score"))
        with diffea.distribute(fine, fileset, split=split) as templates:
            edges = learning.quantile_edges(templates.hard(params), "score", "signal", bins=8, largest_error=0.2)

    Args:
        templates: hard ones of training events; flow bins do not count.
        channel: of one fine axis, whose edges are those to choose from.
        signal: the sample whose quantiles are taken, or several.
        bins: how many at most, of equal signal; or the share of the signal in each, from the lower end up, such as ``(0.5, 0.25, 0.25)``.
        background: the samples whose statistics are looked at; by default all others.
        largest_error: above 0; without it nothing is merged.

    Returns:
        shape (bins + 1,), those of the fine axis at both ends.

    Raises:
        OptionError: if ``bins`` or ``largest_error`` make no sense.
        HistogramError: if the channel has no single axis with edges, the signal has no positive weight, or all background together is known less well.
        UnknownTemplateError: for samples that are not there.
    """
    levels = _levels(bins)
    if largest_error is not None and not largest_error > 0:
        msg = f"largest_error is a relative error above 0, got {largest_error!r}"
        raise OptionError(msg)
    signals = (signal,) if isinstance(signal, str) else tuple(signal)
    known = [sample for of, sample, variation in templates if (of, variation) == (channel, NOMINAL)]
    others = (background,) if isinstance(background, str) else background
    backgrounds = [sample for sample in known if sample not in signals] if others is None else list(others)
    if not signals or (largest_error is not None and not backgrounds):
        msg = f"bins need a signal, and with largest_error a background; channel {channel!r} has {known}"
        raise UnknownTemplateError(msg)
    edges = _edges(templates, channel, signals[0])
    total = np.sum([np.asarray(templates[channel, sample].values) for sample in signals], axis=0)
    places = _quantiles(total, levels, channel)
    if largest_error is not None:
        found = [templates[channel, sample] for sample in backgrounds]
        values, variances = (
            np.sum([np.asarray(part) for part in parts], axis=0)
            for parts in ([one.values for one in found], [one.variances for one in found])
        )
        places = _merged(places, values, variances, largest_error, channel)
    return edges[places]


def _levels(bins: int | Sequence[float]) -> np.ndarray:
    """The quantiles at which inner edges are to lie."""
    asked = plain(bins)
    if isinstance(asked, int) and not isinstance(asked, bool) and asked >= 1:
        return np.arange(1, asked) / asked
    shares = [plain(share) for share in asked] if isinstance(asked, Iterable) else []
    if not all(isinstance(share, float | int) and share > 0 for share in shares) or not np.isclose(sum(shares), 1.0):
        msg = f"bins is a whole number, 1 or more, or shares above 0 that add up to 1, got {bins!r}"
        raise OptionError(msg)
    return np.cumsum(shares)[:-1]


def _edges(templates: TemplateSet, channel: str, sample: str) -> np.ndarray:
    axes = templates[channel, sample].axes
    if len(axes) != 1 or axes[0].traits.discrete:
        msg = f"channel {channel!r} has no single axis with edges, so that there are none to choose from"
        raise HistogramError(msg)
    return np.asarray(edges_of(axes[0]), float)


def _quantiles(values: np.ndarray, levels: np.ndarray, channel: str) -> np.ndarray:
    """The places of the edges that are next to these quantiles, the first and the last included; several at one place are one."""
    below = np.concatenate(
        [[0.0], np.maximum.accumulate(np.cumsum(values))]
    )  # negative weights make no quantile go back
    if not below[-1] > 0:
        msg = f"the signal in channel {channel!r} has the total weight {values.sum()}: expected a positive one"
        raise HistogramError(msg)
    places = [int(np.argmin(np.abs(below - below[-1] * level))) for level in levels]
    return np.unique([0, *places, len(values)])


def _merged(
    places: np.ndarray, values: np.ndarray, variances: np.ndarray, largest_error: float, channel: str
) -> np.ndarray:
    """The places that are left when each bin has enough background."""

    def enough(low: int, high: int) -> bool:
        total = values[low:high].sum()
        return bool(total > 0 and np.sqrt(variances[low:high].sum()) <= largest_error * total)

    kept = [len(values)]
    for place in places[-2::-1]:
        if enough(place, kept[-1]):
            kept.append(int(place))
    if kept[-1] != 0:  # what is left below is not enough by itself
        kept[-1] = 0
    while len(kept) > 2 and not enough(0, kept[-2]):  # where it has weights below zero
        del kept[-2]
    if len(kept) < 2 or not enough(0, kept[-2]):
        msg = (
            f"all background in channel {channel!r} together is known to {np.sqrt(variances.sum()):.3g} of {values.sum():.3g}, which is not "
            f"the relative error of {largest_error} asked for"
        )
        raise HistogramError(msg)
    return np.array(kept[::-1])
