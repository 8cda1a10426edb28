"""The truth: hard cuts, real histograms, and pyhf itself, on events that were not trained on."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import hist
import numpy as np
from coffea.nanoevents import NanoAODSchema
from distributed import Client

from diffea import objectives
from diffea.bootstrap import Measured, each
from diffea.distributed import Templates, distribute
from diffea.errors import JudgementError, ReplicaError, SplitError
from diffea.events.folds import check_samples
from diffea.events.splits import Split
from diffea.judge import Judge
from diffea.notebook import pictures, tables
from diffea.observed import Observed, check_marks, check_once, warn_of_unmarked
from diffea.processor import DifferentiableProcessor
from diffea.statistics import HistFactory
from diffea.statistics.bound import BoundModel
from diffea.templates import Key, TemplateSet
from diffea.types import Fileset, JSONDict, Params, Scalar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AGREEMENT = 0.05


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an analysis reaches with hard cuts.

    Attributes:
        templates: real histograms of the selected events.
        model: the statistical model.
        events: how many were read, by dataset.
        lost: the share of entries that were left out because their files stayed bad, by dataset.
        replicas: the same histograms of resampled events, along the first axis of their arrays, where these were asked for.
        observed: results of observed events, where these were asked for.
    """

    templates: TemplateSet
    model: HistFactory
    events: Mapping[str, int]
    lost: Mapping[str, float] = dataclasses.field(default_factory=dict)
    replicas: TemplateSet | None = None
    observed: Observed | None = None

    @property
    def hists(self) -> dict[Key, hist.Hist]:
        """Every template as a ``hist.Hist`` with Weight storage."""
        return self.templates.to_hists()

    def plot(self, channel: str | None = None, ax: Axes | None = None) -> Axes:
        """The samples of a channel with hard cuts, the signal as a line; the channel may be left out where there is one."""
        return pictures.plot_channel(self.templates, channel, pictures.signals(self.model), ax)

    def _repr_html_(self) -> str:
        return tables.of_evaluation(self)

    def workspace(self) -> JSONDict:
        """A valid pyhf workspace (JSON); its observations are the background-only Asimov data."""
        return self.model.workspace(self.templates)

    def cls_at(self, poi_test: float) -> float:
        """Expected CLs, by pyhf."""
        return self._judge.cls(poi_test)

    @functools.cached_property
    def cls(self) -> float:
        """Expected CLs at signal strength 1, by pyhf."""
        return self.cls_at(1.0)

    @functools.cached_property
    def limit(self) -> float:
        """Expected 95 % CL upper limit on the parameter of interest, by pyhf.

        Raises:
            JudgementError: if pyhf's minimisers fail, or end elsewhere than diffea's fits.
            FitError: if nothing is excluded.
            YieldError: if a bin has signal and no background.
        """
        ours = float(objectives.upper_limit(self.model(self.templates)))
        limit = self._judge.limit(ours)
        if abs(limit / ours - 1.0) > _AGREEMENT:
            msg = (
                f"expected pyhf and diffea to find the same limit within {_AGREEMENT:.0%}, got {limit:.6g} and {ours:.6g}: "
                "one of them stopped in the wrong minimum; look at `workspace()` for variations that both point one way"
            )
            raise JudgementError(msg)
        return limit

    @functools.cached_property
    def significance(self) -> float:
        """Expected discovery significance of a signal of strength 1."""
        return float(objectives.discovery_significance(self.model(self.templates)))

    @functools.cached_property
    def poi_uncertainty(self) -> float:
        """Expected uncertainty of the parameter of interest, at a signal of strength 0."""
        return float(objectives.poi_uncertainty(self.model(self.templates)))

    @property
    def limit_error(self) -> float:
        """What the finite number of simulated events leaves uncertain of ``limit``, from the replicas; see ``measured``."""
        return self.measured(objectives.upper_limit, self.limit).error

    @property
    def cls_error(self) -> float:
        """Likewise of ``cls``."""
        return self.measured(objectives.cls, self.cls).error

    @property
    def significance_error(self) -> float:
        """Likewise of ``significance``."""
        return self.measured(objectives.discovery_significance, self.significance).error

    @property
    def poi_uncertainty_error(self) -> float:
        """Likewise of ``poi_uncertainty``."""
        return self.measured(objectives.poi_uncertainty, self.poi_uncertainty).error

    @property
    def yield_errors(self) -> dict[Key, np.ndarray]:
        """Likewise of every bin of every template."""
        replicas = self._replicas
        return {key: np.std(replicas[key].values, axis=0, ddof=1) for key in replicas}

    def measured(self, objective: Callable[[BoundModel], Scalar], value: float | None = None) -> Measured:
        """A function of the bound model, with its error from the replicas.

        Args:
            objective: such as ``objectives.poi_uncertainty``.
            value: where another judge (pyhf) knows it; by default what the function gives.

        Raises:
            ReplicaError: without replicas (``evaluate(…, replicas=100)``), or if the function fails for many of them.
        """
        ours, replicated = self.replicated(objective)
        return Measured.of(ours if value is None else value, ours, replicated)

    def gain_over(self, before: Evaluation, objective: Callable[[BoundModel], Scalar] | None = None) -> Measured:
        """This result over an earlier one, with the error of their ratio: replicas resample the same events in both, so what
        both have in common cancels.

        Args:
            before: evaluated on the same events with as many replicas; it may have other parameters, processor and model.
            objective: function of the bound model; the expected limit, judged by pyhf, by default.

        Raises:
            ReplicaError: if one has no replicas, or another number of them than the other, or many have no such ratio.
        """
        here, there = (len(one._replicas.values_flat) for one in (self, before))
        if here != there:
            msg = f"a gain is of as many replicas on both sides, got {here} and {there}"
            raise ReplicaError(msg)
        (ours, after), (theirs, first) = (one.replicated(objective or objectives.upper_limit) for one in (self, before))
        ratio = ours / theirs if objective else self.limit / before.limit
        return Measured.of(ratio, ours / theirs, after / first)

    @property
    def _replicas(self) -> TemplateSet:
        if self.replicas is None:
            msg = "an error needs replicas of the events: diffea.evaluate(…, replicas=100)"
            raise ReplicaError(msg)
        return self.replicas

    def replicated(self, objective: Callable[[BoundModel], Scalar]) -> tuple[float, np.ndarray]:
        """A function of the bound model, of the events, and of each replica and a tenth of the way to it, shape ``(replicas, 2)``, NaN
        where it fails.

        Raises:
            ReplicaError: without replicas, or if it fails for all of them.
        """
        if objective not in self._known:
            found = each(self.templates, self._replicas, lambda templates: objective(self.model(templates)))
            self._known[objective] = float(objective(self.model(self.templates))), found
        return self._known[objective]

    @functools.cached_property
    def _known(self) -> dict[Callable[[BoundModel], Scalar], tuple[float, np.ndarray]]:
        return {}

    @functools.cached_property
    def _judge(self) -> Judge:
        return Judge(self.workspace(), self.model.modifier_settings)


