"""Scans and intervals against pyhf's fits, iminuit's MINOS on pyhf's likelihood, and finite differences of refits."""

from __future__ import annotations

from typing import Any

import iminuit
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from diffea.errors import FitError, MethodError, ParameterError, SpecError
from diffea.statistics import BoundModel, HistFactory, Solver, fit, interval, scan
from tests.statistics.models import modifier

Models = tuple[HistFactory, BoundModel, pyhf.Model]


def minuit(judge: pyhf.Model, data: np.ndarray) -> iminuit.Minuit:
    """pyhf's likelihood of a parameter of interest without upper bound, minimised."""
    pyhf.set_backend("numpy")

    def twice_nll(pars: np.ndarray) -> float:
        return -2.0 * float(judge.logpdf(pars, data)[0])

    found = iminuit.Minuit(twice_nll, judge.config.suggested_init(), name=judge.config.par_names)
    found.limits = judge.config.suggested_bounds()
    found.limits["mu"] = (0, None)
    found.errordef, found.tol, found.strategy = 1.0, 1e-6, 2
    return found.migrad()


@pytest.fixture(scope="module")
def judged(fitted: Models, observed: np.ndarray) -> iminuit.Minuit:
    return minuit(fitted[2], observed)


@pytest.mark.parametrize(("parameter", "cl"), [("mu", 0.6827), ("scale", 0.95), ("stat_signal[1]", 0.5)])
def test_ends_are_those_of_minos(
    fitted: Models, observed: np.ndarray, judged: iminuit.Minuit, parameter: str, cl: float
) -> None:
    _, bound, _ = fitted
    found = interval(bound, observed, parameter, cl)
    judged.minos(parameter, cl=cl)
    merror = judged.merrors[parameter]
    np.testing.assert_allclose(found.best, judged.values[parameter], atol=2e-4)
    expected = judged.values[parameter] + np.array([merror.lower, merror.upper])
    np.testing.assert_allclose(found.ends, expected, atol=2e-3 * float(found.errors[1]))
    np.testing.assert_allclose(found.errors, found.ends - found.best)
    assert not found.at_bound.any()
    assert found.notes == []


def test_likelihood_at_the_ends(fitted: Models, observed: np.ndarray) -> None:
    """To all digits: refits there are as much worse as the level says."""
    _, bound, _ = fitted
    found = interval(bound, observed, "mu", 0.6)
    best = fit(bound, observed).deviance
    for end in found.ends:
        rise = 2.0 * (fit(bound, observed, poi=end).deviance - best)
        np.testing.assert_allclose(rise, 0.708326300800718, rtol=1e-8)  # the 60 % quantile of chi-squared, one degree


def test_an_end_at_a_bound_says_so(fitted: Models) -> None:
    _, bound, judge = fitted
    data = np.array([*[111.0, 95.0, 57.0, 47.0, 37.0, 24.0], *bound.config.auxdata])
    found = interval(bound, data, "mu")
    assert 0 < float(found.best) < float(found.errors[1])
    assert found.at_bound.tolist() == [True, False]
    assert float(found.ends[0]) == 0.0
    assert [("lower end" in note, "'mu'" in note) for note in found.notes] == [(True, True)]
    assert "mu = " in str(found)
    assert "lower end" in str(found)
    against = minuit(judge, data)
    against.minos("mu")
    np.testing.assert_allclose(found.errors[1], against.merrors["mu"].upper, rtol=1e-3)
    deficit = np.array([*[111.0, 95.0, 52.0, 36.0, 20.0, 16.0], *bound.config.auxdata])
    lowest = interval(bound, deficit, "mu")
    assert float(lowest.best) == float(lowest.ends[0]) == 0.0
    assert float(lowest.ends[1]) > 0.0


@pytest.mark.slow
def test_gradients_at_a_bound_are_those_of_refits(fitted: Models) -> None:
    """In reverse mode: the end at the bound stays there, the other one moves with the data."""
    bound = fitted[1]
    data = np.array([*[111.0, 95.0, 57.0, 47.0, 37.0, 24.0], *bound.config.auxdata])
    slopes = jax.jit(jax.jacrev(lambda d: interval(bound, d, "mu").ends))(jnp.asarray(data))
    assert not slopes[0].any()
    for place in (2, 4, 9):
        above, below = (interval(bound, data + by * np.eye(len(data))[place], "mu").ends[1] for by in (1e-3, -1e-3))
        np.testing.assert_allclose(slopes[1][place], (above - below) / 2e-3, rtol=1e-5)


def test_a_poisson_count_by_hand() -> None:
    """No background, no nuisance: $2[\\mu - n - n\\ln(\\mu/n)] = 1$; the upper end may be beyond the bound of 10, the fit too."""
    sample = {"name": "s", "data": [1.0], "modifiers": [modifier("mu", "normfactor")]}
    bound = HistFactory({"channels": [{"name": "c", "samples": [sample]}]})()
    for n in (0.0, 2.0, 30.0):
        ends = np.asarray(interval(bound, bound.data([n]), "mu").ends)
        for end in ends[0 if n else 1 :]:
            rise = 2.0 * (end - n - (n * np.log(end / n) if n else 0.0))
            np.testing.assert_allclose(rise, 1.0, rtol=1e-4)  # 0.6827 is not quite one standard deviation
        assert ends[0] <= n <= ends[1]
        assert n or ends[0] == 0.0


