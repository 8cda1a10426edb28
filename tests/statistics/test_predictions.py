"""Expected events and their covariance against pyhf's rates, propagated by finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from diffea.statistics import BoundModel, HistFactory, postfit, prefit
from tests.statistics.models import modifier

Models = tuple[HistFactory, BoundModel, pyhf.Model]


def jacobian(judge: pyhf.Model, pars: np.ndarray) -> np.ndarray:
    steps = 1e-5 * np.eye(len(pars))
    return np.array([(judge.expected_actualdata(pars + s) - judge.expected_actualdata(pars - s)) / 2e-5 for s in steps])


def hessian(judge: pyhf.Model, pars: np.ndarray, data: np.ndarray) -> np.ndarray:
    eye = 1e-4 * np.eye(len(pars))

    def value(shift: np.ndarray) -> float:
        return -float(judge.logpdf(pars + shift, data)[0])

    return np.array([[value(a + b) - value(a - b) - value(b - a) + value(-a - b) for b in eye] for a in eye]) / 4e-8


def test_before_the_fit(fitted: Models, observed: np.ndarray) -> None:
    """Constraints only: the free normalisation and the strength have no width; ±1σ of code 4 is not quite linear."""
    _, bound, judge = fitted
    pyhf.set_backend("numpy")
    found = prefit(bound, observed)
    init = np.array(judge.config.suggested_init())
    np.testing.assert_allclose(found.total, judge.expected_actualdata(init))
    assert found.samples == tuple(judge.config.samples)
    by_sample = pyhf.pdf._MainModel.expected_data(judge.main_model, init, return_by_sample=True)
    np.testing.assert_allclose(found.by_sample, by_sample)
    counts = np.array(judge.config.param_set("method").auxdata)
    widths = {"scale": 1.0, "norm": 1.0, "lumi": 0.02}
    widths |= {f"method[{i}]": 1 / np.sqrt(n) for i, n in enumerate(counts)}
    widths |= {f"stat_signal[{i}]": s for i, s in enumerate(judge.config.param_set("stat_signal").sigmas)}
    sigma = np.array([widths.get(name, 0.0) for name in judge.config.par_names])
    j = jacobian(judge, init)
    np.testing.assert_allclose(found.covariance, j.T @ np.diag(sigma**2) @ j, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, np.sqrt(np.diag(np.asarray(found.covariance))))
    np.testing.assert_allclose(found.data, observed[:6])
    assert prefit(bound).data is None


def test_after_the_fit(fitted: Models, observed: np.ndarray) -> None:
    _, bound, judge = fitted
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-12, maxiter=10_000))
    found = postfit(bound, observed)
    best = np.asarray(pyhf.infer.mle.fit(observed, judge))
    np.testing.assert_allclose(found.total, judge.expected_actualdata(best), rtol=1e-4)
    j, cov = jacobian(judge, best), np.linalg.inv(hessian(judge, best, observed))
    np.testing.assert_allclose(found.covariance, j.T @ cov @ j, rtol=2e-3, atol=1e-2)
    assert (np.asarray(found.uncertainty) < np.sqrt(np.asarray(found.data))).all()


def test_what_nothing_measures_leaves_the_others_alone() -> None:
    samples = [
        {"name": "s", "data": [5.0, 4.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "none", "data": [0.0, 0.0], "modifiers": [modifier("k", "normfactor")]},
    ]
    bound = HistFactory({"channels": [{"name": "c", "samples": samples}]})()
    found = postfit(bound, bound.data([8.0, 10.0]))  # one strength for 18 events on 9: σ/μ = 1/√18
    np.testing.assert_allclose(found.total, [10.0, 8.0], rtol=1e-6)
    np.testing.assert_allclose(found.uncertainty, np.array([10.0, 8.0]) / np.sqrt(18), rtol=1e-6)


@pytest.mark.slow
def test_gradients_are_those_of_refits(fitted: Models, observed: np.ndarray) -> None:
    model = fitted[0]
    flat, unravel = ravel_pytree(model.yields)
    direction = jnp.asarray(np.random.default_rng(4).normal(size=flat.shape) * 0.1 * np.abs(flat))

    def numbers(t: Array) -> Array:
        bound = model(unravel(flat + t * direction))
        after = postfit(bound, observed)
        return jnp.concatenate([after.total, after.uncertainty, prefit(bound).uncertainty])

    along = jax.jit(lambda t: jax.jvp(numbers, (t,), (1.0,)))
    above, below, far_above, far_below = (along(1e-3 * by)[0] for by in (1, -1, 2, -2))
    expected = (8 * (above - below) - (far_above - far_below)) / 12e-3
    np.testing.assert_allclose(along(0.0)[1], expected, rtol=1e-6, atol=1e-8)
