"""The parameter of interest: which one it is, that it is free, and that no bound stops its best fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyhf
import pytest

from diffea import objectives
from diffea.errors import SpecError
from diffea.statistics import (
    BoundModel,
    HistFactory,
    discovery,
    estimates,
    fit,
    goodness_of_fit,
    hypotest,
    likelihood_ratio,
    nuisances,
    upper_limit,
    warnings,
)
from tests.statistics.models import modifier


def simple(signal: float = 1.0, **settings: Any) -> dict[str, Any]:
    """Two bins, one systematic; `settings` are those of the parameter of interest."""
    shifted = {"name": "b", "data": [30.0, 20.0], "modifiers": [modifier("norm", "normsys", {"hi": 1.1, "lo": 0.9})]}
    wanted = {"name": "s", "data": [3.0 * signal, 5.0 * signal], "modifiers": [modifier("mu", "normfactor")]}
    parameters = [{"name": "mu", **settings}] if settings else []
    return {"channels": [{"name": "SR", "samples": [wanted, shifted]}], "parameters": parameters}


NEEDS_A_FREE_ONE: list[Callable[[BoundModel, Any], Any]] = [
    lambda bound, data: hypotest(bound, 1.0, data),
    lambda bound, _: hypotest(bound, 1.0),
    lambda bound, data: hypotest(bound, 1.0, data, calculator="toys"),
    lambda bound, data: upper_limit(bound, data=data),
    lambda bound, _: upper_limit(bound),
    discovery,
    lambda bound, _: discovery(bound),
    lambda bound, data: likelihood_ratio(bound, 1.0, data),
    lambda bound, _: objectives.cls(bound),
    lambda bound, _: objectives.upper_limit(bound),
    lambda bound, _: objectives.discovery(bound),
    objectives.discovery_significance,
    lambda bound, _: objectives.poi_uncertainty(bound),
]


def test_a_fixed_one_is_refused() -> None:
    bound = HistFactory(simple(fixed=True))()
    data = bound.data([33.0, 22.0])
    for function in NEEDS_A_FREE_ONE:
        with pytest.raises(SpecError, match="parameter of interest 'mu' is fixed by the measurement"):
            function(bound, data)
    judge = pyhf.Model(simple(fixed=True))
    with pytest.raises(pyhf.exceptions.InvalidModel):
        pyhf.infer.hypotest(1.0, np.asarray(data), judge)
    _, lowest = pyhf.infer.mle.fit(np.asarray(data), judge, return_fitted_val=True)
    np.testing.assert_allclose(-2 * bound.logpdf(fit(bound, data).pars, data), lowest, atol=1e-6)


@pytest.mark.parametrize("name", [None, ""])
def test_without_one(name: str | None) -> None:
    model = HistFactory(simple(), poi_name=name)
    assert model.config.poi_name is None
    bound = model()
    data = bound.data([33.0, 22.0])
    for function in NEEDS_A_FREE_ONE:
        with pytest.raises(SpecError, match="no parameter of interest"):
            function(bound, data)
    after, found = nuisances(bound, data), estimates(bound, data)
    np.testing.assert_allclose(after.values, found.values)
    np.testing.assert_allclose(after.uncertainties, found.uncertainties)
    assert np.isnan(after.impacts).all()
    assert warnings(bound) == warnings(HistFactory(simple())(), poi_true=1.0)
    assert goodness_of_fit(HistFactory({"channels": simple()["channels"]}, poi_name=name)(), data).degrees == 1


def test_mu_is_the_default_where_it_exists() -> None:
    other = simple()
    other["channels"][0]["samples"][0]["modifiers"][0]["name"] = "strength"
    assert HistFactory(simple()).config.poi_name == "mu"
    assert HistFactory(other).config.poi_name is None
    assert HistFactory(other, poi_name="strength").config.poi_name == "strength"
    with pytest.raises(SpecError, match="'mu' is not one of the modifiers"):
        HistFactory(other, poi_name="mu")


@pytest.mark.parametrize("kind", ["shapesys", "staterror"])
def test_a_modifier_of_one_bin_may_be_one(kind: str) -> None:
    sample = {"name": "b", "data": [50.0], "modifiers": [modifier("gamma", kind, [5.0])]}
    spec = {"channels": [{"name": "c", "samples": [sample]}]}
    bound, judge = HistFactory(spec, poi_name="gamma")(), pyhf.Model(spec, poi_name="gamma")
    assert bound.config.poi_index == judge.config.poi_index == 0
    data = np.array([55.0, *judge.config.auxdata])
    _, value = pyhf.infer.mle.fixed_poi_fit(1.05, data, judge, return_fitted_val=True)
    np.testing.assert_allclose(-2 * bound.logpdf(fit(bound, data, poi=1.05).pars, data), value, rtol=1e-7)
    _, value = pyhf.infer.mle.fit(data, judge, return_fitted_val=True)
    np.testing.assert_allclose(-2 * bound.logpdf(fit(bound, data).pars, data), value, rtol=1e-7)
    sample["data"], sample["modifiers"] = [50.0, 40.0], [modifier("gamma", kind, [5.0, 4.0])]
    with pytest.raises(SpecError, match=f"'gamma' is a {kind} with 2 parameters"):
        HistFactory(spec, poi_name="gamma")


def test_a_start_outside_of_the_bounds_is_a_model_that_cannot_be_fitted() -> None:
    for spec in (simple(inits=[20.0]), {**simple(), "parameters": [{"name": "norm", "bounds": [[1.0, 2.0]]}]}):
        bound, judge = HistFactory(spec)(), pyhf.Model(spec)
        pars, data = judge.config.suggested_init(), np.array([33.0, 22.0, 0.0])
        np.testing.assert_allclose(bound.logpdf(pars, data), judge.logpdf(pars, data)[0], rtol=1e-12)
        with pytest.raises(ValueError, match="outside of its bounds"):
            pyhf.infer.mle.fit(data, judge)
        for function in (fit, nuisances, lambda b, d: hypotest(b, 1.0, d)):
            with pytest.raises(
                SpecError, match=r"parameters\['(mu|norm)'\]: a fit starts at inits .*, outside of bounds"
            ):
                function(bound, data)


@pytest.fixture(scope="module")
def units() -> tuple[BoundModel, BoundModel]:
    """The same model, and one whose signal is a thousandth."""
    model = HistFactory(simple())
    return model(), model(HistFactory(simple(1e-3)).yields)


@pytest.mark.parametrize("test_stat", ["q", "qtilde"])
def test_the_units_of_the_signal_do_not_matter(units: tuple[BoundModel, BoundModel], test_stat: Any) -> None:
    """A best fit far above the default bound of 10, or below its negative, is what it is at 1."""
    for events in ([44.0, 33.0], [20.0, 9.0]):
        data = units[0].data(events)
        for factor in (0.6, 6.0):
            one, other = (
                hypotest(b, f, data, test_stat=test_stat) for b, f in zip(units, (factor, 1e3 * factor), strict=True)
            )
            np.testing.assert_allclose(other.log_cls, one.log_cls, rtol=1e-7)
            np.testing.assert_allclose(other.band, one.band, rtol=1e-7)
        limits = [upper_limit(bound, data=data).observed for bound in units]
        np.testing.assert_allclose(limits[1], 1e3 * limits[0], rtol=1e-7)


def test_nothing_is_said_about_a_fit_that_stopped_at_its_bound(units: tuple[BoundModel, BoundModel]) -> None:
    same, weak = units
    data = same.data([44.0, 33.0])
    np.testing.assert_allclose(discovery(weak, data).q, discovery(same, data).q, rtol=1e-9)
    np.testing.assert_allclose(likelihood_ratio(weak, 2e3, data), likelihood_ratio(same, 2.0, data), rtol=1e-7)
    one, other = nuisances(same, data), nuisances(weak, data)
    np.testing.assert_allclose(other.values[0] / 1e3, one.values[0], rtol=1e-6)
    np.testing.assert_allclose(other.pulls, one.pulls, atol=1e-7)
    sigmas = [objectives.poi_uncertainty(bound, data) for bound in (same, weak)]
    np.testing.assert_allclose(sigmas[1], 1e3 * sigmas[0], rtol=1e-6)


def test_the_discovery_of_a_deficit_is_none() -> None:
    bound, judge = HistFactory(simple())(), pyhf.Model(simple())
    data = np.array([0.0, 9.0, 0.0])
    assert float(discovery(bound, data).q) == 0.0
    np.testing.assert_allclose(pyhf.infer.hypotest(0.0, data, judge, test_stat="q0"), discovery(bound, data).p_value)
    assert warnings(bound, data=data) == []


SETTINGS = [
    None,
    {},
    {"normsys": {"interpcode": "code4"}},
    {"normsys": {"interpcode": "code1"}},
    {"histosys": {"interpcode": "code4p"}},
    {"histosys": {"interpcode": "code2"}},
    {"normsys": {}},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_in_part_are_pyhfs(settings: Any) -> None:
    spec = simple()
    shape = modifier("shape", "histosys", {"hi_data": [36.0, 19.0], "lo_data": [28.0, 26.0]})
    spec["channels"][0]["samples"][1]["modifiers"].append(shape)
    judge = pyhf.Model(spec) if settings is None else pyhf.Model(spec, modifier_settings=settings)
    model = HistFactory(spec, modifier_settings=settings)
    pars = np.array(judge.config.suggested_init()) + 0.4
    np.testing.assert_allclose(model().expected_data(pars), judge.expected_data(pars), rtol=1e-12)
    again = pyhf.Workspace(model.workspace()).model(modifier_settings=model.modifier_settings)
    np.testing.assert_allclose(again.expected_data(pars), judge.expected_data(pars), rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nromsys": {"interpcode": "code4"}}, r"modifier_settings: expected some of \['histosys', 'normsys'\], got \['nromsys'\]"),
        ({"normsys": {"code": "code4"}}, r"modifier_settings\['normsys'\]: expected some of \['interpcode'\], got \['code'\]"),
        ({"normsys": "code4"}, r"modifier_settings\['normsys'\]: expected a dict"),
        ({"histosys": {"interpcode": "code4"}}, r"modifier_settings\['histosys'\]: expected one of .*got 'code4'"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing(settings: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        HistFactory(simple(), modifier_settings=settings)
