"""Variations that are known to one side, mirrored at the nominal template."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pyhf
import pytest

from diffea import HistFactory, objectives
from diffea.errors import SpecError

NOMINAL, UP = np.array([50.0, 61.0, 40.0]), np.array([53.0, 60.0, 46.5])


@dataclasses.dataclass
class Numbers:
    values: Any
    variances: Any = None


def spec(data: Any, lo: Any) -> dict[str, Any]:
    shape = {"name": "jer", "type": "histosys", "data": {"hi_data": "b:jer_up", "lo_data": lo}}
    signal = {"name": "s", "data": [5.0, 9.0, 3.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}
    return {"channels": [{"name": "c", "samples": [signal, {"name": "b", "data": data, "modifiers": [shape]}]}]}


@pytest.mark.parametrize("data", ["b", NOMINAL.tolist()], ids=["a template", "numbers"])
def test_the_other_side_is_twice_the_nominal_less_the_one(data: Any) -> None:
    model = HistFactory(spec(data, "b:jer_up:mirrored"))
    templates = {("c", "b", "nominal"): Numbers(NOMINAL), ("c", "b", "jer_up"): Numbers(UP)}
    asked = {("c", "b", "jer_up")} | ({("c", "b", "nominal")} if data == "b" else set())
    assert set(model.template_keys) == asked
    bound, written = model(templates), model.workspace(templates)
    by_hand = [2 * n - u for n, u in zip(NOMINAL.tolist(), UP.tolist(), strict=True)]
    found = written["channels"][0]["samples"][1]["modifiers"][0]["data"]
    assert found == {"hi_data": UP.tolist(), "lo_data": by_hand}
    oracle = pyhf.Workspace(written).model(
        modifier_settings={"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
    )
    assert oracle.config.par_order == bound.config.par_order
    for alpha in (-1.0, -0.4, 0.7):
        pars = oracle.config.suggested_init()
        pars[oracle.config.par_map["jer"]["slice"]] = [alpha]
        np.testing.assert_allclose(bound.expected_data(pars), oracle.expected_data(pars), rtol=1e-12)


def test_its_gradient_goes_through_both_templates() -> None:
    model = HistFactory(spec("b", "b:jer_up:mirrored"))

    def sigma(nominal: Any, up: Any) -> Any:
        return objectives.poi_uncertainty(
            model({("c", "b", "nominal"): Numbers(nominal), ("c", "b", "jer_up"): Numbers(up)})
        )

    found = jax.grad(sigma, argnums=(0, 1))(NOMINAL, UP)
    for side in (0, 1):
        for place in range(3):
            step = np.zeros((2, 3))
            step[side, place] = 1e-4
            up, down = (float(sigma(NOMINAL + sign * step[0], UP + sign * step[1])) for sign in (1, -1))
            assert float(found[side][place]) == pytest.approx((up - down) / 2e-4, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("data", "lo"), [("b:mirrored", "b:jer_down"), ("b", "b:mirrored"), ("b:up:mirrored", "b:jer_down")]
)
def test_nothing_else_is_mirrored(data: str, lo: str) -> None:
    with pytest.raises(SpecError, match="only a side of a histosys is mirrored"):
        HistFactory(spec(data, lo))
