"""Fits of some channels against pyhf's model of these alone; the others are predicted and do not count."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from diffea import objectives
from diffea.errors import SpecError
from diffea.statistics import BoundModel, HistFactory, fit, goodness_of_fit, hypotest, nuisances, postfit
from tests.statistics.models import modifier

SPEC = {
    "channels": [
        {"name": "inclusive", "samples": [
            {"name": "sig", "data": [9.0, 14.0], "modifiers": [modifier("mu", "normfactor"), modifier("theory", "normsys", {"hi": 1.1, "lo": 0.9})]},
            {"name": "bkg", "data": [60.0, 40.0], "modifiers": [
                modifier("jes", "histosys", {"hi_data": [63.0, 41.0], "lo_data": [56.0, 38.0]}), modifier("stat_inclusive", "staterror", [4.0, 3.0]),
            ]},
        ]},
        {"name": "jets", "samples": [
            {"name": "sig", "data": [3.0, 5.0, 2.0], "modifiers": [modifier("mu", "normfactor"), modifier("theory", "normsys", {"hi": 1.1, "lo": 0.9})]},
            {"name": "bkg", "data": [12.0, 9.0, 4.0], "modifiers": [
                modifier("jes", "histosys", {"hi_data": [14.0, 10.0, 5.0], "lo_data": [10.0, 8.0, 3.5]}), modifier("stat_jets", "staterror", [2.0, 1.0, 1.0]),
                modifier("only_jets", "normsys", {"hi": 1.3, "lo": 0.8}), modifier("free_jets", "normfactor"),
            ]},
        ]},
    ]
}  # fmt: skip
SEEN = {"inclusive": [71.0, 50.0], "jets": [300.0, 0.0, 1.0]}
Case = tuple[HistFactory, np.ndarray, pyhf.Model, np.ndarray]


@pytest.fixture(scope="module")
def case() -> Case:
    model = HistFactory(SPEC)
    judge = pyhf.Model({"channels": SPEC["channels"][:1]})
    return model, np.asarray(model().data(SEEN)), judge, np.array([*SEEN["inclusive"], *judge.config.auxdata])


@pytest.mark.usefixtures("precise_pyhf")
def test_numbers_are_those_of_the_pruned_model(case: Case) -> None:
    model, data, judge, pruned = case
    bound = model().only(["inclusive"])
    found = fit(bound, data)
    best, height = pyhf.infer.mle.fit(pruned, judge, return_fitted_val=True)
    pars = dict(zip(bound.config.par_names, np.asarray(found.pars).tolist(), strict=True))
    np.testing.assert_allclose([pars[name] for name in judge.config.par_names], best, atol=1e-4)
    rise = 2.0 * (fit(bound, data, poi=0.0).deviance - found.deviance)
    _, held = pyhf.infer.mle.fixed_poi_fit(0.0, pruned, judge, return_fitted_val=True)
    np.testing.assert_allclose(rise, held - height, atol=1e-6)
    cls, band = pyhf.infer.hypotest(1.2, pruned, judge, return_expected_set=True)
    mine = hypotest(bound, 1.2, data)
    np.testing.assert_allclose(mine.cls, cls, rtol=1e-5)
    np.testing.assert_allclose(mine.band, band, rtol=1e-5)
    alone = HistFactory({"channels": SPEC["channels"][:1]})()
    of_alone, of_these = goodness_of_fit(alone, pruned), goodness_of_fit(bound, data)
    np.testing.assert_allclose(
        [of_these.statistic, of_these.degrees], [of_alone.statistic, of_alone.degrees], rtol=1e-7
    )


@jax.jit
def blinded(bound: BoundModel) -> Array:
    without_fit = (objectives.poi_uncertainty, objectives.counting_significance, objectives.mc_statistical_error, objectives.cross_entropy, objectives.cross_entropy_with_variations)  # fmt: skip
    return jnp.stack([objective(bound) for objective in without_fit])


def test_blinded_objectives_are_those_of_the_pruned_model(case: Case) -> None:
    alone = HistFactory({"channels": SPEC["channels"][:1]})()
    np.testing.assert_allclose(blinded(case[0]().only(["inclusive"])), blinded(alone), rtol=1e-9)


def test_densities(case: Case) -> None:
    """Of a channel and all auxiliary data: pyhf's constraints of the other channel are added by hand."""
    model, data, judge, pruned = case
    bound, whole = model().only(["inclusive"]), pyhf.Model(SPEC)
    pyhf.set_backend("numpy")
    pars = np.array(whole.config.suggested_init()) + 0.05
    some = np.array([pars[whole.config.par_names.index(name)] for name in judge.config.par_names])
    rest = whole.constraint_logpdf(data[5:], pars) - judge.constraint_logpdf(pruned[2:], some)
    np.testing.assert_allclose(bound.logpdf(pars, data), judge.logpdf(some, pruned)[0] + rest, rtol=1e-10)
    both = model().only(["jets", "inclusive"])
    np.testing.assert_allclose(both.logpdf(pars, data), whole.logpdf(pars, data)[0], rtol=1e-10)


def test_the_other_channel_is_predicted_and_does_not_count(case: Case) -> None:
    model, data, _, _ = case
    bound = model().only(["inclusive"])
    found = fit(bound, data)
    pyhf.set_backend("numpy")
    np.testing.assert_allclose(bound.expected_data(found.pars), pyhf.Model(SPEC).expected_data(np.asarray(found.pars)))
    other = np.array(data)
    other[2:5] = [7.0, 123.0, 0.0]
    np.testing.assert_array_equal(fit(bound, other).pars, found.pars)
    after = nuisances(bound, data)
    names = bound.config.par_names
    for name in ("only_jets", "stat_jets[0]"):
        place = names.index(name)
        np.testing.assert_allclose([after.pulls[place], after.constraints[place]], [0.0, 1.0], atol=1e-9)
    assert np.isinf(after.uncertainties[names.index("free_jets")])
    expected = postfit(bound, data)
    assert np.isfinite(expected.uncertainty[:2]).all()
    assert np.isinf(expected.uncertainty[2:]).all()  # its normalisation is free there, and nothing measures it


def test_gradients_are_those_of_refits(case: Case) -> None:
    """In all yields; those of the other channel move nothing."""
    model, data, _, _ = case
    flat, unravel = ravel_pytree(model.yields)
    direction = jnp.asarray(np.random.default_rng(7).normal(size=flat.shape) * 0.1 * np.abs(flat))

    def number(x: Array) -> Array:
        bound = model(unravel(x)).only(["inclusive"])
        return fit(bound, data).pars[bound.config.poi_index] + fit(bound, data, poi=0.3).deviance

    value = jax.jit(number)
    above, below, far_above, far_below = (value(flat + by * 1e-3 * direction) for by in (1, -1, 2, -2))
    slope = jax.jit(jax.grad(number))(flat)
    np.testing.assert_allclose(slope @ direction, (8 * (above - below) - (far_above - far_below)) / 12e-3, rtol=1e-7)
    places = [place for field in ("nominal",) for place in model.places[field]]
    elsewhere = [i for i, place in enumerate(places) if place.startswith("channels[1]")]
    assert elsewhere
    assert not np.asarray(slope[: len(places)])[elsewhere].any()


def test_what_makes_no_sense(case: Case) -> None:
    for channels in (["nowhere"], [], "inclusive"):
        with pytest.raises(
            SpecError, match=r"only: expected a list of some of the channels \['inclusive', 'jets'\], got"
        ):
            case[0]().only(channels)
