"""What is given to tests and fits beside the model: a number that is none is named, whoever is given it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from diffea import objectives, statistics
from diffea.errors import DataError, FitError, MethodError, ParameterError, SpecError, YieldError
from diffea.statistics import BoundModel, HistFactory, Solver
from tests.statistics.models import modifier


def _workspace(*background: Any) -> dict[str, Any]:
    samples = [
        {"name": "s", "data": [5.0, 8.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [40.0, 30.0], "modifiers": list(background)},
    ]
    return {
        "channels": [{"name": "sr", "samples": samples}],
        "observations": [{"name": "sr", "data": [44.0, 31.0]}],
        "measurements": [{"name": "first", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


NORM = modifier("norm", "normsys", {"hi": 1.1, "lo": 0.9})
SEEN = [44.0, 31.0, 0.0]


@pytest.fixture(scope="module")
def bound() -> BoundModel:
    return HistFactory.from_workspace(_workspace(NORM))()


USES: dict[str, Callable[[BoundModel, Any], Any]] = {
    "fit": lambda bound, data: statistics.fit(bound, data),
    "hypotest": lambda bound, data: statistics.hypotest(bound, 1.0, data),
    "upper_limit": lambda bound, data: statistics.upper_limit(bound, data=data),
    "discovery": lambda bound, data: statistics.discovery(bound, data),
    "goodness_of_fit": lambda bound, data: statistics.goodness_of_fit(bound, data),
    "objective": lambda bound, data: objectives.cls(bound, 1.0, data),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([np.nan, 31.0, 0.0], r"got nan in sr\[0\]"),
        ([44.0, -0.5, 0.0], r"got -0.5 in sr\[1\]"),
        ([44.0, 31.0, np.inf], "got inf in the auxiliary datum 0"),
        (["a", 31.0, 0.0], "expected real numbers"),
        (np.array([44.0 + 1j, 31.0, 0.0]), "expected real numbers"),
    ],
)
def test_data_that_no_experiment_gives(
    bound: BoundModel, use: Callable[[BoundModel, Any], Any], data: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        use(bound, data)


def test_data_that_are_traced_fail_where_they_are_fitted(bound: BoundModel) -> None:
    fitted = jax.jit(lambda data: statistics.fit(bound, data, solver=Solver(throw=False)))
    for value in (np.nan, -1.0):
        found = fitted(jnp.array([value, 31.0, 0.0]))
        assert int(found.status) != 0
        assert int(found.culprit) == 0


def test_observations_of_each_channel_have_its_bins() -> None:
    document = _workspace(NORM)
    document["channels"].append({**copy.deepcopy(document["channels"][0]), "name": "cr"})
    bound = HistFactory({"channels": document["channels"]})()
    with pytest.raises(DataError, match="'cr': expected 2 bins, got 3"):
        bound.data({"cr": [1.0, 2.0, 3.0], "sr": [4.0]})


STRENGTHS: dict[str, Callable[[BoundModel, Any], Any]] = {
    "hypotest": lambda bound, poi: statistics.hypotest(bound, poi, SEEN),
    "toys": lambda bound, poi: statistics.hypotest(bound, poi, SEEN, calculator="toys", toys=2),
    "fit": lambda bound, poi: statistics.fit(bound, SEEN, poi=poi),
    "ratio": lambda bound, poi: statistics.likelihood_ratio(bound, poi, SEEN),
    "discovery": lambda bound, poi: statistics.discovery(bound, poi_true=poi),
    "estimates": lambda bound, poi: statistics.estimates(bound, poi_true=poi),
    "nuisances": lambda bound, poi: statistics.nuisances(bound, poi_true=poi),
    "cls": objectives.cls,
    "uncertainty": lambda bound, poi: objectives.poi_uncertainty(bound, poi_true=poi),
}


@pytest.mark.parametrize("use", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("strength", [np.nan, np.inf, [1.0], np.array([0.5, 1.0]), "1", None, 1j])
def test_a_signal_strength_is_one_finite_number(
    bound: BoundModel, use: Callable[[BoundModel, Any], Any], strength: Any
) -> None:
    if strength is None and use is STRENGTHS["fit"]:
        return  # the fit of all parameters
    with pytest.raises(ParameterError, match=r"expected (one|a finite|real) number"):
        use(bound, strength)


def test_less_than_no_signal_is_no_discovery(bound: BoundModel) -> None:
    """q0 is 0 for a best fit below 0 (arXiv:1007.1727, eq. 12)."""
    assert float(objectives.discovery(bound, poi_true=-1.0)) == 0.5
    assert float(objectives.discovery_significance(bound, poi_true=-1.0)) == 0.0


def test_asimov_data_of_less_than_no_events_are_refused(bound: BoundModel) -> None:
    for use in (objectives.poi_uncertainty, statistics.nuisances, statistics.warnings):
        with pytest.raises(FitError, match=r"the expected data failed.*in bin sr\[1\]"):
            use(bound, poi_true=-5.0)
    assert float(objectives.poi_uncertainty(bound, poi_true=-3.0)) > 0.0


@pytest.mark.parametrize("use", [statistics.upper_limit, objectives.upper_limit])
@pytest.mark.parametrize("level", [95, "0.95", None, np.nan])
def test_confidence_levels(bound: BoundModel, use: Callable[..., Any], level: Any) -> None:
    with pytest.raises(MethodError, match="confidence level between 0 and 1"):
        use(bound, level)


@pytest.mark.parametrize(("toys", "seed"), [(2.5, 0), (True, 0), (10, -1), (10, 2**70), (10, 1.5)])
def test_numbers_of_toys(bound: BoundModel, toys: Any, seed: Any) -> None:
    with pytest.raises(MethodError, match="it is a whole number"):
        statistics.hypotest(bound, 1.0, SEEN, calculator="toys", toys=toys, seed=seed)
    with pytest.raises(MethodError, match="it is a whole number"):
        statistics.goodness_of_fit(bound, SEEN, toys=toys, seed=seed)


@pytest.mark.parametrize("variance", [np.nan, -4.0])
def test_variances_of_templates(variance: float) -> None:
    named = [("s", modifier("mu", "normfactor")), ("b", modifier("mc", "staterror", "b"))]
    samples = [{"name": name, "data": name, "modifiers": [own]} for name, own in named]
    templates = {
        ("sr", name, "nominal"): SimpleNamespace(values=np.array([9.0]), variances=np.array([variance]))
        for name, _ in named
    }
    with pytest.raises(YieldError, match=r"an uncertainty of zero or more|finite"):
        HistFactory({"channels": [{"name": "sr", "samples": samples}]})(templates)


@pytest.mark.parametrize("templates", [[1.0], {("sr", "s", "nominal"): 3.0}])
def test_what_is_no_template(templates: Any) -> None:
    spec = {
        "channels": [
            {"name": "sr", "samples": [{"name": "s", "data": "s", "modifiers": [modifier("mu", "normfactor")]}]}
        ]
    }
    with pytest.raises(YieldError, match=r"expected (the template|templates)"):
        HistFactory(spec)(templates)


MALFORMED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no workspace": lambda _: None,
    "a text": lambda _: "workspace.json",
    "no channels": lambda w: {**w, "channels": None},
    "a channel of nothing": lambda w: {**w, "channels": [{}]},
    "no observations": lambda w: {**w, "observations": None},
    "an observation of nothing": lambda w: {**w, "observations": [{}]},
    "an observation of text": lambda w: {**w, "observations": [{"name": "sr", "data": ["a", 1.0]}]},
    "two observations": lambda w: {**w, "observations": [*w["observations"], {"name": "sr", "data": [1.0, 1.0]}]},
    "no measurement": lambda w: {**w, "measurements": []},
    "a measurement of nothing": lambda w: {**w, "measurements": [{}]},
    "a measurement without parameters": lambda w: {**w, "measurements": [{"name": "m", "config": {"poi": "mu"}}]},
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_malformed_workspaces(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(SpecError):
        HistFactory.from_workspace(change(_workspace(NORM)))


def test_of_two_measurements_of_one_name_the_first_counts() -> None:
    document = _workspace(NORM)
    document["measurements"].append({"name": "first", "config": {"poi": "", "parameters": []}})
    assert HistFactory.from_workspace(document)().config.poi_name == "mu"


@pytest.mark.parametrize("data", [[44.0, 33.0, 0.0], [60.0, 50.0, 0.0]])
def test_a_variation_that_is_the_same_up_and_down(data: list[float]) -> None:
    """Its derivative at 0, where a fit starts, is 0, and the likelihood may have a maximum there."""
    bound = HistFactory.from_workspace(_workspace(modifier("norm", "normsys", {"hi": 1.1, "lo": 1.1})))()
    found = statistics.fit(bound, data, poi=0.0)
    along = jax.jit(lambda alpha: -bound.logpdf(jnp.array([0.0, alpha]), jnp.asarray(data)))
    best = min(
        scipy.optimize.minimize_scalar(along, bounds=ends, method="bounded").fun for ends in ((-5.0, 0.0), (0.0, 5.0))
    )
    np.testing.assert_allclose(-bound.logpdf(found.pars, data), best, atol=1e-8)
    assert abs(found.pars[1]) > 0.1