def evaluate(
    processor: DifferentiableProcessor,
    fileset: Fileset,
    params: Params,
    model: HistFactory,
    *,
    client: Client | None = None,
    schemaclass: type = NanoAODSchema,
    chunksize: int = 100_000,
    split: Split | None = None,
    on_bad_file: Literal["raise", "skip"] = "raise",
    memory: int | str = "auto",
    replicas: int = 0,
    observed: bool = False,
    uproot_options: Mapping[str, object] | None = None,
) -> Evaluation:
    """Run the analysis once with hard cuts into real histograms.

    Args:
        processor: the same as was optimised.
        fileset: coffea's own.
        params: the parameters to judge; with folds, a list of those trained without each of them.
        model: the statistical model.
        client: a ``dask.distributed.Client``; without one everything stays in this process.
        schemaclass: of NanoEvents.
        chunksize: entries that are read at once.
        split: keep its test part only (or the part that it names), weights scaled to the full yield. With folds
            (``Split(folds=2)``) all events are kept, each judged by the parameters that did not see it.
        on_bad_file: whether a file that stays bad is an error, or left out (``Evaluation.lost`` then tells of it).
        memory: bytes of columns that a worker may hold, see ``distribute``.
        replicas: of the events, from which every number has its error; 100 cost about a hundred fills in the same pass.
        observed: read what is marked as data (``metadata["is_data"]``) too, all of it, and give results of it: ``Evaluation.observed``.
            By default nothing looks at these events.
        uproot_options: by which files are opened, see ``distribute``.

    Raises:
        SplitError: if there are not as many parameters as folds, or a fold has no events of a sample.
        TemplateError: if folds learned unlike bin edges, so that their templates do not add up.
        ObservationError: if a template of the model is marked as data; if observed data are asked for, and nothing is marked as such, or
            what is has weights, or events twice.
        ReplicaError: if replicas are asked for of events of which it is not known what identifies them.
        UnknownTemplateError: if the model names a template that no fill made.
        Whatever ``distribute`` raises.
    """
    read = functools.partial(
        distribute,
        processor,
        fileset,
        client=client,
        schemaclass=schemaclass,
        chunksize=chunksize,
        on_bad_file=on_bad_file,
        memory=memory,
        uproot_options=uproot_options,
    )
    check_marks(model, fileset)
    by_fold = split is not None and split.folds is not None and split.fold is None
    if split is not None and by_fold:
        _check_folds(split, params)
    part = split and split.of(split.part or "test")
    parts = split.of("fold").each if split and by_fold else (part,)
    each = list(params) if by_fold else [params]
    found, chunks = [], []
    for one, own in zip(parts, each, strict=True):
        with read(split=one, identify=bool(replicas)) as templates:
            chunks.append(templates.ledger.chunks)
            found.append(evaluation_of(templates, own, model, replicas))
    if split and by_fold:
        check_samples(split, chunks)
    whole = together(found)
    warn_of_unmarked(model, whole.templates, parts[0].scale if parts[0] else 1.0)
    if not observed:
        return whole
    seen, events = [], Counter[str]()
    for one, own in zip(parts if by_fold else (None,), each, strict=True):
        with read(split=one, observed=True, identify=True) as templates:
            check_once(templates.ledger.repeated)
            seen.append(templates.hard(own))
            events.update(templates.events)
    data = functools.reduce(operator.add, seen)
    return dataclasses.replace(whole, observed=Observed.of(model, whole.templates, data, dict(events)))


