"""Several minima, and the edge of the likelihood: against a slow minimiser that starts from many points."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from diffea.statistics import HistFactory, Solver, Yields, fit, hypotest, warnings
from tests.statistics.models import FITTED, modifier

DRAWS = int(os.environ.get("DIFFEA_MINIMA", "4"))
SHAPES, BINS, STARTS = 3, 4, 20


def shapes(count: int, bins: int) -> dict[str, Any]:
    """Signal and background with shapes that may do anything, and normalisations of which one goes one way."""
    flat = [100.0] * bins
    same = modifier("norm", "normsys", {"hi": 1.1, "lo": 0.9})
    one_way = modifier("tail", "normsys", {"hi": 1.1, "lo": 1.1})
    several = [modifier(f"shape{i}", "histosys", {"hi_data": flat, "lo_data": flat}) for i in range(count)]
    signal = {"name": "s", "data": flat, "modifiers": [modifier("mu", "normfactor"), same]}
    background = {"name": "b", "data": flat, "modifiers": [*several, same, one_way]}
    return {"channels": [{"name": "c", "samples": [signal, background]}]}


@functools.cache
def compiled() -> tuple[Any, Any]:
    """Fit at a tested value, and deviance with gradient, of any numbers."""
    bound = HistFactory(shapes(SHAPES, BINS))()
    silent = Solver(throw=False)

    def negative_log(yields: Yields, pars: Any, data: Any) -> Any:
        moved = bound.with_yields(yields)
        possible = (moved.expected_data(pars, include_auxdata=False) >= 0).all()
        return jnp.where(possible, -moved.logpdf(pars, data), jnp.inf)

    return jax.jit(lambda y, d, poi: fit(bound.with_yields(y), d, poi=poi, solver=silent)), jax.jit(
        jax.value_and_grad(negative_log, argnums=1)
    )


def drawn(seed: int) -> tuple[Yields, np.ndarray, float]:
    """Numbers with same-side and one-sided shapes, empty bins among the data, and a tested value."""
    random = np.random.default_rng(seed)
    background = random.uniform(3, 150, BINS) * random.choice([0.1, 1.0, 10.0])
    signal, widths = random.uniform(0, 0.3, BINS) * background, np.sqrt(background)
    high, low = [], []
    for _ in range(SHAPES):
        up = random.normal(size=BINS) * widths
        down = random.choice([0.0, 1.0, -1.0]) * up * random.uniform(0.5, 1.5, BINS)
        high.append(np.maximum(background + up, 0.01 * background))
        low.append(np.maximum(background + down, 0.01 * background))
    yields = dataclasses.replace(
        HistFactory(shapes(SHAPES, BINS)).yields,
        nominal=jnp.asarray(np.concatenate([signal, background])),
        histosys_hi=jnp.asarray(np.concatenate(high)),
        histosys_lo=jnp.asarray(np.concatenate(low)),
    )
    mean = background + random.choice([0.0, 1.0, 2.0]) * signal + random.normal(size=BINS) * widths
    counts = random.poisson(np.maximum(mean, 0.0)) * (random.uniform(size=BINS) > 0.2)
    return yields, counts.astype(float), float(random.choice([0.0, 1.0, 3.0]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(DRAWS))
def test_no_minimum_is_lower(seed: int) -> None:
    yields, counts, poi = drawn(seed)
    bound = HistFactory(shapes(SHAPES, BINS))().with_yields(yields)
    data, config = np.asarray(bound.data(counts)), bound.config
    minimise, slope = compiled()
    mine = minimise(yields, data, poi)
    assert int(mine.status) == 0
    box, random = np.array(config.suggested_bounds()), np.random.default_rng(seed)
    rest = np.arange(config.npars) != config.poi_index
    pars = np.array(config.suggested_init())
    pars[config.poi_index] = poi

    def value(some: np.ndarray) -> tuple[float, np.ndarray]:
        pars[rest] = some
        found, gradient = slope(yields, pars, data)
        inside = np.isfinite(found)
        return (float(found), np.asarray(gradient)[rest]) if inside else (1e10, np.zeros(rest.sum()))

    lowest = np.inf
    for _ in range(STARTS):
        begin = np.clip(2 * random.normal(size=rest.sum()), *box[rest].T)
        end = optimize.minimize(value, begin, jac=True, method="L-BFGS-B", bounds=box[rest], options={"ftol": 1e-14})
        lowest = min(lowest, end.fun)
    found = -float(bound.logpdf(mine.pars, data))
    assert found <= lowest + 1e-6 * (1 + abs(lowest))


def test_the_lowest_of_two_minima_wins_with_its_gradient_and_is_warned_of() -> None:
    """One bin: both variations raise the background, one by more; the closed form has a minimum on either side."""
    spec = {"channels": [{"name": "c", "samples": [
        {"name": "s", "data": [10.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [100.0], "modifiers": [modifier("both", "histosys", {"hi_data": [115.0], "lo_data": [125.0]})]},
    ]}]}  # fmt: skip
    model = HistFactory(spec)
    bound, data = model(), np.array([140.0, 0.0])

    def deviance(alpha: float, up: float = 15.0) -> float:
        nu = 100.0 + (up if alpha > 0 else 25.0) * abs(alpha)
        return nu - 140.0 - 140.0 * np.log(nu / 140.0) + 0.5 * alpha**2

    sides = [
        optimize.minimize_scalar(deviance, bounds=b, method="bounded", options={"xatol": 1e-12})
        for b in ((-4, -1), (1, 4))
    ]
    assert sides[0].fun < sides[1].fun - 0.5
    found = fit(bound, data, poi=0.0)
    np.testing.assert_allclose(found.deviance, sides[0].fun, rtol=1e-9)
    np.testing.assert_allclose(found.pars[0], sides[0].x, rtol=1e-5)
    gradient = jax.grad(lambda y: fit(model(y), data, poi=0.0).deviance)(model.yields)
    assert float(gradient.histosys_hi[0]) == 0.0
    nu = 100.0 - 25.0 * sides[0].x
    np.testing.assert_allclose(gradient.histosys_lo[0], -(1 - 140.0 / nu) * sides[0].x, rtol=1e-5)
    (said,) = warnings(bound)
    assert "'both' move the expectation the same way" in said


def test_usual_shifts_are_not_warned_of() -> None:
    assert not any("several minima" in text for text in warnings(HistFactory(FITTED)()))


def test_a_shift_that_empties_a_bin() -> None:
    """Nothing seen: the fit goes to where nothing is expected, and the deviance keeps the gradient of that edge."""
    spec = {"channels": [{"name": "c", "samples": [
        {"name": "s", "data": [1.0, 5.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [2.0, 50.0], "modifiers": [modifier("a", "histosys", {"hi_data": [5.0, 50.0], "lo_data": [-1.0, 50.0]})]},
    ]}]}  # fmt: skip
    model, data = HistFactory(spec), np.array([0.0, 50.0, 0.0])

    def lowest(nominal: np.ndarray) -> float:
        """Minimum of ν + α²/2 over ν = b + 3α (above 1) ≥ 0, at μ = 0: α = −b/3 from b + 3α = 0, if that is above −3."""
        return 0.5 * (nominal[2] / 3.0) ** 2 + nominal[3] - 50.0 - 50.0 * np.log(nominal[3] / 50.0)

    found = fit(model(), data, poi=0.0)
    nominal = np.asarray(model.yields.nominal)
    np.testing.assert_allclose(found.deviance, lowest(nominal), atol=1e-6)
    np.testing.assert_allclose(found.pars[0], -2.0 / 3.0, atol=1e-6)


def test_toys_without_events_count() -> None:
    """Of the statistic q too, whose best fit to nothing is where nothing is expected."""
    spec = copy.deepcopy(shapes(0, 1))
    spec["channels"][0]["samples"] = [
        {"name": "s", "data": [3.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [1.5], "modifiers": []},
    ]
    bound = HistFactory(spec)()
    found = hypotest(bound, 1.0, np.array([0.0]), test_stat="q", calculator="toys", toys=2000)
    assert int(found.failed) == 0
    np.testing.assert_allclose(found.clsb, np.exp(-4.5), atol=4 * np.sqrt(np.exp(-4.5) / 2000))
    np.testing.assert_allclose(found.clb, np.exp(-1.5), atol=4 * np.sqrt(np.exp(-1.5) / 2000))
