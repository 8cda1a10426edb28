"""Codes 0 and 1, whose derivative jumps at 0: against minimisations in every orthant, where the likelihood is smooth."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize

from diffea.statistics import HistFactory, fit
from diffea.statistics.likelihood import deviance
from tests.statistics.models import modifier

CODES = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
SPEC: dict[str, Any] = {"channels": [{"name": "c", "samples": [
    {"name": "s", "data": [5.0, 10.0, 3.0], "modifiers": [modifier("mu", "normfactor")]},
    {"name": "b", "data": [100.0, 80.0, 60.0], "modifiers": [
        modifier("a", "histosys", {"hi_data": [115.0, 84.0, 66.0], "lo_data": [110.0, 86.0, 63.0]}),
        modifier("k", "normsys", {"hi": 1.05, "lo": 0.96}), modifier("n", "normsys", {"hi": 1.1, "lo": 1.05}),
    ]},
]}]}  # fmt: skip
SEEN = [[90.0, 75.0, 50.0], [90.0, 95.0, 55.0], [103.0, 84.0, 60.0], [140.0, 90.0, 70.0], [0.0, 95.0, 75.0]]


@functools.cache
def compiled() -> tuple[HistFactory, Any, Any, Any]:
    """The free fit, that at a tested value, and the deviance with its gradient."""
    model = HistFactory(SPEC, modifier_settings=CODES)
    bound = model()

    def value(pars: Any, data: Any) -> Any:
        return deviance(bound.layout, bound.settings, bound.prepared(), pars, data)

    return (
        model,
        jax.jit(lambda d: fit(bound, d)),
        jax.jit(lambda d, poi: fit(bound, d, poi=poi)),
        jax.jit(jax.value_and_grad(value)),
    )


def lowest(data: np.ndarray, low: np.ndarray, high: np.ndarray, kinked: np.ndarray) -> float:
    """The least minimum over the orthants of the parameters with a kink; beside 0 the derivative is that of the orthant."""
    value, found = compiled()[3], np.inf
    for signs in itertools.product((-1, 1), repeat=int(kinked.sum())):
        lower, upper = low.copy(), high.copy()
        lower[kinked] = np.where(np.array(signs) > 0, 1e-13, low[kinked])
        upper[kinked] = np.where(np.array(signs) > 0, high[kinked], -1e-13)

        def inside(pars: np.ndarray) -> tuple[float, np.ndarray]:
            result, slope = value(jnp.asarray(pars), data)
            return float(result), np.asarray(slope)

        begin = np.clip(np.where(kinked, 0.3 * (lower + upper) / 5, 0.5), lower, upper)
        end = optimize.minimize(
            inside,
            begin,
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(lower, upper, strict=True)),
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        found = min(found, float(end.fun))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seen", SEEN, ids=str)
def test_the_fit_is_the_least_of_all_orthants(seen: list[float]) -> None:
    model, free, at, _ = compiled()
    config, data = model.config, np.asarray(model().data(seen))
    low, high = np.array(config.suggested_bounds()).T
    kinked = np.array([name in ("a", "k", "n") for name in config.par_names])
    for found, poi in ((free(data), None), (at(data, 0.0), 0.0), (at(data, 1.0), 1.0)):
        lower, upper = low.copy(), high.copy()
        if poi is not None:
            lower[config.poi_index] = upper[config.poi_index] = poi
        assert int(found.status) == 0
        np.testing.assert_allclose(found.deviance, lowest(data, lower, upper, kinked), rtol=1e-7, atol=1e-9)


@pytest.mark.slow
def test_a_minimum_at_a_kink_stays_there_with_the_gradient_of_refits() -> None:
    model = compiled()[0]
    data = np.asarray(model().data(SEEN[0]))
    flat, unravel = ravel_pytree(model.yields)

    def numbers(x: Any) -> Any:
        found = fit(model(unravel(x)), data, poi=1.0)
        return jnp.append(found.pars, found.deviance)

    at, gradient = jax.jit(numbers), jax.jit(jax.jacrev(numbers))(flat)
    names = model.config.par_names
    assert np.asarray(at(flat))[[names.index("a"), names.index("n")]].tolist() == [0.0, 0.0]
    for i, step in enumerate(np.diag(1e-4 * np.abs(flat))):
        up, down, far_up, far_down = (at(flat + by * step) for by in (1, -1, 2, -2))
        expected = (8 * (up - down) - (far_up - far_down)) / (12 * step[i])
        np.testing.assert_allclose(gradient[:, i], expected, rtol=1e-6, atol=1e-8)
