"""Counting experiments with few events or none, against closed forms: one bin, with and without a control region."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from diffea import objectives
from diffea.statistics import BoundModel, HistFactory, discovery, fit, hypotest, upper_limit
from tests.statistics.models import modifier

SIGNAL, BACKGROUND, CONTROL = 3.0, 1.5, 50.0
COUNTS = [0.0, 1.0, 2.0, 5.0]
SETTINGS = pytest.mark.parametrize("seen", [None, 55.0, 0.0], ids=["alone", "with control", "with empty control"])


@functools.cache
def counting(with_control: bool) -> BoundModel:
    """Signal and background in one bin; a control region measures the background's normalisation."""
    norm = [modifier("norm", "normfactor")] if with_control else []
    samples = [
        {"name": "s", "data": [SIGNAL], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [BACKGROUND], "modifiers": norm},
    ]
    channels = [{"name": "SR", "samples": samples}]
    if with_control:
        channels.append({"name": "CR", "samples": [{"name": "b", "data": [CONTROL], "modifiers": norm}]})
    return HistFactory({"channels": channels})()


def experiment(n: float, seen: float | None) -> tuple[BoundModel, np.ndarray]:
    """The model and its data; channels are sorted by name, so the control region comes first."""
    return counting(seen is not None), np.array([n] if seen is None else [seen, n])


def deviance(n: float, nu: float) -> float:
    """Of a Poisson count from the one that fits it."""
    if nu <= 0:
        return 0.0 if n == nu == 0 else np.inf
    return nu - n - (n * np.log(nu / n) if n else 0.0)


def normalisation(mu: float, n: float, seen: float | None) -> float:
    """The background's, where it fits best at μ: the positive root of a quadratic equation."""
    if seen is None:
        return 1.0
    a = BACKGROUND * (BACKGROUND + CONTROL)
    half = 0.5 * ((BACKGROUND + CONTROL) * mu * SIGNAL - (n + seen) * BACKGROUND)
    return (-half + np.sqrt(half**2 + a * seen * mu * SIGNAL)) / a


def profile(mu: float, n: float, seen: float | None) -> float:
    k = normalisation(mu, n, seen)
    return deviance(n, mu * SIGNAL + k * BACKGROUND) + (0.0 if seen is None else deviance(seen, k * CONTROL))


def best(n: float, seen: float | None, low: float) -> float:
    """The signal strength that fits best, not below `low`."""
    return max(low, (n - (1.0 if seen is None else seen / CONTROL) * BACKGROUND) / SIGNAL)


def ratio(mu: float, n: float, seen: float | None, low: float = 0.0) -> float:
    found = best(n, seen, low)
    return 0.0 if found > mu else 2 * (profile(mu, n, seen) - profile(found, n, seen))


def log_cls(mu: float, n: float, seen: float | None) -> float:
    """Of the test statistic q̃ (arXiv:1007.1727, eqs. 16, 65, 66), Asimov data from the fit without signal."""
    k = n / BACKGROUND if seen is None else normalisation(0.0, n, seen)
    k = 1.0 if seen is None else k
    asimov = (k * BACKGROUND, None if seen is None else k * CONTROL)
    q, q_asimov = ratio(mu, n, seen), 2 * profile(mu, *asimov)
    root = np.sqrt(q_asimov)
    value = (q - q_asimov) / (2 * root) if q > q_asimov else np.sqrt(q) - root
    return float(stats.norm.logsf(value + root) - stats.norm.logsf(value))


@SETTINGS
@pytest.mark.parametrize("n", COUNTS)
def test_cls_and_discovery(n: float, seen: float | None) -> None:
    bound, data = experiment(n, seen)
    for mu in (0.4, 1.0, 3.0):
        found = hypotest(bound, mu, data)
        np.testing.assert_allclose(found.q, ratio(mu, n, seen), rtol=1e-9, atol=1e-12)
        if n or seen != 0.0:
            np.testing.assert_allclose(found.log_cls, log_cls(mu, n, seen), rtol=1e-7, atol=1e-12)
    q0 = 2 * (profile(0.0, n, seen) - profile(best(n, seen, 0.0), n, seen))
    np.testing.assert_allclose(discovery(bound, data).q, q0, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "seen"), [(n, seen) for n in COUNTS for seen in (None, 55.0)])
def test_limits(n: float, seen: float | None) -> None:
    bound, data = experiment(n, seen)
    found = upper_limit(bound, data=data)
    expected = optimize.brentq(lambda mu: log_cls(mu, n, seen) - np.log(0.05), best(n, seen, 0.0) + 1e-3, 20.0)
    np.testing.assert_allclose(found.observed, expected, rtol=1e-8)


