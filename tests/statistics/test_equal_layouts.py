"""Models of one structure share what was compiled, whatever their numbers; models of another do not."""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

from diffea import HistFactory, objectives

SPEC = {
    "channels": [
        {
            "name": "region",
            "samples": [
                {
                    "name": "higgs",
                    "data": [2.0, 5.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {
                    "name": "z",
                    "data": [40.0, 30.0],
                    "modifiers": [
                        {"name": "lumi", "type": "lumi", "data": None},
                        {
                            "name": "energy",
                            "type": "histosys",
                            "data": {"hi_data": [44.0, 31.0], "lo_data": [37.0, 28.0]},
                        },
                        {"name": "mc", "type": "staterror", "data": [2.0, 1.5]},
                    ],
                },
            ],
        }
    ],
    "parameters": [{"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]], "inits": [1.0]}],
}


def changed(*path: object, to: object) -> dict:
    spec = copy.deepcopy(SPEC)
    place = spec
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return spec


@pytest.fixture
def compiled():
    """How many programs XLA has compiled."""
    counts = [0]

    def count(event: str, _: float, **__: object) -> None:
        counts[0] += event.endswith("backend_compile_duration")

    monitoring.register_event_duration_secs_listener(count)
    yield lambda: counts[0]
    monitoring.unregister_event_duration_listener(count)


def test_other_numbers_compile_nothing_and_are_not_mistaken_for_the_first(compiled) -> None:
    slopes = []
    for data in ([40.0, 30.0], [60.0, 20.0]):
        model = HistFactory(changed("channels", 0, "samples", 1, "data", to=data))
        before = compiled()
        value, slope = jax.value_and_grad(lambda yields, model=model: objectives.cls(model(yields)))(model.yields)
        slopes.append((float(value), np.asarray(slope.nominal), compiled() - before))
    assert slopes[0][2] > 0
    assert slopes[1][2] == 0
    alone = jax.jit(lambda yields: objectives.cls(model(yields)))  # traced anew, for this model only
    assert slopes[1][0] == pytest.approx(float(alone(model.yields)), rel=1e-12)
    assert slopes[0][0] != slopes[1][0]


@pytest.mark.parametrize(
    "spec",
    [
        changed("channels", 0, "samples", 1, "name", to="top"),
        changed("parameters", 0, "sigmas", to=[0.03]),
        changed("parameters", 0, "inits", to=[1.1]),
        changed("parameters", 0, "bounds", to=[[0.4, 1.5]]),
        changed("channels", 0, "samples", 1, "modifiers", 1, "name", to="resolution"),
    ],
)
def test_another_structure_is_another_layout(spec) -> None:
    assert HistFactory(SPEC)().layout != HistFactory(spec)().layout


def test_the_same_structure_is_an_equal_layout_with_an_equal_hash() -> None:
    first, second = (
        HistFactory(SPEC)().layout,
        HistFactory(changed("channels", 0, "samples", 0, "data", to=[3.0, 1.0]))().layout,
    )
    assert first is not second
    assert first == second
    assert hash(first) == hash(second)
    assert first != "a layout"


def test_each_model_keeps_its_own_observations_and_places() -> None:
    def workspace(seen: list[float]) -> dict:
        measurement = {"name": "m", "config": {"poi": "mu", "parameters": SPEC["parameters"]}}
        return {
            "channels": SPEC["channels"],
            "measurements": [measurement],
            "observations": [{"name": "region", "data": seen}],
            "version": "1.0.0",
        }

    bounds = [HistFactory.from_workspace(workspace(seen))() for seen in ([41.0, 33.0], [38.0, 29.0])]
    through = [jax.jit(lambda bound: bound)(bound) for bound in bounds]
    for bound, same, seen in zip(bounds, through, ([41.0, 33.0], [38.0, 29.0]), strict=True):
        assert bound.observed_data()[:2].tolist() == seen
        assert same.observed_data()[:2].tolist() == seen
    slope = jax.grad(lambda bound: jnp.sum(bound.observed_data()[:2] ** 2))(bounds[0])
    assert slope.observations.tolist() == [82.0, 66.0]
