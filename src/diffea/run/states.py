"""An analysis at fixed parameters: what it is worth, soft and hard, on train and on test events."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from diffea import objectives
from diffea.distributed import Templates
from diffea.errors import DiffeaError
from diffea.evaluate import Evaluation
from diffea.histograms import edges_of
from diffea.run.numbers import numbers
from diffea.runtime import named_errors
from diffea.statistics import HistFactory
from diffea.statistics.model import BoundModel
from diffea.templates import TemplateSet
from diffea.types import JSONDict, Params, Scalar


@dataclasses.dataclass(frozen=True)
class State:
    """An analysis at fixed parameters: its values, and the histograms behind them.

    Attributes:
        values: of the objective: ``soft``, ``hard_train`` and ``hard_test``; None for what could not be judged.
        limit: expected, on the test events, if it was asked for.
        failures: why a value or ``limit`` is None.
    """

    values: dict[str, float | None]
    limit: float | None
    failures: dict[str, str]
    test: Evaluation
    soft: TemplateSet
    hard_train: TemplateSet

    @classmethod
    def of(
        cls,
        objective: Callable[[BoundModel], Scalar],
        model: HistFactory,
        train: Templates,
        test: Templates,
        params: Params,
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

        with named_errors():
            soft = jax.tree.map(np.asarray, train(params))
        hard = {
            "hard_train": Evaluation(train.hard(params), model, train.events),
            "hard_test": Evaluation(test.hard(params), model, test.events),
        }
        bound = model(soft)  # a model that does not fit the templates is an error
        values = {"soft": attempt("soft", lambda: float(objective(bound)))}
        for name, evaluation in hard.items():
            values[name] = attempt(name, functools.partial(judged, objective, evaluation))
        limits = attempt("limit", lambda: hard["hard_test"].limit) if limit else None
        return cls(values, limits, failures, hard["hard_test"], soft, hard["hard_train"].templates)

    @property
    def histograms(self) -> JSONDict:
        return {"soft": _histograms(self.soft), "hard_test": _histograms(self.test.templates)}


def _histograms(templates: TemplateSet) -> JSONDict:
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
                list(source.numbers or ()) if source.key is None else "/".join(source.key)
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