def test_events_where_next_to_none_are_expected() -> None:
    """A floor of the background, however low, has the significance and the slope of the closed form."""
    bound = counting(False)

    @jax.jit
    @jax.value_and_grad
    def significance(background: Any) -> Any:
        moved = bound.with_yields(dataclasses.replace(bound.yields, nominal=jnp.stack([SIGNAL, background])))
        return discovery(moved, [2.0]).significance

    for background in (1e-6, 1e-10, 1e-16, 1e-40):
        z, slope = significance(background)
        expected = np.sqrt(2.0 * deviance(2.0, background))
        np.testing.assert_allclose(z, expected, rtol=1e-11)
        np.testing.assert_allclose(slope, (1.0 - 2.0 / background) / expected, rtol=1e-9)


def test_fits_move_what_only_touches_empty_bins() -> None:
    bound, data = experiment(0.0, 55.0)
    mine = fit(bound, data)
    names = bound.config.par_names
    assert float(mine.pars[names.index("mu")]) == 0.0
    np.testing.assert_allclose(mine.pars[names.index("norm")], 55.0 / (CONTROL + BACKGROUND), rtol=1e-9)
    bound, data = experiment(0.0, 0.0)
    np.testing.assert_array_equal(fit(bound, data).pars, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("seen", [None, 55.0], ids=["alone", "with control"])
@pytest.mark.parametrize(("n", "mu"), [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (5.0, 2.5)])
def test_toys(n: float, mu: float, seen: float | None) -> None:
    """The fraction of toys is a sum of Poisson probabilities over the counts that are at least as extreme.

    Toys are thrown where the background's normalisation fits the data best, with the signal and without.
    """
    bound, data = experiment(n, seen)
    found = hypotest(bound, mu, data, calculator="toys", toys=4000)
    assert int(found.failed) == 0
    counts, controls = np.arange(40), [None] if seen is None else np.arange(20, 110)
    least = ratio(mu, n, seen) - 1e-9
    extreme = np.array([[ratio(mu, i, j) >= least for j in controls] for i in counts])
    for mine, signal in ((found.clsb, mu), (found.clb, 0.0)):
        k = normalisation(signal, n, seen)
        chances = stats.poisson.pmf(counts, signal * SIGNAL + k * BACKGROUND)[:, None]
        if seen is not None:
            chances = chances * stats.poisson.pmf(controls, k * CONTROL)
        exact = float(chances[extreme].sum())
        assert abs(float(mine) - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000) + 1e-6


@pytest.mark.parametrize("seen", [None, 55.0])
def test_the_best_fit_to_nothing_is_where_nothing_is_expected(seen: float | None) -> None:
    """Without a lower bound the signal cancels the background, and no more."""
    bound, data = experiment(0.0, seen)
    found = hypotest(bound, 1.0, data, test_stat="q")
    np.testing.assert_allclose(found.q, 2 * profile(1.0, 0.0, seen), rtol=1e-7)
    free = found.fits["of all parameters on data"].pars[bound.config.poi_index]
    np.testing.assert_allclose(free, -BACKGROUND / SIGNAL * (1.0 if seen is None else seen / CONTROL), rtol=1e-6)


@functools.cache
def derivatives(with_control: bool) -> tuple[Any, Any]:
    """What is differentiated, as a function of the yields and the data, and its Jacobian in the yields; compiled once."""
    bound = counting(with_control)

    def numbers(nominal: Any, data: Any) -> Any:
        moved = bound.with_yields(dataclasses.replace(bound.yields, nominal=nominal))
        found, limit = hypotest(moved, 1.0, data), objectives.upper_limit(moved, data=data)
        return jnp.stack([found.log_cls, found.q, found.q_asimov, limit])

    return jax.jit(numbers), jax.jit(jax.jacrev(numbers))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "seen"), [(0.0, None), (2.0, None), (0.0, 55.0), (2.0, 0.0), (1.0, 55.0)])
def test_gradients_at_bounds_and_without_events(n: float, seen: float | None) -> None:
    """Against finite differences of refits."""
    bound, data = experiment(n, seen)
    nominal = np.asarray(bound.yields.nominal)
    numbers, jacobian = derivatives(seen is not None)
    for i, step in enumerate(np.diag(1e-4 * nominal)):
        around = [numbers(nominal + by * step, data) for by in (1, -1, 2, -2)]
        expected = (8 * (around[0] - around[1]) - (around[2] - around[3])) / (12 * step[i])
        np.testing.assert_allclose(jacobian(nominal, data)[:, i], expected, rtol=1e-6, atol=1e-8)
