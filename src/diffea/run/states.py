"""An analysis at fixed parameters: what it is worth, soft and hard, on train and on test events."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from statistics import mean

import jax
import numpy as np

from diffea import objectives
from diffea.distributed import Templates
from diffea.errors import DiffeaError, ReplicaError
from diffea.evaluate import Evaluation, evaluation_of, together
from diffea.histograms import edges_of
from diffea.run.numbers import numbers
from diffea.runtime import named_errors
from diffea.statistics import HistFactory
from diffea.statistics.bound import BoundModel
from diffea.statistics.spec import MIRRORED
from diffea.templates import TemplateSet
from diffea.types import JSONDict, Params, Scalar


@dataclasses.dataclass(frozen=True)
class Piece:
    """An analysis at parameters that were trained without some of the events.

    Attributes:
        soft: templates of the events trained on.
        train: the same events with exact cuts.
        test: the other ones.
        no_replicas: why there are no replicas of them, if not.
    """

    soft: TemplateSet
    train: Evaluation
    test: Evaluation
    no_replicas: str | None

    @classmethod
    def of(cls, model: HistFactory, train: Templates, test: Templates, params: Params, replicas: int) -> Piece:
        with named_errors():
            soft = jax.tree.map(np.asarray, train(params))
        model(soft)  # one that does not fit the templates is an error, before any training

        def judge(replicas: int, reason: str | None) -> Piece:
            on_train = evaluation_of(train, params, model, replicas)
            on_test = on_train if test is train else evaluation_of(test, params, model, replicas)
            return cls(soft, on_train, on_test, reason)

        try:
            return judge(replicas, None)
        except ReplicaError as error:  # a result without errors is one all the same
            return judge(0, str(error))


@dataclasses.dataclass(frozen=True)
class State:
    """An analysis before or after training: its values, and the histograms behind them.

    Attributes:
        values: of the objective: ``soft``, ``hard_train`` and ``hard_test``; None for what could not be judged. Of the first two the mean
            over the folds; ``hard_test`` is of all folds together.
        limit: expected, on the test events, if it was asked for.
        errors: standard deviations, from replicas of the events, of ``hard_test`` and ``limit``; None for what has none.
        failures: why one of these is None.
        test: all events that were judged.
        soft: templates of the events trained on; the mean over the folds.
        hard_train: likewise, with exact cuts.
    """

    values: dict[str, float | None]
    limit: float | None
    errors: dict[str, float | None]
    failures: dict[str, str]
    test: Evaluation
    soft: TemplateSet
    hard_train: TemplateSet

    @classmethod
    def of(
        cls,
        objective: Callable[[BoundModel], Scalar],
        model: HistFactory,
        pieces: Sequence[Piece],
        *,
        limit: bool,
    ) -> State:
        failures: dict[str, str] = {}

        def attempt(name: str, judge: Callable[[], float]) -> float | None:
            try:
                value = judge()
            except DiffeaError as error:
                failures[name] = str(error)
                return None
            if np.isfinite(value):
                return value
            failures[name] = f"it is {value}"
            return None

        test = together([piece.test for piece in pieces])
        values = {
            "soft": attempt("soft", lambda: mean(float(objective(model(piece.soft))) for piece in pieces)),
            "hard_train": attempt("hard_train", lambda: mean(judged(objective, piece.train) for piece in pieces)),
            "hard_test": attempt("hard_test", lambda: judged(objective, test)),
        }
        limits = attempt("limit", lambda: test.limit) if limit else None
        errors: dict[str, float | None] = {}
        if reason := next((piece.no_replicas for piece in pieces if piece.no_replicas), None):
            failures["errors"] = reason
        if test.replicas is not None and values["hard_test"] is not None:
            errors["hard_test"] = attempt("hard_test_error", lambda: test.measured(objective).error)
        if test.replicas is not None and limits is not None:
            errors["limit"] = attempt("limit_error", lambda: test.limit_error)
        soft, hard_train = (_mean([getattr(piece, name) for piece in pieces]) for name in ("soft", "train"))
        return cls(values, limits, errors, failures, test, soft, hard_train)

    @property
    def histograms(self) -> JSONDict:
        found = {"soft": self.soft, "hard_train": self.hard_train, "hard_test": self.test.templates}
        return {kind: histograms(templates) for kind, templates in found.items()}


def _mean(parts: Sequence[TemplateSet | Evaluation]) -> TemplateSet:
    """Templates of the events that each fold trained on, which have all but one fold in common, as one estimate of the full yield."""
    sets = [part.templates if isinstance(part, Evaluation) else part for part in parts]
    whole, folds = functools.reduce(operator.add, sets), len(sets)
    return dataclasses.replace(
        whole,
        values_flat=whole.values_flat / folds,
        variances_flat=whole.variances_flat * max(folds - 1, 1) / folds**2,
    )


def histograms(templates: TemplateSet) -> JSONDict:
    """Templates as JSON values, by channel/sample/variation."""
    return {
        "/".join(key): {
            "edges": [numbers(edges_of(axis)) for axis in template.axes],
            "name": " × ".join(axis.name for axis in template.axes),
            "label": " × ".join(axis.label or axis.name for axis in template.axes),
            "values": np.asarray(template.values).tolist(),
            "variances": np.asarray(template.variances).tolist(),
        }
        for key, template in templates.items()
    }


def shifts(model: HistFactory) -> dict[str, dict[str, dict[str, object]]]:
    """Which templates, or numbers, are the two sides of each shape variation, by ``channel/sample`` and modifier."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for channel, sample, modifier, field, source in model.spec.sources():
        if modifier is not None and modifier.type == "histosys":
            sides = found.setdefault(f"{channel.name}/{sample.name}", {}).setdefault(modifier.name, {})
            sides[field.removesuffix("_data")] = (
                list(source.numbers or ())
                if source.key is None
                else "/".join(source.key) + (MIRRORED if source.mirrored else "")
            )
    return found


def describe(objective: Callable[..., object]) -> str:
    """An objective in words, such as ``cls(poi_test=10.0)``."""
    if isinstance(objective, functools.partial):
        arguments = ", ".join(f"{key}={value}" for key, value in objective.keywords.items())
        return f"{describe(objective.func)}({arguments})"
    return getattr(objective, "__name__", repr(objective))


def judged(objective: Callable[[BoundModel], Scalar], evaluation: Evaluation) -> float:
    """An objective's value on real histograms: by pyhf where pyhf knows the objective, by ``objectives`` otherwise."""
    plain, keywords = (
        (objective.func, objective.keywords) if isinstance(objective, functools.partial) else (objective, {})
    )
    if plain is objectives.cls and set(keywords) <= {"poi_test"}:
        return evaluation.cls_at(keywords.get("poi_test", 1.0))
    if plain is objectives.upper_limit and keywords.get("cl", 0.95) == 0.95 and set(keywords) <= {"cl"}:
        return evaluation.limit
    return float(objective(evaluation.model(evaluation.templates)))
