"""Cuts for several working points at once, against the best of all combinations."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parent.parent / "analyses" / "working_points" / "families.py"
EVENTS = 2_000


@pytest.fixture(scope="module")
def families():
    spec = importlib.util.spec_from_file_location("families", FILE)
    module = sys.modules["families"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.EFFICIENCIES, module.STEPS = np.linspace(0.2, 0.8, 4), 240
    yield module
    del sys.modules["families"]


@pytest.mark.slow
def test_each_working_point_is_held_with_little_background(families, tmp_path) -> None:
    fileset = families.written(tmp_path, families.events(3, EVENTS))
    free, smooth = (families.family(fileset, EVENTS, bent) for bent in (0.0, families.BENT))
    judges = families.events(77, 200_000)
    found, ideal = (
        families.passing(judges, smooth),
        families.passing(judges, families.brute_force(judges, families.FINE)),
    )
    np.testing.assert_allclose(found["signal"], families.EFFICIENCIES, atol=0.03)
    others = {f"{sample}, others": share for sample, share in found.items()}
    assert families.excess(others, ideal) == pytest.approx(np.ones(4), abs=0.15)
    assert families.roughness(smooth) < families.roughness(free)


def test_brute_force_finds_the_best_of_all_combinations(families, monkeypatch) -> None:
    monkeypatch.setattr(families, "TICKS", 6)
    made = families.events(5, 300)
    found = families.passing(made, families.brute_force(made, families.EFFICIENCIES))
    ticks = [np.linspace(*ends, 7)[:-1] for ends in families.BOUNDS.values()]
    lattice = dict(zip(families.BOUNDS, (part.ravel() for part in np.meshgrid(*ticks)), strict=True))
    all_ = families.passing(made, lattice)
    for number, efficiency in enumerate(families.EFFICIENCIES):
        assert found["signal"][number] >= efficiency
        assert found["background"][number] == all_["background"][all_["signal"] >= efficiency].min()
