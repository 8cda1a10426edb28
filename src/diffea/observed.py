"""Observed: what the events of the experiment say, once they are asked for."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping

import jax
import numpy as np

from diffea import statistics
from diffea.errors import JudgementError, ObservationError, UnmarkedDataWarning
from diffea.events.filesets import marked
from diffea.judge import Judge
from diffea.notebook import tables
from diffea.statistics import HistFactory
from diffea.statistics.bound import BoundModel
from diffea.templates import TemplateSet
from diffea.templates.layout import NOMINAL
from diffea.types import Fileset, JSONDict

AGREEMENT = 0.05
CL = 0.95
MARKED = (
    "the sample {sample!r} is a template of the model and comes from {dataset} marked as data: is it simulated? Then take "
    "metadata['is_data'] away; an estimate from data is a dataset of its own, without the mark"
)


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


def check_marks(model: HistFactory, fileset: Fileset) -> None:
    """See, without a look at any event, that no dataset that is marked as data is a template of the model.

    Raises:
        ObservationError: naming it.
    """
    named = {sample for _, sample, _ in model.template_keys}
    for dataset, sample in marked(fileset).items():
        if sample in named:
            raise ObservationError(MARKED.format(sample=sample, dataset=f"the dataset {dataset!r}, which is"))


def check_once(repeated: Mapping[str, float]) -> None:
    """See that no observed event is there twice.

    Args:
        repeated: the share of events that are called like another one, by dataset, where it is known what identifies them.

    Raises:
        ObservationError: naming the dataset.
    """
    for dataset, share in repeated.items():
        if share > 0:
            msg = (
                f"dataset {dataset!r}: {share:.1%} of the observed events have the run, luminosity block and event number of another one, and would "
                "count twice: give each file once, or keep one of them in `columns` (files that have no such numbers go without the three branches)"
            )
            raise ObservationError(msg)


def unmarked(model: HistFactory, templates: TemplateSet, scale: float = 1.0) -> list[str]:
    """Samples that look like observed events that nobody marked: the model does not name them, they fill its channels, and each event counts 1.

    Args:
        model: the statistical model.
        templates: with exact cuts, of datasets that are not marked.
        scale: of their weights, see ``Split``.
    """
    channels = {channel.name for channel in model.spec.channels}
    named = {sample for _, sample, _ in model.template_keys}
    counts: dict[str, list[np.ndarray]] = {}
    for (channel, sample, variation), template in templates.items():
        if channel in channels and sample not in named and variation == NOMINAL:
            values, variances = np.ravel(template.values) / scale, np.ravel(template.variances) / scale**2
            counts.setdefault(sample, []).append(np.stack([values, variances]))
    whole = {sample: np.round(np.concatenate(found, axis=1), 9) for sample, found in counts.items()}
    return sorted(
        sample
        for sample, (values, variances) in whole.items()
        if values.any() and (values == variances).all() and (values % 1 == 0).all()
    )


def warn_of_unmarked(model: HistFactory, templates: TemplateSet, scale: float = 1.0) -> None:
    """Warn of what ``unmarked`` finds.

    Warns:
        UnmarkedDataWarning: naming the samples.
    """
    if found := unmarked(model, templates, scale):
        msg = (
            f"the events of {', '.join(map(repr, found))} count 1 each, and the model does not name them: if they were observed, mark their datasets "
            "with metadata={'is_data': True}, so that nothing looks at them; otherwise leave them out of the fileset"
        )
        warnings.warn(msg, UnmarkedDataWarning, stacklevel=2)


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
            raise ObservationError(MARKED.format(sample=sample, dataset="a dataset that is"))
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
