"""Drawn models with empty bins, parameters at bounds and shifts to one side: no slow minimiser finds a lower minimum.

Data are within three sigma in every bin of what some parameters expect; with none in the control region the background ends at its bound.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from diffea.statistics import HistFactory, Solver, Yields, fit
from diffea.statistics.likelihood import deviance
from tests.statistics.models import modifier

EXAMPLES, STARTS = int(os.environ.get("DIFFEA_DRAWS", "12")), 8
BINS = 3
FLAT = [10.0] * BINS
SPEC: dict[str, Any] = {"channels": [
    {"name": "CR", "samples": [{"name": "b", "data": [30.0], "modifiers": [modifier("k", "normfactor")]}]},
    {"name": "SR", "samples": [
        {"name": "s", "data": FLAT, "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": FLAT, "modifiers": [
            modifier("k", "normfactor"), modifier("shape", "histosys", {"hi_data": FLAT, "lo_data": FLAT}),
            modifier("norm", "normsys", {"hi": 1.1, "lo": 0.9}), modifier("stat", "staterror", FLAT),
        ]},
    ]},
]}  # fmt: skip


@functools.cache
def compiled() -> tuple[HistFactory, Any, Any]:
    """The free fit and that at a tested value; the deviance with its gradient."""
    model = HistFactory(SPEC)
    bound, silent = model(), Solver(throw=False)

    def both(yields: Yields, data: Any, poi: Any) -> Any:
        moved = bound.with_yields(yields)
        return fit(moved, data, solver=silent), fit(moved, data, poi=poi, solver=silent)

    def value(yields: Yields, data: Any, pars: Any) -> Any:
        moved = bound.with_yields(yields)
        return deviance(moved.layout, moved.settings, moved.prepared(), pars, data)

    return model, jax.jit(both), jax.jit(jax.value_and_grad(value, argnums=2))


def lowest(value: Any, low: np.ndarray, high: np.ndarray, init: np.ndarray) -> float:
    """By L-BFGS-B from many points; parameters with equal bounds are held."""
    random, found = np.random.default_rng(0), np.inf

    def inside(pars: np.ndarray) -> tuple[float, np.ndarray]:
        result, slope = value(jnp.asarray(pars))
        return (float(result), np.asarray(slope)) if np.isfinite(result) else (1e10, np.zeros(len(pars)))

    for number in range(STARTS):
        begin = np.clip(init + (number > 0) * random.normal(size=len(init)) * np.where(init == 0, 2.0, 0.7), low, high)
        bounds = list(zip(low, high, strict=True))
        end = optimize.minimize(
            inside, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9}
        )
        found = min(found, float(end.fun))
    return found


ratios = st.floats(0.7, 1.4)
vectors = functools.partial(st.lists, min_size=BINS, max_size=BINS)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(
    background=vectors(st.floats(0.2, 60.0)),
    signal=vectors(st.just(0.0) | st.floats(0.05, 12.0)),
    up=vectors(ratios),
    down=vectors(ratios),
    norm=st.tuples(ratios, ratios),
    stat=vectors(st.floats(0.01, 0.4)),
    pulls=vectors(st.floats(-3.0, 3.0)),
    truth=st.sampled_from([0.0, 1.0, 2.0]),
    control=st.sampled_from([0.0, 20.0, 30.0]),
    poi=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_no_minimum_is_lower(
    background: list[float], signal: list[float], up: list[float], down: list[float], norm: tuple[float, float],
    stat: list[float], pulls: list[float], truth: float, control: float, poi: float,
) -> None:  # fmt: skip
    model, both, value = compiled()
    n = np.array(background)
    yields = dataclasses.replace(
        model.yields,
        nominal=jnp.asarray([30.0, *signal, *background]),
        histosys_hi=jnp.asarray(n * up), histosys_lo=jnp.asarray(n * down),
        normsys_hi=jnp.asarray(norm[:1]), normsys_lo=jnp.asarray(norm[1:]), staterror=jnp.asarray(n * stat),
    )  # fmt: skip
    bound = model()
    mean = n * control / 30.0 + truth * np.array(signal)
    data = bound.data([control, *np.maximum(np.round(mean + pulls * np.sqrt(mean)), 0.0)])
    low, high = np.array(bound.config.suggested_bounds()).T
    init, index = np.array(bound.config.suggested_init()), bound.config.poi_index
    for found, held in zip(both(yields, data, poi), (None, poi), strict=True):
        lower, upper = low.copy(), high.copy()
        if held is not None:
            lower[index] = upper[index] = held
        least = lowest(lambda pars: value(yields, data, pars), lower, upper, init)
        assert int(found.status) == 0, found.reason
        assert float(found.deviance) <= least + 1e-6 * (1 + abs(least))
        np.testing.assert_allclose(value(yields, data, found.pars)[0], found.deviance, atol=1e-6)
