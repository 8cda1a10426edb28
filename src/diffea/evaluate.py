"""The truth: hard cuts, real histograms, and pyhf itself, on events that were not trained on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

import hist
from coffea.nanoevents import NanoAODSchema
from distributed import Client

from diffea import objectives
from diffea.distributed import distribute
from diffea.errors import JudgementError
from diffea.events.splits import Split
from diffea.judge import Judge
from diffea.processor import DifferentiableProcessor
from diffea.statistics import HistFactory
from diffea.templates import Key, TemplateSet
from diffea.types import Fileset, JSONDict, Params

_AGREEMENT = 0.05


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an analysis reaches with hard cuts.

    Attributes:
        templates: real histograms of the selected events.
        model: the statistical model.
        events: how many were read, by dataset.
        lost: the share of entries that were left out because their files stayed bad, by dataset.
    """

    templates: TemplateSet
    model: HistFactory
    events: Mapping[str, int]
    lost: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def hists(self) -> dict[Key, hist.Hist]:
        """Every template as a ``hist.Hist`` with Weight storage."""
        return self.templates.to_hists()

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
) -> Evaluation:
    """Run the analysis once with hard cuts into real histograms.

    Args:
        processor: the same as was optimised.
        fileset: coffea's own.
        params: the parameters to judge.
        model: the statistical model.
        client: a ``dask.distributed.Client``; without one everything stays in this process.
        schemaclass: of NanoEvents.
        chunksize: entries that are read at once.
        split: keep its test part only (or the part that it names), weights scaled to the full yield.
        on_bad_file: whether a file that stays bad is an error, or left out (``Evaluation.lost`` then tells of it).
        memory: bytes of columns that a worker may hold, see ``distribute``.

    Raises:
        UnknownTemplateError: if the model names a template that no fill made.
        Whatever ``distribute`` raises.
    """
    part = split.of(split.part or "test") if split else None
    with distribute(
        processor,
        fileset,
        client=client,
        schemaclass=schemaclass,
        chunksize=chunksize,
        split=part,
        on_bad_file=on_bad_file,
        memory=memory,
    ) as templates:
        return Evaluation(templates.hard(params), model, dict(templates.events), templates.ledger.lost)
