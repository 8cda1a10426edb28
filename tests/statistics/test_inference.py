"""Fits, CLs, bands, discovery and limits against pyhf's."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy import special, stats

from diffea import objectives
from diffea.statistics import (
    BoundModel,
    HistFactory,
    Solver,
    asymptotics,
    discovery,
    fit,
    hypotest,
    likelihood_ratio,
    upper_limit,
)
from tests.statistics.models import FITTED, randomised, rebuilt, structure, without_signal

STRUCTURES = int(os.environ.get("DIFFEA_STRUCTURES", "2"))
Models = tuple[HistFactory, BoundModel, pyhf.Model]


def test_fit_finds_a_minimum_not_above_pyhfs(fitted: Models, observed: np.ndarray) -> None:
    _, bound, judge = fitted
    mine = fit(bound, observed)
    theirs, value = pyhf.infer.mle.fit(observed, judge, return_fitted_val=True)
    assert -2 * float(bound.logpdf(mine.pars, observed)) <= float(value) + 1e-6
    np.testing.assert_allclose(-2 * bound.logpdf(mine.pars, observed), value, atol=1e-4)
    np.testing.assert_allclose(mine.pars, theirs, atol=5e-3)
    assert int(mine.status) == 0


def test_gradient_of_the_likelihood_vanishes_at_the_fit(fitted: Models, observed: np.ndarray) -> None:
    _, bound, _ = fitted
    mine = fit(bound, observed)
    slope = jax.grad(lambda p: bound.logpdf(p, observed))(mine.pars)
    np.testing.assert_allclose(np.asarray(slope)[np.asarray(mine.free)], 0.0, atol=1e-9)


def test_parameter_of_interest_at_its_bound(fitted: Models) -> None:
    _, bound, judge = fitted
    data = np.array([*[111.0, 95.0, 52.0, 36.0, 20.0, 16.0], *bound.config.auxdata])
    mine = fit(bound, data)
    theirs, value = pyhf.infer.mle.fit(data, judge, return_fitted_val=True)
    index = judge.config.poi_index
    assert float(mine.pars[index]) == 0.0
    assert float(theirs[index]) == pytest.approx(0.0, abs=1e-9)  # SciPy ends within rounding of it
    assert not bool(mine.free[index])
    assert -2 * float(bound.logpdf(mine.pars, data)) <= float(value) + 1e-6


@pytest.mark.usefixtures("precise_pyhf")
def test_expected_cls_is_pyhfs(fitted: Models) -> None:
    _, bound, judge = fitted
    asimov = judge.expected_data(without_signal(judge.config))
    for poi in (0.6, 1.5):
        _, expected = pyhf.infer.hypotest(poi, asimov, judge, return_expected=True)
        np.testing.assert_allclose(objectives.cls(bound, poi), expected, rtol=1e-5)


@pytest.mark.usefixtures("precise_pyhf")
def test_observed_cls_and_band_are_pyhfs(fitted: Models, observed: np.ndarray) -> None:
    _, bound, judge = fitted
    mine = hypotest(bound, 1.0, observed)
    cls, tails, band = pyhf.infer.hypotest(1.0, observed, judge, return_tail_probs=True, return_expected_set=True)
    np.testing.assert_allclose(mine.cls, cls, rtol=1e-5)
    np.testing.assert_allclose([mine.clsb, mine.clb], tails, rtol=1e-5)
    np.testing.assert_allclose(mine.band, band, rtol=2e-5)
    np.testing.assert_allclose(mine.expected, mine.band[2])


@pytest.mark.usefixtures("precise_pyhf")
def test_discovery_is_pyhfs(fitted: Models, observed: np.ndarray) -> None:
    _, bound, judge = fitted
    p_value = pyhf.infer.hypotest(0.0, observed, judge, test_stat="q0")
    np.testing.assert_allclose(discovery(bound, observed).p_value, p_value, rtol=1e-5)
    asimov = judge.expected_data(judge.config.suggested_init())
    np.testing.assert_allclose(
        objectives.discovery(bound), pyhf.infer.hypotest(0.0, asimov, judge, test_stat="q0"), rtol=1e-5
    )


def assert_inference_is_pyhfs(bound: BoundModel, judge: pyhf.Model, poi: float) -> None:
    """Fit, CLs and its band, discovery and limits, on data drawn at a value of the parameter of interest."""
    pars = without_signal(judge.config)
    pars[judge.config.poi_index] = poi
    data = np.random.default_rng(0).poisson(judge.expected_actualdata(pars))
    data = np.array([*data, *judge.config.auxdata], float)

    _, value = pyhf.infer.mle.fit(data, judge, return_fitted_val=True)
    np.testing.assert_allclose(-2 * bound.logpdf(fit(bound, data).pars, data), value, atol=1e-6)

    wide = judge.config.suggested_bounds()
    wide[judge.config.poi_index] = (0.0, 100.0)  # a limit may lie above the bounds, where pyhf asks for wider ones

    def pyhfs(poi: float) -> np.ndarray:
        """CLs observed and expected at -2 … 2 σ."""
        cls, band = pyhf.infer.hypotest(poi, data, judge, par_bounds=wide, return_expected_set=True)
        return np.array([cls, *band])

    mine = hypotest(bound, 1.0, data)
    np.testing.assert_allclose([mine.cls, *mine.band], pyhfs(1.0), rtol=2e-5)
    p_value = pyhf.infer.hypotest(0.0, data, judge, test_stat="q0")
    np.testing.assert_allclose(discovery(bound, data).p_value, p_value, rtol=2e-5)
    limits = upper_limit(bound, data=data, band=True)
    np.testing.assert_allclose(limits.expected, limits.band[2])
    for i, limit in enumerate([float(limits.observed), *map(float, limits.band)]):
        below, above = (pyhfs(limit * factor)[i] for factor in (1 - 1e-4, 1 + 1e-4))
        assert below > 0.05 > above


@pytest.mark.usefixtures("precise_pyhf")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_numbers(fitted: Models, seed: int) -> None:
    spec = randomised(FITTED, seed)
    assert_inference_is_pyhfs(fitted[0](HistFactory(spec).yields), pyhf.Model(spec), poi=seed)


@pytest.mark.slow
@pytest.mark.usefixtures("precise_pyhf")
@pytest.mark.parametrize("seed", range(STRUCTURES))
def test_random_structures(seed: int) -> None:
    spec = structure(seed)
    assert_inference_is_pyhfs(HistFactory(spec)(), pyhf.Model(spec), poi=seed % 3)


@pytest.mark.usefixtures("precise_pyhf")
def test_where_pyhf_finds_the_worse_of_two_minima(fitted: Models) -> None:
    """Both variations of a shape on the same side of it make two minima; pyhf finds the better one if it starts there."""
    model, _, _ = fitted
    random = np.random.default_rng(2)
    yields = jax.tree.map(lambda leaf: leaf * random.uniform(0.8, 1.25, leaf.shape), model.yields)
    bound, judge = model(yields), rebuilt(FITTED, model.places, yields)
    pars = without_signal(judge.config)
    pars[judge.config.poi_index] = 2.0
    data = np.array([*random.poisson(judge.expected_actualdata(pars)), *judge.config.auxdata], float)
    poi = 3.227
    mine = -2 * float(bound.logpdf(hypotest(bound, poi, data).fits["at mu = test value on data"].pars, data))
    init = judge.config.suggested_init()
    init[judge.config.par_slice("scale").start] = 3.0
    theirs, started = (
        float(pyhf.infer.mle.fixed_poi_fit(poi, data, judge, init_pars=start, return_fitted_val=True)[1])
        for start in (None, init)
    )
    assert theirs - mine > 0.1
    np.testing.assert_allclose(mine, started, atol=1e-6)


@pytest.mark.usefixtures("precise_pyhf")
def test_values_above_the_bounds_of_the_parameter_of_interest(fitted: Models) -> None:
    """A weak signal is excluded at 30 times its strength, where pyhf asks for wider bounds."""
    model, _, _ = fitted
    weak = jnp.asarray([p.startswith("channels[0]/samples[0]") for p in model.places["nominal"]])
    yields = dataclasses.replace(model.yields, nominal=model.yields.nominal * jnp.where(weak, 0.03, 1.0))
    bound, judge = model(yields), rebuilt(FITTED, model.places, yields)
    wide = judge.config.suggested_bounds()
    wide[judge.config.poi_index] = (0.0, 100.0)
    asimov = judge.expected_data(without_signal(judge.config))
    limit = float(objectives.upper_limit(bound))
    assert limit > 10
    for poi in (15.0, limit):
        _, expected = pyhf.infer.hypotest(poi, asimov, judge, par_bounds=wide, return_expected=True)
        np.testing.assert_allclose(objectives.cls(bound, poi), expected, rtol=1e-5)
    np.testing.assert_allclose(objectives.cls(bound, limit), 0.05, rtol=1e-6)


def test_observed_limit_of_a_large_excess(fitted: Models) -> None:
    """Far above zero a small signal is not compatible with the data either: the limit is the upper end."""
    _, bound, judge = fitted
    pars = np.array(judge.config.suggested_init())
    pars[judge.config.poi_index] = 6.0
    data = judge.expected_data(pars)
    limit = float(upper_limit(bound, data=data, band=True).observed)
    assert 6.0 < limit < 10.0
    np.testing.assert_allclose(pyhf.infer.hypotest(limit, data, judge), 0.05, rtol=1e-3)


def test_expected_limit_excludes_at_its_level(fitted: Models) -> None:
    _, bound, _ = fitted
    limit = objectives.upper_limit(bound, 0.95)
    np.testing.assert_allclose(objectives.cls(bound, float(limit)), 0.05, rtol=1e-8)


@pytest.mark.usefixtures("precise_pyhf")
@pytest.mark.parametrize("test_stat", ["q", "t", "qtilde", "ttilde", "q0"])
def test_statistics_are_pyhfs(fitted: Models, observed: np.ndarray, test_stat: str) -> None:
    _, bound, judge = fitted
    name = {"q": "qmu", "t": "tmu", "qtilde": "qmu_tilde", "ttilde": "tmu_tilde", "q0": "q0"}[test_stat]
    bounds = judge.config.suggested_bounds()
    poi = 0.0 if test_stat == "q0" else 1.3
    data = observed
    if test_stat in ("q", "t"):
        data = np.concatenate([[111.0, 95.0, 52.0, 36.0, 22.0, 18.0], bound.config.auxdata])
        bounds[judge.config.poi_index] = (-10.0, 10.0)
    if test_stat == "q0":
        bounds[judge.config.poi_index] = (-10.0, 10.0)
    function = getattr(pyhf.infer.test_statistics, name)
    expected = function(poi, data, judge, judge.config.suggested_init(), bounds, judge.config.suggested_fixed())
    mine = likelihood_ratio(bound, poi, data, test_stat=test_stat)
    np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)


def test_vmaps_over_hypotheses(fitted: Models) -> None:
    _, bound, _ = fitted
    values = jax.jit(jax.vmap(lambda poi: objectives.cls(bound, poi)))(np.array([0.6, 1.5]))
    np.testing.assert_allclose(values, [objectives.cls(bound, 0.6), objectives.cls(bound, 1.5)], rtol=1e-9)


@pytest.mark.parametrize("method", ["lbfgsb", "projected-gradient"])
def test_fit_with_jaxopt(method: str) -> None:
    judge = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    bound = HistFactory(judge.spec)()
    data = [51.0, 65.0, *judge.config.auxdata]
    solver = Solver(method=method, tolerance=1e-6, max_iterations=2000)
    np.testing.assert_allclose(fit(bound, data, solver=solver).pars, fit(bound, data).pars, rtol=1e-5)


@pytest.mark.usefixtures("precise_pyhf")
def test_eleven_sigma(fitted: Models) -> None:
    """All digits where CLs is 1e-30: from pyhf's likelihood ratio, and its slope in the hypothesis by differences."""
    _, bound, judge = fitted
    asimov, poi = judge.expected_data(without_signal(judge.config)), 9.5
    _, lowest = pyhf.infer.mle.fit(asimov, judge, return_fitted_val=True)
    _, value = pyhf.infer.mle.fixed_poi_fit(poi, asimov, judge, return_fitted_val=True)
    root = float(np.sqrt(value - lowest))
    assert root > 10

    @jax.jit
    def log_cls(poi: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda mu: hypotest(bound, mu).log_expected)(poi)

    found, slope = log_cls(poi)
    np.testing.assert_allclose(found, np.log(2) + stats.norm.logsf(root), rtol=1e-7)
    np.testing.assert_allclose(slope, (log_cls(poi + 1e-3)[0] - log_cls(poi - 1e-3)[0]) / 2e-3, rtol=1e-6)


