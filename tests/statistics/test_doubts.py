"""Where an answer cannot be trusted, it says so: degenerate models, no degrees of freedom, lost uncertainties."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pyhf
import pytest

from diffea import objectives
from diffea.errors import FitError, MethodError
from diffea.statistics import (
    BoundModel,
    HistFactory,
    Solver,
    fit,
    goodness_of_fit,
    hypotest,
    likelihood_ratio,
    nuisances,
    upper_limit,
    warnings,
)
from tests.statistics.models import modifier

COUNT = pyhf.simplemodels.uncorrelated_background([5.0, 8.0], [50.0, 40.0], [3.0, 4.0]).spec


@pytest.fixture(scope="module")
def bound() -> BoundModel:
    return HistFactory(COUNT)()


def twins() -> dict[str, Any]:
    """Two free normalisations of the same shape, of which only the sum is known; and one of the background."""
    signal = {"name": "s", "data": [5.0, 8.0], "modifiers": [modifier("mu", "normfactor")]}
    other = {"name": "t", "data": [10.0, 16.0], "modifiers": [modifier("twin", "normfactor")]}
    background = {"name": "b", "data": [50.0, 40.0], "modifiers": [modifier("norm", "normfactor")]}
    return {"channels": [{"name": "c", "samples": [signal, other, background]}]}


def test_what_is_known_only_in_combination_is_infinite() -> None:
    bound = HistFactory(twins())()
    names = bound.config.par_names
    alone = copy.deepcopy(twins())
    del alone["channels"][0]["samples"][1]
    assert np.isposinf(objectives.poi_uncertainty(bound))
    assert np.isposinf(objectives.poi_uncertainty(bound, bound.data([60.0, 70.0])))
    assert np.isposinf(objectives.generalised_variance(bound))
    after, expected = nuisances(bound, poi_true=1.0), nuisances(HistFactory(alone)())
    assert np.isposinf(after.uncertainties[np.array([names.index("mu"), names.index("twin")])]).all()
    jacobian = np.array([[50.0, 40.0], [5.0, 8.0]])
    nu = np.array([50.0 + 15.0, 40.0 + 24.0])
    sigma = np.sqrt(np.linalg.inv(jacobian / nu @ jacobian.T)[0, 0])
    np.testing.assert_allclose(after.uncertainties[names.index("norm")], sigma, rtol=1e-7)
    assert np.isfinite(expected.uncertainties).all()


def test_goodness_of_fit_needs_degrees_of_freedom() -> None:
    spec = copy.deepcopy(COUNT)
    for sample in spec["channels"][0]["samples"]:
        sample["data"] = sample["data"][:1]
    spec["channels"][0]["samples"][1]["modifiers"][0]["data"] = [3.0]
    one = HistFactory(spec)()
    with pytest.raises(FitError, match="no degrees of freedom"):
        goodness_of_fit(one, one.data([60.0]))
    silent = goodness_of_fit(one, one.data([60.0]), solver=Solver(throw=False))
    assert int(silent.degrees) == 0
    assert np.isnan(silent.p_value)


@pytest.mark.parametrize("kind", ["staterror", "shapesys"])
def test_uncertainties_of_negative_yields_are_missed(kind: str) -> None:
    spec = {"channels": [{"name": "SR", "samples": [
        {"name": "s", "data": [40.0, 40.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "interference", "data": [-50.0, 50.0], "modifiers": [modifier("mc", kind, [10.0, 1.0])]},
        {"name": "background", "data": [500.0, 500.0], "modifiers": []},
    ]}]}  # fmt: skip
    (said,) = warnings(HistFactory(spec)())
    assert f"the {kind} 'mc' in bin SR[0] is left out" in said
    assert "10 events" in said


def test_a_nuisance_parameter_at_its_upper_bound_is_told() -> None:
    spec = twins()
    del spec["channels"][0]["samples"][1]
    bound = HistFactory({**spec, "parameters": [{"name": "norm", "bounds": [[0.0, 1.5]]}]})()
    (said,) = warnings(bound, data=bound.data([100.0, 80.0]))
    assert "stops at the upper bound 1.5 of 'norm'" in said
    assert warnings(bound, data=bound.data([50.0, 40.0])) == []


def test_methods_that_there_are_not(bound: BoundModel) -> None:
    data = bound.data([51.0, 48.0])
    for function, message in (
        (lambda: hypotest(bound, test_stat="t"), "CLs is made of 'q' or 'qtilde'"),
        (lambda: hypotest(bound, calculator="bootstrap"), "expected 'asymptotics' or 'toys'"),
        (lambda: hypotest(bound, calculator="toys", toys=0), "at least one, got 0"),
        (lambda: upper_limit(bound, cl=1.0), "0 < cl < 1"),
        (lambda: likelihood_ratio(bound, 1.0, data, test_stat="best"), "test_stat: expected one of"),
        (lambda: fit(bound, data, solver=Solver(method="guess")), "no method 'guess'"),
    ):
        with pytest.raises(MethodError, match=message):
            function()


def test_a_background_that_cancels_is_told() -> None:
    """One bin of 8.4 - 7.6 events, the second of them uncertain by half: a scan finds a minimum on either side of no background."""
    positive = {"name": "b", "data": [60.0, 8.4], "modifiers": [modifier("mcstat", "staterror", [4.0, 2.0])]}
    negative = {
        "name": "fakes",
        "data": [1.0, -7.6],
        "modifiers": [modifier("norm", "normsys", {"hi": 1.5, "lo": 0.5}), modifier("mcstat", "staterror", [1.0, 2.5])],
    }
    signal = {"name": "s", "data": [0.6, 0.5], "modifiers": [modifier("mu", "normfactor")]}
    spec = {"channels": [{"name": "region", "samples": [signal, positive, negative]}]}
    found = [text for text in warnings(HistFactory(spec)()) if "second minimum" in text]
    assert len(found) == 1
    assert "bin region[1] expects 0.8 background events, which one sigma of 'norm' makes -3" in found[0]

    judge = pyhf.Model(spec)
    data = judge.expected_data([0.0 if name == "mu" else init for name, init in _initial(judge)])

    def deviance(norm: float, gamma: float) -> float:
        chosen = {"mu": 5.0, "norm": norm, "mcstat[1]": gamma}
        with np.errstate(invalid="ignore"):
            value = judge.logpdf([chosen.get(name, init) for name, init in _initial(judge)], data)[0]
        return -2.0 * value if np.isfinite(value) else np.inf

    gammas = np.linspace(0.05, 10.0, 200)
    lowest = {norm: min(deviance(norm, gamma) for gamma in gammas) for norm in np.linspace(-1.0, 1.0, 81)}
    above = {norm: value for norm, value in lowest.items() if 7.6 * 1.5**norm > 8.4}
    below = {norm: value for norm, value in lowest.items() if norm not in above}
    inside = min(above, key=lambda norm: above[norm])
    assert min(above) < inside < max(above)
    assert above[inside] < min(below.values())


def _initial(judge: pyhf.Model) -> list[tuple[str, float]]:
    return list(zip(judge.config.par_names, judge.config.suggested_init(), strict=True))
