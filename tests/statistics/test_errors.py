"""Bad input is refused by name, with its place; a fit that failed is never silent."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffea import objectives, runtime
from diffea.errors import DataError, FitError, SpecError, UnknownTemplateError, YieldError
from diffea.statistics import (
    BoundModel,
    HistFactory,
    Solver,
    discovery,
    fit,
    goodness_of_fit,
    hypotest,
    likelihood_ratio,
    nuisances,
    upper_limit,
    warnings,
)
from tests.statistics.models import FITTED, modifier

Models = tuple[HistFactory, BoundModel, pyhf.Model]


def _sample(spec: Any, channel: int = 0, sample: int = 1) -> Any:
    return spec["channels"][channel]["samples"][sample]


BROKEN: list[tuple[str, Callable[[Any], Any], str]] = [
    ("data is text in a list", lambda s: _sample(s).update(data=["x"]), r"channels\[0\].samples\[1\].data\[0\]"),
    ("no modifiers", lambda s: _sample(s).pop("modifiers"), r"channels\[0\].samples\[1\]"),
    ("unknown modifier", lambda s: _sample(s)["modifiers"][0].update(type="magic"), r"channels\[0\].samples\[1\].modifiers\[0\]"),
    ("two samples of a name", lambda s: _sample(s).update(name="sig"), r"channels\[0\]/samples\[1\]: .*'sig' already"),
    ("two channels of a name", lambda s: s["channels"][1].update(name="signal"), "two channels"),
    ("a modifier twice", lambda s: _sample(s)["modifiers"].append(_sample(s)["modifiers"][1]), "has a normsys 'norm' already"),
    ("name of unlike kinds", lambda s: _sample(s)["modifiers"].append(modifier("mu", "normsys", {"hi": 1.1, "lo": 0.9})), "cannot share"),
    ("shapesys shared", lambda s: _sample(s)["modifiers"].append(modifier("method", "shapesys", [1.0] * 4)), "used at .* already"),
    ("lumi without settings", lambda s: s.update(parameters=[]), "lumi modifier 'lumi' needs"),
    ("settings twice", lambda s: s["parameters"].append(s["parameters"][0]), "configured twice"),
    ("too many inits", lambda s: s["parameters"].append({"name": "mu", "inits": [1.0, 2.0]}), "expected 1 value"),
    ("unused setting", lambda s: s["parameters"].append({"name": "mu", "sigmas": [1.0]}), "does not use 'sigmas'"),
    ("a measurement of nothing", lambda s: s.update(measurements=[{"name": "m"}]), r"measurements\[0\]: expected"),
    ("one channel no sample", lambda s: s["channels"][0].update(samples=[]), r"channels\[0\].samples"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_broken_specifications(change: Callable[[Any], Any], message: str) -> None:
    spec = copy.deepcopy(FITTED)
    change(spec)
    with pytest.raises(SpecError, match=message):
        HistFactory(spec)


def test_wrong_lengths() -> None:
    for change, place in (
        (lambda s: _sample(s).update(data=[1.0, 2.0]), r"channels\[0\]/samples\[1\]/data: .* has 2 bins"),
        (lambda s: _sample(s)["modifiers"][3].update(data=[1.0]), r"channels\[0\]/samples\[1\]/modifiers\[3\]/data"),
    ):
        spec = copy.deepcopy(FITTED)
        change(spec)
        with pytest.raises(YieldError, match=place):
            HistFactory(spec)()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("nominal", np.nan, "data.0.: expected finite"),
        ("normsys_lo", 0.0, "a positive factor"),
        ("staterror", -1.0, "zero or more"),
    ],
)
def test_numbers_without_meaning(fitted: Models, field: str, value: float, message: str) -> None:
    model, _, _ = fitted
    values = np.array(getattr(model.yields, field))
    values[0] = value
    with pytest.raises(YieldError, match=message):
        model(dataclasses.replace(model.yields, **{field: jnp.asarray(values)}))


def test_up_like_down_is_a_symmetric_shift_of_nothing(fitted: Models) -> None:
    model, _, _ = fitted
    nominal = jnp.asarray(FITTED["channels"][0]["samples"][1]["data"])  # type: ignore[index]
    bound = model(dataclasses.replace(model.yields, histosys_hi=nominal, histosys_lo=nominal))
    assert np.isfinite(objectives.poi_uncertainty(bound))


def test_missing_templates() -> None:
    spec = copy.deepcopy(FITTED)
    _sample(spec)["data"] = "bkg"
    model = HistFactory(spec)
    with pytest.raises(YieldError, match=r"samples\[1\]/data names the template .*call the model with templates"):
        model()
    with pytest.raises(UnknownTemplateError, match=r"channels\[0\]/samples\[1\]/data names .* no fill made"):
        model({})


def test_workspaces() -> None:
    spec = {"channels": FITTED["channels"], "observations": [], "measurements": []}
    with pytest.raises(SpecError, match="no measurement"):
        HistFactory.from_workspace(spec)
    with pytest.raises(SpecError, match="observations missing"):
        HistFactory.from_workspace({"channels": [], "measurements": []})
    good = HistFactory(FITTED).workspace()
    with pytest.raises(SpecError, match=r"patches\[0\] does not apply"):
        HistFactory.from_workspace(good, patches=[[{"op": "remove", "path": "/channels/9"}]])
    with pytest.raises(SpecError, match=r"patches\[0\]: expected a JSON patch .*got dict"):
        HistFactory.from_workspace(good, patches=[{"patches": []}])
    with pytest.raises(SpecError, match="no measurement 'other'"):
        HistFactory.from_workspace(good, measurement="other")
    patched = HistFactory.from_workspace(good, patches=[[{"op": "remove", "path": "/channels/1/samples/1"}]])
    assert patched.config.par_names == pyhf.Workspace(good).model().config.par_names


def test_bad_data(fitted: Models) -> None:
    _, bound, _ = fitted
    with pytest.raises(DataError, match="expected 6 bins"):
        bound.logpdf(bound.config.suggested_init(), [1.0])
    with pytest.raises(DataError, match=r"got -1.0 in control\[1\]"):
        bound.data([1.0, -1.0, 1.0, 1.0, 1.0, 1.0])
    with pytest.raises(DataError, match=r"channel\(s\) \['signal'\]"):
        bound.data({"control": [1.0, 2.0]})
    with pytest.raises(DataError, match="no observations"):
        bound.observed_data()


TAKES_DATA: list[Callable[[BoundModel, Any], Any]] = [
    fit,
    lambda bound, data: hypotest(bound, 1.0, data),
    lambda bound, data: hypotest(bound, 1.0, data, calculator="toys"),
    lambda bound, data: upper_limit(bound, data=data),
    discovery,
    nuisances,
    goodness_of_fit,
    lambda bound, data: likelihood_ratio(bound, 1.0, data),
    lambda bound, data: warnings(bound, data=data),
    lambda bound, data: objectives.cls(bound, data=data),
    lambda bound, data: objectives.upper_limit(bound, data=data),
    objectives.discovery,
    objectives.discovery_significance,
    objectives.poi_uncertainty,
    objectives.nuisance_penalty,
    lambda bound, data: objectives.generalised_variance(bound, data=data),
]


@pytest.mark.parametrize("function", TAKES_DATA)
def test_data_that_are_not_whole(fitted: Models, observed: np.ndarray, function: Callable[..., Any]) -> None:
    _, bound, _ = fitted
    for data in (observed[:6], observed[:-1], [*observed, 7.0]):
        with pytest.raises(DataError, match=r"expected 6 bins and 11 auxiliary data, got .*data\(observations\)"):
            function(bound, data)


def test_a_fit_that_fails_raises_eagerly_and_compiled(fitted: Models, observed: np.ndarray) -> None:
    model, bound, _ = fitted
    few = Solver(max_iterations=2)
    with pytest.raises(FitError, match="iterations ran out"):
        fit(bound, observed, solver=few)
    compiled = jax.jit(lambda y: fit(model(y), observed, solver=few).deviance)
    with pytest.raises(FitError, match="iterations ran out"), runtime.named_errors():
        compiled(model.yields).block_until_ready()
    silent = fit(bound, observed, solver=dataclasses.replace(few, throw=False))
    assert int(silent.status) == 1
    assert "iterations ran out" in silent.reason
    assert fit(bound, observed).reason == ""


def test_nan_in_traced_yields_raises(fitted: Models) -> None:
    model, _, _ = fitted
    function = jax.jit(lambda y: objectives.cls(model(y), 0.9))
    nominal = model.yields.nominal.at[3].set(jnp.nan)
    with pytest.raises(FitError, match="not finite at the initial values"), runtime.named_errors():
        function(dataclasses.replace(model.yields, nominal=nominal)).block_until_ready()


def test_signal_without_background_raises(fitted: Models) -> None:
    model, _, _ = fitted
    place = "channels[0]/samples[{}]/data[1]"
    indices = [model.places["nominal"].index(place.format(sample)) for sample in (1, 2)]
    nominal = model.yields.nominal.at[np.array(indices)].set(0.0)
    high, low = (getattr(model.yields, f"histosys_{side}").at[1].set(0.0) for side in ("hi", "lo"))
    bare = model(dataclasses.replace(model.yields, nominal=nominal, histosys_hi=high, histosys_lo=low))
    with pytest.raises(YieldError, match=r"signal without background.* in bin signal\[1\]"):
        objectives.cls(bare, 0.9)


def test_no_limit_without_signal(fitted: Models) -> None:
    model, _, _ = fitted
    signal = [i for i, place in enumerate(model.places["nominal"]) if place.startswith("channels[0]/samples[0]")]
    nothing = model(dataclasses.replace(model.yields, nominal=model.yields.nominal.at[np.array(signal)].set(0.0)))
    with pytest.raises(FitError, match="no value of the parameter of interest is excluded"):
        objectives.upper_limit(nothing)


def test_unknown_names(fitted: Models) -> None:
    _, bound, _ = fitted
    with pytest.raises(ValueError, match="test_stat"):
        objectives.cls(bound, test_stat="best")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="no parameter 'nothing'"):
        objectives.generalised_variance(bound, ["nothing"])
    with pytest.raises(SpecError, match="modifier_settings"):
        HistFactory(FITTED, modifier_settings={"normsys": {"interpcode": "code9"}})
