"""Selections: what each cut does to all distributed events, counted with exact cuts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Self

import jax
import numpy as np

from diffea.distributed.function import Templates
from diffea.errors import NotFiniteError
from diffea.parameters import as_arrays
from diffea.program import reading
from diffea.program.cuts import BINS, Cut, nominal
from diffea.templates import Key
from diffea.types import Params

REACH = 2.5  # standard deviations on both sides of the mean that a histogram of values shows


@dataclasses.dataclass(frozen=True)
class Survey:
    """Where the values of each cut lie, and which way each decides.

    Attributes:
        ranges: of the values, by the cut's name.
        directions: of each channel and cut: 1 if the channel has events that pass it, −1 if it has those that fail it, 0 if it does not matter
            there, or does both.
    """

    ranges: dict[str, tuple[float, float]]
    directions: dict[tuple[str, str], int]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The cuts of an analysis, and what they do to the nominal templates of some channels; those of disjoint events add up.

    Attributes:
        cuts: in the order in which ``fill`` makes them.
        thresholds: of each cut, all that some dataset or fold has, shape ``(evaluations, 1 or 2)``; NaN where they differ by event.
        survey: that it was made with.
        left: by template, the sum of weights, of their squares and the number of events before the cuts and after each, shape ``(cuts + 1, 3)``.
        added: by channel, how many events come in by a cut, so that "after each" says nothing there; none where it does.
        decided: by cut and sample, the events whose selection the cut decides, all others being as they are (N−1), in ``BINS`` bins of the value that is cut
            on: sums of weights and of their squares, shape ``(BINS, 2)``.
    """

    cuts: tuple[Cut, ...]
    thresholds: dict[str, list[list[float]]]
    survey: Survey
    left: dict[Key, np.ndarray]
    added: dict[str, int]
    decided: dict[tuple[str, str], np.ndarray]

    def __add__(self, other: Self) -> Self:
        """Of the events of both."""
        return dataclasses.replace(
            self,
            thresholds={name: self.thresholds[name] + other.thresholds[name] for name in self.thresholds},
            left={key: self.left[key] + other.left[key] for key in self.left},
            added={channel: self.added[channel] + other.added[channel] for channel in self.added},
            decided={key: self.decided[key] + other.decided[key] for key in self.decided},
        )


def selection_of(
    templates: Templates,
    params: Params,
    channels: Sequence[str],
    *,
    ranges: Survey | None = None,
    like: Survey | None = None,
) -> Selection | None:
    """What the cuts do at these parameters, in two passes; None where ``fill`` makes no cut.

    Args:
        templates: of the events.
        params: the parameters.
        channels: that count.
        ranges: a survey whose ranges are taken over for cuts of the same name.
        like: the survey of other events at whose side these are to add up.

    Raises:
        NotFiniteError: if without one of the cuts a weight is not finite.
    """
    params = jax.tree.map(np.asarray, as_arrays(params))
    cuts: dict[str, Cut] = {}
    thresholds: dict[str, list[list[float]]] = {}
    for _, structure in templates._structures:
        read = reading(templates._program, structure, params)
        for cut, found in zip(read.cuts, read.thresholds(params), strict=True):
            cuts.setdefault(cut.name, cut)
            known = thresholds.setdefault(cut.name, [])
            if not any(np.array_equal(found, other, equal_nan=True) for other in known):
                known.append(found)
    if not cuts:
        return None
    names = np.array(list(cuts))
    here = np.array([channel for channel in channels if channel in {key[0] for key in templates.layout(params).keys}])
    survey = like or _survey(templates, params, names, here)
    if ranges:
        survey.ranges.update({name: ranges.ranges[name] for name in ranges.ranges.keys() & survey.ranges.keys()})
    directions = np.array([[survey.directions[str(channel), name] for name in cuts] for channel in here]).reshape(
        len(here), -1
    )
    spans = np.array([survey.ranges[name] for name in cuts])
    left, added, decided = templates.summed("selection", params, names, here, spans, directions)
    if not all(np.isfinite(sums).all() for sums in (left, decided)):
        msg = "without one of the cuts a weight is NaN or infinite: guard what is computed of events that the cut takes away"
        raise NotFiniteError(msg)
    keys = nominal(templates.layout(params).keys, list(here))
    samples = sorted({key[1] for key in keys})
    return Selection(
        tuple(cuts.values()),
        thresholds,
        survey,
        dict(zip(keys, left, strict=True)),
        {str(channel): int(count) for channel, count in zip(here, added, strict=True)},
        {(name, sample): decided[i, j] for i, name in enumerate(cuts) for j, sample in enumerate(samples)},
    )


def _survey(templates: Templates, params: Params, names: np.ndarray, channels: np.ndarray) -> Survey:
    moments, effects = templates.summed("survey", params, names, channels)
    number, first, second = moments.T
    mean = first / np.maximum(number, 1)
    spread = np.sqrt(np.maximum(second / np.maximum(number, 1) - mean**2, 0.0))
    reach = REACH * np.where(spread > 0, spread, np.maximum(np.abs(mean), 1.0))
    ways = (effects[..., 0] > 0).astype(int) - (effects[..., 1] > 0)
    return Survey(
        {str(name): (float(m - r), float(m + r)) for name, m, r in zip(names, mean, reach, strict=True)},
        {(str(c), str(n)): int(ways[i, j]) for i, c in enumerate(channels) for j, n in enumerate(names)},
    )


__all__ = ["BINS", "Selection", "Survey", "selection_of"]