def _check_folds(split: Split, params: object) -> None:
    """See that there are parameters for each fold, and no other part is asked for."""
    if split.part not in (None, "test", "fold"):
        msg = f"events are judged by the parameters that did not see them: leave the part of {split} away"
        raise SplitError(msg)
    if not isinstance(params, list | tuple) or len(params) != split.folds:
        number = f"{len(params)} of them" if isinstance(params, list | tuple) else type(params).__name__
        msg = f"with {split.folds} folds expected a list of the parameters that were trained without each of them, got {number}"
        raise SplitError(msg)


def together(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of the events of several, which have none in common and one model.

    Raises:
        TemplateError: if they have unlike learned edges.
    """
    first = evaluations[0]
    if len(evaluations) == 1:
        return first  # with all that is known of it
    events: Counter[str] = Counter()
    for one in evaluations:
        events.update(one.events)
    replicas = [one.replicas for one in evaluations if one.replicas is not None]
    return dataclasses.replace(
        first,
        templates=functools.reduce(operator.add, [one.templates for one in evaluations]),
        events=dict(events),
        lost={key: share for one in evaluations for key, share in one.lost.items()},
        replicas=functools.reduce(operator.add, replicas) if len(replicas) == len(evaluations) else None,
    )


def evaluation_of(templates: Templates, params: Params, model: HistFactory, replicas: int = 0) -> Evaluation:
    """What events that are distributed already reach with hard cuts; ``evaluate`` for the arguments."""
    found, resampled = templates.replicas(params, replicas) if replicas else (templates.hard(params), None)
    return Evaluation(found, model, dict(templates.events), templates.ledger.lost, resampled)