def test_p_values_far_out() -> None:
    root = jax.numpy.array([1.0, 10.0, 30.0])
    *_, log_cls = asymptotics.log_p_values(jax.numpy.zeros(3), root)
    slope = jax.vmap(jax.grad(lambda r: asymptotics.log_p_values(0.0 * r, r)[2]))(root)
    assert np.all(np.isfinite(log_cls))
    np.testing.assert_allclose(slope[1:], -root[1:] - 1 / root[1:], rtol=1e-3)
    np.testing.assert_allclose(log_cls[0], np.log(2 * 0.15865525393145707), rtol=1e-12)


@pytest.mark.slow
def test_published_likelihood(likelihood: tuple[dict[str, Any], list[Any]]) -> None:
    workspace, patch = likelihood
    bound = HistFactory.from_workspace(workspace, patches=[patch])()
    judge = pyhf.Workspace(workspace).model(patches=[patch])
    data = np.asarray(bound.observed_data())
    mine = hypotest(bound, 1.0, data)
    cls, band = pyhf.infer.hypotest(1.0, data, judge, return_expected_set=True)
    np.testing.assert_allclose(mine.cls, cls, rtol=3e-5)
    np.testing.assert_allclose(mine.band, band, rtol=3e-5)
    for poi, found in ((1.0, mine.fits["at mu_SIG = test value on data"]), (0.0, mine.fits["at mu_SIG = 0 on data"])):
        _, value = pyhf.infer.mle.fixed_poi_fit(poi, data, judge, return_fitted_val=True)
        assert -2 * float(bound.logpdf(found.pars, data)) <= float(value) + 1e-6


def test_logarithm_of_the_tail_and_its_derivatives() -> None:
    """Where the series takes over, and as far as numbers go; the second derivative is -h (h - x) of the hazard h."""
    for x in (1.0, 19.9, 20.1, 40.0, 1e4, 1e8):
        hazard = np.sqrt(2 / np.pi) / special.erfcx(x / np.sqrt(2))
        value, slope = jax.value_and_grad(asymptotics.log_tail)(-x)
        np.testing.assert_allclose(value, special.log_ndtr(-x), rtol=1e-11)
        np.testing.assert_allclose(slope, hazard, rtol=1e-8)
        if x < 100:
            bend = jax.grad(jax.grad(asymptotics.log_tail))(-x)
            np.testing.assert_allclose(bend, -hazard * (hazard - x), rtol=1e-2)
