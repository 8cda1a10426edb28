"""Impacts by refits against pyhf's fits with a parameter held, and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from diffea.errors import SpecError
from diffea.statistics import BoundModel, HistFactory, Ranking, nuisances, ranking

Models = tuple[HistFactory, BoundModel, pyhf.Model]


@pytest.fixture(scope="module")
def ranked(fitted: Models, observed: np.ndarray) -> Ranking:
    return ranking(fitted[1], observed)


@pytest.mark.usefixtures("precise_pyhf")
def test_impacts_are_shifts_between_fits_of_pyhf(fitted: Models, observed: np.ndarray, ranked: Ranking) -> None:
    """cabinetry's definition: the best fit of the parameter of interest with another held at its own ± its width."""
    judge = fitted[2]
    best = np.asarray(pyhf.infer.mle.fit(observed, judge))
    poi, names = judge.config.poi_index, judge.config.par_names
    widths = {"scale": 1.0, "lumi": 0.02, "method[1]": 2.0 / 6.0, "free": None}
    for name, width in widths.items():
        row, place = ranked.parameters.index(name), names.index(name)
        sigma = float(ranked.nuisances.uncertainties[row])
        for shifts, found in ((width, ranked.prefit[row]), (sigma, ranked.postfit[row])):
            if shifts is None:
                assert np.isnan(found).all()
                continue
            for sign, impact in zip((1, -1), found, strict=True):
                init, fixed = best.tolist(), judge.config.suggested_fixed()
                init[place], fixed[place] = best[place] + sign * shifts, True
                moved = pyhf.infer.mle.fit(observed, judge, init_pars=init, fixed_params=fixed)
                np.testing.assert_allclose(impact, moved[poi] - best[poi], atol=2e-5, err_msg=name)


def test_rows_are_all_other_parameters(fitted: Models, observed: np.ndarray, ranked: Ranking) -> None:
    _, bound, judge = fitted
    after = nuisances(bound, observed)
    assert ranked.poi == "mu"
    assert ranked.parameters == tuple(name for name in judge.config.par_names if name != "mu")
    others = np.delete(np.arange(bound.config.npars), judge.config.poi_index)
    for name in ("impacts", "pulls", "uncertainties", "constraints", "priors"):
        np.testing.assert_allclose(getattr(ranked.nuisances, name), getattr(after, name)[others])
    small = np.abs(ranked.postfit).max(axis=1) < 0.05
    np.testing.assert_allclose(ranked.postfit[small][:, 0], ranked.nuisances.impacts[small], atol=5e-3)
    largest = np.abs(np.asarray(ranked.postfit)).max(axis=1)[ranked.order]
    assert (np.diff(largest) <= 0).all()


@pytest.mark.usefixtures("precise_pyhf")
def test_impacts_on_another_parameter(fitted: Models, observed: np.ndarray) -> None:
    _, bound, judge = fitted
    found = ranking(bound, observed, poi="stat_signal[1]")
    assert found.parameters[:2] == ("scale", "lumi")
    place, scale = (judge.config.par_names.index(name) for name in ("stat_signal[1]", "scale"))
    best = np.asarray(pyhf.infer.mle.fit(observed, judge))
    init, fixed = best.tolist(), judge.config.suggested_fixed()
    init[scale], fixed[scale] = best[scale] + 1.0, True
    moved = pyhf.infer.mle.fit(observed, judge, init_pars=init, fixed_params=fixed)
    np.testing.assert_allclose(found.prefit[0, 0], moved[place] - best[place], atol=2e-5)
    row = found.parameters.index("mu")
    assert np.isnan(found.prefit[row]).all()
    with pytest.raises(SpecError, match="'stat_signal' is a set of 4 parameters"):
        ranking(bound, observed, poi="stat_signal")


def test_bounds_and_fixed_parameters() -> None:
    """A width beyond the bounds ends there; what is fixed moves nothing; a model without parameter of interest is told so."""
    samples = [
        {"name": "s", "data": [5.0, 1.0], "modifiers": [{"name": "strength", "type": "normfactor", "data": None}]},
        {"name": "b", "data": [20.0, 30.0], "modifiers": [
            {"name": "st", "type": "staterror", "data": [30.0, 0.0]},
            {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
        ]},
    ]  # fmt: skip
    bound = HistFactory({"channels": [{"name": "c", "samples": samples}]})()
    data = bound.data([25.0, 31.0])
    with pytest.raises(SpecError, match="no parameter of interest"):
        ranking(bound, data)
    found = ranking(bound, data, poi="strength")
    first, second = (found.parameters.index(f"st[{i}]") for i in range(2))
    places = [bound.config.par_names.index(f"st[{i}]") for i in range(2)]
    np.testing.assert_allclose(found.refits.pars[first, 1, places[0]], 1e-10)  # 1 − 1.5 is below its bound
    assert not found.prefit[second].any()
    assert not found.postfit[second].any()


@pytest.mark.slow
def test_gradients_are_those_of_refits(fitted: Models, observed: np.ndarray) -> None:
    model = fitted[0]
    flat, unravel = ravel_pytree(model.yields)
    direction = jnp.asarray(np.random.default_rng(2).normal(size=flat.shape) * 0.1 * np.abs(flat))

    def numbers(t: Array) -> Array:
        found = ranking(model(unravel(flat + t * direction)), observed)
        return jnp.concatenate([found.prefit[:2].ravel(), found.postfit[:4].ravel()])

    along = jax.jit(lambda t: jax.jvp(numbers, (t,), (1.0,)))
    above, below, far_above, far_below = (along(1e-3 * by)[0] for by in (1, -1, 2, -2))
    expected = (8 * (above - below) - (far_above - far_below)) / 12e-3
    np.testing.assert_allclose(along(0.0)[1], expected, rtol=1e-6, atol=1e-8)
