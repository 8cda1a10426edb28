"""Observed: what the events of the experiment say, once they are asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np

from diffea import statistics
from diffea.errors import JudgementError, ObservationError
from diffea.judge import Judge
from diffea.notebook import tables
from diffea.statistics import HistFactory
from diffea.statistics.model import BoundModel
from diffea.templates import TemplateSet
from diffea.templates.layout import NOMINAL
from diffea.types import JSONDict

AGREEMENT = 0.05
CL = 0.95


@dataclasses.dataclass(frozen=True)
class Observed:
    """Results of a fit to observed events. Limits are diffea's, at which pyhf must find the same CLs.

    Attributes:
        model: the statistical model.
        templates: of the simulation.
        observations: events of each channel of the model, by bin.
        events: how many were read, by dataset.
    """

    model: HistFactory
    templates: TemplateSet
    observations: Mapping[str, np.ndarray]
    events: Mapping[str, int]

    @classmethod
    def of(cls, model: HistFactory, templates: TemplateSet, seen: TemplateSet, events: Mapping[str, int]) -> Observed:
        """Of histograms of the events that are marked as data.

        Raises:
            ObservationError: if they have weights, are templates of the model, or leave a channel of it out.
        """
        return cls(model, templates, observations_of(model, seen), events)

    def _repr_html_(self) -> str:
        return tables.of_observed(self)

    def workspace(self) -> JSONDict:
        """A pyhf workspace with the observed events."""
        return self.model.workspace(self.templates, self.observations)

    @functools.cached_property
    def cls(self) -> float:
        """Observed CLs at signal strength 1, by pyhf."""
        return self._judge.observed_cls(1.0)

    @functools.cached_property
    def limit(self) -> float:
        """Observed 95 % CL upper limit on the parameter of interest.

        Raises:
            JudgementError: if pyhf does not find that CLs there.
            FitError: if a fit does not converge.
        """
        limit = np.asarray(self._limits.observed, float).item()
        judged = self._judge.observed_cls(limit)
        if abs(np.log(max(judged, 1e-300) / (1 - CL))) > AGREEMENT:
            msg = f"expected pyhf to find CLs = {1 - CL:.3g} at diffea's observed limit {limit:.6g}, got {judged:.4g}: one of the fits stopped in the wrong minimum"
            raise JudgementError(msg)
        return limit

    @property
    def expected(self) -> float:
        """Median expected limit, at the nuisance parameters that fit the observed events best without signal."""
        return float(self._limits.expected)

    @property
    def band(self) -> tuple[float, ...]:
        """Expected limits at −2, −1, 0, 1, 2 σ, likewise."""
        return tuple(np.asarray(self._limits.band, float).tolist())

    @functools.cached_property
    def significance(self) -> float:
        """Observed, of the signal over the background."""
        return float(statistics.discovery(self._bound, self._data).significance)

    @functools.cached_property
    def best_fit(self) -> dict[str, tuple[float, float]]:
        """Best-fit value and uncertainty of every parameter."""
        found = statistics.estimates(self._bound, self._data)
        pairs = zip(np.asarray(found.values).tolist(), np.asarray(found.uncertainties).tolist(), strict=True)
        return dict(zip(found.parameters, pairs, strict=True))

    @functools.cached_property
    def goodness_of_fit(self) -> statistics.GoodnessOfFit:
        """The saturated-model test."""
        return statistics.goodness_of_fit(self._bound, self._data)

    @functools.cached_property
    def postfit(self) -> statistics.Prediction:
        """Expected events after the fit, with what was observed."""
        return statistics.postfit(self._bound, self._data)

    @functools.cached_property
    def _bound(self) -> BoundModel:
        return self.model(self.templates)

    @functools.cached_property
    def _data(self) -> jax.Array:
        return self._bound.data(self.observations)

    @functools.cached_property
    def _limits(self) -> statistics.Limit:
        return statistics.upper_limit(self._bound, CL, self._data, band=True)

    @functools.cached_property
    def _judge(self) -> Judge:
        return Judge(self.workspace(), self.model.modifier_settings)


def observations_of(model: HistFactory, seen: TemplateSet) -> dict[str, np.ndarray]:
    """Observed events of each channel of a model, by bin.

    Args:
        model: the statistical model.
        seen: histograms of the events that are marked as data.

    Raises:
        ObservationError: if these have weights, are templates of the model, or leave a channel of it out.
    """
    channels = [channel.name for channel in model.spec.channels]
    named = {sample for _, sample, _ in model.template_keys}
    found: dict[str, np.ndarray] = {}
    for key, template in seen.items():
        channel, sample, variation = key
        if variation != NOMINAL or channel not in channels:
            continue
        if sample in named:
            msg = (
                f"the sample {sample!r} is a template of the model and comes from a dataset that is marked as data: is it simulated? Then take "
                "metadata['is_data'] away; an estimate from data is a dataset of its own, without the mark"
            )
            raise ObservationError(msg)
        values, variances = (np.ravel(np.asarray(flat, float)) for flat in (template.values, template.variances))
        wrong = np.flatnonzero((values < 0) | (values != np.round(values)) | (values != variances))
        if wrong.size:
            first = int(wrong[0])
            msg = (
                f"observed events count 1 each, but in bin {first} of {channel!r} those of {sample!r} have weights (sum {values[first]:g}, of squares "
                f"{variances[first]:g}): is the dataset simulated? Otherwise give its events the weight 1, or 0, in `columns`"
            )
            raise ObservationError(msg)
        found[channel] = found.get(channel, 0.0) + values
    if missing := [channel for channel in channels if channel not in found]:
        msg = f"no dataset that is marked as data fills the channels {missing} of the model: `fill` must fill them for observed events too"
        raise ObservationError(msg)
    return {channel: found[channel] for channel in channels}
