"""Gradients where an analysis ends: empty bins, parameters at their bounds, fewer events than background; against refits."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import objectives
from diffea.statistics import HistFactory, Yields, fit, goodness_of_fit, nuisances
from tests.statistics.models import modifier

FREE = [modifier("k", "normfactor")]
SPEC: dict[str, Any] = {"channels": [
    {"name": "CR", "samples": [{"name": "b", "data": [20.0], "modifiers": FREE}]},
    {"name": "SR", "samples": [
        {"name": "s", "data": [2.0, 4.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [6.0, 3.0], "modifiers": FREE},
        {"name": "fake", "data": [2.0, 1.5], "modifiers": [modifier("stat", "staterror", [2.4, 0.5])]},
    ]},
]}  # fmt: skip
# observed in CR, SR[0], SR[1]; which parameters are at their lower bound in the free fit
DATA = {
    "empty signal region": ([19.0, 0.0, 0.0], {"mu", "stat[0]"}),
    "one empty bin": ([22.0, 0.0, 9.0], {"stat[0]"}),
    "empty control region": ([0.0, 7.0, 6.0], {"k"}),
    "deficit": ([25.0, 6.0, 2.0], {"mu"}),
    "nothing at all": ([0.0, 0.0, 0.0], {"k", "mu", "stat[0]"}),
}  # fmt: skip


@functools.cache
def model() -> HistFactory:
    return HistFactory(SPEC)


def numbers(yields: Yields, data: Any) -> dict[str, Any]:
    """Everything that has a gradient and looks at data. What is infinite, as the width of a flat likelihood, has the gradient 0."""
    bound = model()(yields)
    after = nuisances(bound, data)
    return {
        "log CLs": objectives.log_cls(bound, 1.2, data),
        "limit": objectives.upper_limit(bound, data=data),
        "discovery": objectives.discovery(bound, data),
        "uncertainty": objectives.poi_uncertainty(bound, data),
        "goodness": goodness_of_fit(bound, data).statistic,
        "values": after.values,
        "pulls": after.pulls,
        "uncertainties": after.uncertainties,
        "impacts": after.impacts,
    }


@functools.cache
def compiled() -> Any:
    """The Jacobian of the numbers in every yield, and they themselves, one program."""

    def twice(yields: Yields, data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        found = numbers(yields, data)
        return found, found

    return jax.jit(jax.jacrev(twice, has_aux=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", DATA)
def test_gradients_are_those_of_refits(case: str) -> None:
    seen, at_bound = DATA[case]
    yields, bound = model().yields, model()()
    data = bound.data({"CR": seen[:1], "SR": seen[1:]})
    found = fit(bound, data)
    lowest = np.array([low for low, _ in bound.config.suggested_bounds()])
    held = np.flatnonzero(np.asarray(found.pars) <= lowest)
    assert {bound.config.par_names[i] for i in held} == at_bound
    evaluate = compiled()
    gradient, at = evaluate(yields, data)
    for field in ("nominal", "staterror"):
        values = np.asarray(getattr(yields, field))
        for i, step in enumerate(np.diag(3e-4 * values)):
            around = [
                evaluate(dataclasses.replace(yields, **{field: jnp.asarray(values + by * step)}), data)[1]
                for by in (1, -1, 2, -2)
            ]
            for name, value in at.items():
                own, finite = np.asarray(getattr(gradient[name], field))[..., i], np.isfinite(np.asarray(value))
                up, down, far_up, far_down = (np.where(finite, numbers[name], 0.0) for numbers in around)
                expected = (8 * (up - down) - (far_up - far_down)) / (12 * step[i])
                where = f"{name}, {model().places[field][i]}"
                np.testing.assert_allclose(own, expected, rtol=2e-5, atol=1e-6, err_msg=where)