def test_scan_is_pyhfs_fit_at_each_point(fitted: Models, observed: np.ndarray, judged: iminuit.Minuit) -> None:
    _, bound, judge = fitted
    for name, values in (("mu", [0.0, 0.5, 2.0]), ("stat_signal[1]", [0.9, 1.05]), ("free", [0.8, 1.3])):
        found = scan(bound, observed, {name: values})
        assert found.parameters == (name,)
        place = judge.config.par_names.index(name)
        np.testing.assert_allclose(found.points.pars[:, place], values)
        np.testing.assert_allclose(found.best, [judged.values[name]], atol=2e-4)
        for value, rise, pars in zip(values, found.deviance, found.points.pars, strict=True):
            init, fixed = judge.config.suggested_init(), judge.config.suggested_fixed()
            init[place], fixed[place] = value, True
            pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-12, maxiter=10_000))
            theirs, height = pyhf.infer.mle.fit(observed, judge, init, fixed_params=fixed, return_fitted_val=True)
            np.testing.assert_allclose(rise, height - judged.fval, atol=1e-5)
            np.testing.assert_allclose(pars, theirs, atol=1e-3)
        assert not found.points.status.any()


def test_scan_of_two_parameters(fitted: Models, observed: np.ndarray) -> None:
    """Every row and column of the grid, and the fits of one parameter as its lowest points."""
    _, bound, judge = fitted
    mus, scales = np.linspace(0.2, 2.0, 11), np.linspace(-1.0, 1.0, 7)
    grid = scan(bound, observed, {"mu": mus, "scale": scales})
    assert grid.deviance.shape == (11, 7)
    assert grid.points.pars.shape == (11, 7, bound.config.npars)
    mu, scale = (judge.config.par_names.index(name) for name in ("mu", "scale"))
    np.testing.assert_allclose(grid.points.pars[..., mu], np.broadcast_to(mus[:, None], (11, 7)))
    np.testing.assert_allclose(grid.points.pars[..., scale], np.broadcast_to(scales, (11, 7)))
    at = grid.points.pars[3, 2]
    pyhf.set_backend("numpy")
    height = -2.0 * float(judge.logpdf(np.asarray(at), observed)[0])
    best = -2.0 * float(judge.logpdf(np.asarray(grid.fit.pars), observed)[0])
    np.testing.assert_allclose(grid.deviance[3, 2], height - best, atol=1e-9)
    along = scan(bound, observed, {"mu": mus})
    assert (np.asarray(grid.deviance.min(axis=1)) >= np.asarray(along.deviance) - 1e-9).all()
    np.testing.assert_allclose(grid.deviance.min(axis=1), along.deviance, atol=0.3)


@pytest.mark.slow
def test_gradients_are_those_of_refits(fitted: Models, observed: np.ndarray) -> None:
    """In yields and data: the rise, a best-fit parameter at each point, and both ends of an interval."""
    model = fitted[0]
    (flat, unravel), points = ravel_pytree(model.yields), {"scale": np.array([-0.7, 0.4])}
    random = np.random.default_rng(1)
    direction = jnp.asarray(random.normal(size=flat.shape) * 0.1 * np.abs(flat))
    towards = jnp.asarray(random.normal(size=observed.shape)) * jnp.where(jnp.arange(len(observed)) < 6, 1.0, 0.0)

    def numbers(t: Array) -> Array:
        moved, data = model(unravel(flat + t * direction)), observed + t * towards
        scanned = scan(moved, data, points)
        ends = interval(moved, data, "stat_signal[2]").ends
        return jnp.concatenate([scanned.deviance, scanned.points.pars[:, 0], scanned.best, ends])

    along = jax.jit(lambda t: jax.jvp(numbers, (t,), (1.0,)))
    above, below, far_above, far_below = (along(1e-3 * by)[0] for by in (1, -1, 2, -2))
    expected = (8 * (above - below) - (far_above - far_below)) / 12e-3
    np.testing.assert_allclose(along(0.0)[1], expected, rtol=1e-6, atol=1e-8)


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("scan", {"nothing": [1.0]}, SpecError, "no parameter 'nothing', the model has .*'stat_signal\\[0..3\\]'"),
    ("scan", {"stat_signal": [1.0]}, SpecError, r"'stat_signal' is a set of 4 parameters: name one of them, stat_signal\[0\]"),
    ("scan", {"mu": []}, ParameterError, "list of finite values of 'mu'"),
    ("scan", {"mu": [1.0, np.nan]}, ParameterError, "list of finite values of 'mu'"),
    ("scan", {}, ParameterError, "at least one parameter"),
    ("interval", ("stat_signal[4]",), SpecError, r"no parameter 'stat_signal\[4\]'"),
    ("interval", ("mu", 1.0), MethodError, "confidence level between 0 and 1, got 1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "error", "message"), BAD)
def test_what_makes_no_sense(
    fitted: Models, observed: np.ndarray, kind: str, given: Any, error: type[Exception], message: str
) -> None:
    _, bound, _ = fitted
    with pytest.raises(error, match=message):
        scan(bound, observed, given) if kind == "scan" else interval(bound, observed, *given)


def test_what_has_no_interval() -> None:
    """A fixed parameter, and one that nothing measures."""
    samples = [
        {"name": "s", "data": [0.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [9.0], "modifiers": [modifier("k", "normfactor"), modifier("st", "staterror", [0.0])]},
    ]
    spec = {"channels": [{"name": "c", "samples": samples}], "parameters": [{"name": "k", "fixed": True}]}
    bound = HistFactory(spec)()
    data = bound.data([9.0])
    for parameter in ("k", "st"):
        with pytest.raises(SpecError, match=f"the parameter '{parameter}(.0.)?' is fixed"):
            interval(bound, data, "st[0]" if parameter == "st" else parameter)
    with pytest.raises(FitError, match=r"at the ends of 'mu'.*does not fall enough"):
        interval(bound, data, "mu")
    told = interval(bound, data, "mu", solver=Solver(throw=False))
    assert told.end_fits.status[1] != 0
