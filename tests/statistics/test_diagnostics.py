"""Impacts, pulls, constraints, goodness of fit, and warnings."""

from __future__ import annotations

import copy
import dataclasses

import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy import stats

from diffea import objectives
from diffea.statistics import (
    BoundModel,
    HistFactory,
    effective_events,
    fisher_condition,
    fit,
    goodness_of_fit,
    nuisances,
    warnings,
)
from tests.statistics.models import FITTED, modifier

Models = tuple[HistFactory, BoundModel, pyhf.Model]


@pytest.mark.usefixtures("precise_pyhf")
def test_impacts_are_those_of_refits_by_pyhf(fitted: Models, observed: np.ndarray) -> None:
    _, bound, judge = fitted
    after = nuisances(bound, observed)
    best = pyhf.infer.mle.fit(observed, judge)
    poi = judge.config.poi_index
    for name in ("scale", "lumi"):
        index = judge.config.par_slice(name).start
        shifts = []
        for sign in (1, -1):
            init, fixed = np.array(best).tolist(), judge.config.suggested_fixed()
            init[index] += sign * 0.02 * float(after.uncertainties[index])
            fixed[index] = True
            moved = pyhf.infer.mle.fit(observed, judge, init_pars=init, fixed_params=fixed)
            shifts.append(moved[poi] - best[poi])
        np.testing.assert_allclose(after.impacts[index], (shifts[0] - shifts[1]) / 0.04, rtol=1e-2)
    assert float(after.impacts[poi]) == pytest.approx(float(after.uncertainties[poi]))


def test_pulls_and_constraints(fitted: Models, observed: np.ndarray) -> None:
    _, bound, _ = fitted
    after = nuisances(bound, observed)
    names = bound.config.par_names
    lumi, free = names.index("lumi"), names.index("free")
    best = fit(bound, observed).pars
    np.testing.assert_allclose(after.pulls[lumi], (best[lumi] - 1.0) / 0.02, rtol=1e-9)
    assert 0 < float(after.constraints[lumi]) <= 1
    assert np.isnan(after.constraints[free])
    assert np.isinf(after.priors[free])
    assert float(after.pulls[free]) == 0.0


def test_blinded_nuisances_are_those_of_the_asimov_data(fitted: Models) -> None:
    """Without data nothing is fitted, and the parameter of interest at its bound of 0 has a width."""
    _, bound, _ = fitted
    poi, scale = bound.config.poi_index, bound.config.par_names.index("scale")
    expected = nuisances(bound)
    assert expected.fit is None
    np.testing.assert_allclose(expected.pulls, 0.0, atol=1e-12)
    assert float(expected.values[poi]) == 0.0
    assert float(expected.uncertainties[poi]) == pytest.approx(float(objectives.poi_uncertainty(bound)))
    assert abs(float(expected.impacts[scale])) > 0.01
    pars = np.array(bound.config.suggested_init())
    pars[poi] = 0.5
    asimov, inside = nuisances(bound, poi_true=0.5), nuisances(bound, bound.expected_data(pars))
    for found, refitted in ((asimov.impacts, inside.impacts), (asimov.constraints, inside.constraints)):
        np.testing.assert_allclose(found, refitted, rtol=1e-5)


def test_a_deficit_leaves_the_parameter_of_interest_a_width(fitted: Models) -> None:
    """The best fit is at the bound of 0; the width is that of pyhf's likelihood there, not 0."""
    _, bound, judge = fitted
    data = np.array([*[111.0, 95.0, 52.0, 36.0, 20.0, 16.0], *bound.config.auxdata])
    poi, after = judge.config.poi_index, nuisances(bound, data)
    assert float(after.values[poi]) == 0.0
    n, step = bound.config.npars, 1e-4
    best, eye = np.asarray(after.values), step * np.eye(n)

    def value(shift: np.ndarray) -> float:
        return -float(judge.logpdf(best + shift, data)[0])

    hessian = np.array(
        [
            [value(a + b) - value(a - b) - value(b - a) + value(-a - b) for b in eye]
            for a in eye
        ]
    ) / (4 * step**2)  # fmt: skip
    sigma = np.sqrt(np.linalg.inv(hessian)[poi, poi])
    np.testing.assert_allclose(after.uncertainties[poi], sigma, rtol=1e-3)
    np.testing.assert_allclose(after.impacts[poi], sigma, rtol=1e-3)
    np.testing.assert_allclose(objectives.poi_uncertainty(bound, data), sigma, rtol=1e-3)
    np.testing.assert_allclose(objectives.generalised_variance(bound, ["mu"], data), sigma**2, rtol=1e-3)


def test_goodness_of_fit(fitted: Models, observed: np.ndarray) -> None:
    _, bound, judge = fitted
    result = goodness_of_fit(bound, observed)
    _, value = pyhf.infer.mle.fit(observed, judge, return_fitted_val=True)
    main, aux = observed[:6], observed[6:]
    saturated = -2 * stats.poisson.logpmf(main, main).sum()
    sigmas = np.array(judge.config.param_set("stat_signal").sigmas)
    saturated += 2 * sum(np.log(sigma * np.sqrt(2 * np.pi)) for sigma in [1.0, 1.0, 0.02, *sigmas])
    counts = np.array(judge.config.param_set("method").auxdata)
    saturated += -2 * sum(n * np.log(n) - n - float(np.sum(np.log(np.arange(1, n + 1)))) for n in counts)
    assert len(aux) == 3 + 4 + 4
    np.testing.assert_allclose(result.statistic, value - saturated, atol=1e-4)
    assert int(result.degrees) == 4
    np.testing.assert_allclose(result.p_value, stats.chi2.sf(float(result.statistic), 4), rtol=1e-9)


def test_effective_events_and_condition(fitted: Models) -> None:
    _, bound, _ = fitted
    expected = np.array([55.0, 46.0, 34.0, 23.0]) ** 2 / np.array([10.0, 8.5, 5.0, 5.0])
    np.testing.assert_allclose(effective_events(bound)[2:], expected)
    assert np.isinf(effective_events(bound)[:2]).all()
    assert 1 < float(fisher_condition(bound)) < 1e3


def test_bins_that_are_known_exactly_are_not_doubted(fitted: Models) -> None:
    model, _, _ = fitted
    exact = model(dataclasses.replace(model.yields, staterror=jnp.zeros_like(model.yields.staterror)))
    assert np.isinf(effective_events(exact)).all()
    assert not any("effective MC events" in text for text in warnings(exact))


def test_warnings_in_words(fitted: Models) -> None:
    _, bound, _ = fitted
    assert warnings(bound) == []
    assert any("'norm' is constrained" in text for text in warnings(bound, constraint=0.999))
    assert any("bin signal[3] is carried by 105.8" in text for text in warnings(bound, events=200))
    spec = copy.deepcopy(FITTED)
    spec["channels"][0]["samples"][0]["modifiers"].append(modifier("twin", "normfactor"))  # type: ignore[index]
    assert float(fisher_condition(HistFactory(spec)(), poi_true=1.0)) > 1e8
    assert any("some combination of parameters is not measured" in text for text in warnings(bound, condition=1.0))
