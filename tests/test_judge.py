"""The judge takes the parameter of interest and the interpolation codes that the analysis takes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from diffea import HistFactory, objectives
from diffea.judge import Judge

CODES = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
NORMALISATION = {"name": "norm", "type": "normsys", "data": {"hi": 1.4, "lo": 0.9}}
SPEC: dict[str, Any] = {
    "channels": [
        {
            "name": "c",
            "samples": [
                {"name": "s", "data": [5.0, 8.0], "modifiers": [{"name": "strength", "type": "normfactor", "data": None}]},
                {"name": "b", "data": [50.0, 40.0], "modifiers": [NORMALISATION]},
            ],
        }
    ],
    "measurements": [
        {"name": "m", "config": {"poi": "strength", "parameters": [{"name": "strength", "bounds": [[0.0, 30.0]]}]}}
    ],
}  # fmt: skip


def test_the_measurement_names_the_parameter_of_interest() -> None:
    model = HistFactory(SPEC)
    assert model.config.poi_name == "strength"
    assert model.config.suggested_bounds()[model.config.poi_index] == (0.0, 30.0)
    assert HistFactory(SPEC, poi_name=None).config.poi_index is None
    none = copy.deepcopy(SPEC)
    none["measurements"][0]["config"]["poi"] = ""
    assert HistFactory(none).config.poi_name is None


def test_a_measurement_keeps_its_name_in_a_workspace() -> None:
    workspace = HistFactory(SPEC).workspace()
    assert [(m["name"], m["config"]["poi"]) for m in workspace["measurements"]] == [("m", "strength")]
    workspace["measurements"].insert(0, {"name": "first", "config": {"poi": "", "parameters": []}})
    for name, expected in ((None, "first"), ("m", "m")):
        again = HistFactory.from_workspace(workspace, measurement=name).workspace()
        assert [measurement["name"] for measurement in again["measurements"]] == [expected]
    plain = {key: part for key, part in SPEC.items() if key != "measurements"}
    assert HistFactory(plain, poi_name="strength").workspace()["measurements"][0]["name"] == "measurement"


@pytest.mark.parametrize("guess", [1.0, None])
def test_a_limit_far_below_one(guess: float | None) -> None:
    """From μ = 1, SciPy's fit to background alone does not move, and CLs is 1 everywhere."""
    spec = copy.deepcopy(SPEC)
    spec["channels"][0]["samples"][0]["data"] = [5e4, 1e5]
    model = HistFactory(spec)
    judge, limit = Judge(model.workspace()), float(objectives.upper_limit(model()))
    assert limit < 1e-3
    assert judge.cls(limit) == pytest.approx(0.05, rel=1e-3)
    assert judge.limit(guess or limit) == pytest.approx(limit, rel=2e-3)


def test_cls_and_limit_with_other_interpolation_codes() -> None:
    other_codes = HistFactory(SPEC, modifier_settings=CODES)
    workspace = other_codes.workspace()
    judge, default = Judge(workspace, other_codes.modifier_settings), Judge(workspace)
    assert judge.cls() == pytest.approx(float(objectives.cls(other_codes())), rel=1e-5)
    assert abs(judge.cls() / default.cls() - 1) > 0.1
    limit = float(objectives.upper_limit(other_codes()))
    np.testing.assert_allclose(judge.limit(limit, tolerance=1e-4), limit, rtol=5e-4)
