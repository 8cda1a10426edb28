"""Where the sensitivity comes from, soft against hard with its error, the objective along parameters, and what a fit knows."""

from __future__ import annotations

import dataclasses
import functools

import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uproot

import diffea
from diffea import objectives, soft
from diffea.run.gap import MOST, PARTS, along, soft_less_hard
from diffea.run.nuisances import fitted
from diffea.run.sensitivity import sensitivity
from tests.samples import QuietSchema, write_fileset

PARAMS = {"met": 30.0, "edges": np.array([2.0, 3.0])}
WIDTH = 6.0


class Search(diffea.DifferentiableProcessor):
    """One cut, and two numbers that do nothing."""

    channels = {"c": hist.axis.Regular(5, 0, 200, name="met", underflow=False, overflow=False)}  # noqa: RUF012

    def columns(self, events):
        return {"met": events.MET.pt, "weight": events.genWeight}

    def fill(self, params, columns):
        keep = soft.above(columns["met"], params["met"], width=WIDTH) + 0.0 * jnp.sum(params["edges"])
        yield diffea.Fill("c", jnp.clip(columns["met"], 0.0, 199.0), columns["weight"] * keep)


SPEC = {
    "channels": [
        {
            "name": "c",
            "samples": [
                {"name": "signal", "data": "signal", "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
                {
                    "name": "bkg",
                    "data": "bkg",
                    "modifiers": [
                        {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
                        {"name": "stat", "type": "staterror", "data": "bkg"},
                    ],
                },
            ],
        }
    ]
}
OBJECTIVE = functools.partial(objectives.poi_uncertainty)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("diagnostics"))


@pytest.fixture(scope="module")
def templates(fileset):
    with diffea.distribute(Search(), fileset, schemaclass=QuietSchema) as held:
        yield held


@pytest.fixture(scope="module")
def model():
    return diffea.HistFactory(SPEC)


def test_sensitivity_is_the_finite_difference_in_every_bin(templates, model) -> None:
    whole = templates.hard(PARAMS)
    found = sensitivity(model, whole, lambda templates: OBJECTIVE(model(templates)))
    assert set(found) == {"c/signal", "c/bkg"}
    for name, entry in found.items():
        template, span = whole["c", name[2:]], whole.layout.spans["c", name[2:], "nominal"]
        places = np.arange(whole.layout.size)[span][1:-1]  # without the flow bins
        assert len(entry["gradient"]) == len(places) == 5
        for place, slope in zip(places, entry["gradient"], strict=True):
            step = 1e-3 * max(abs(float(whole.values_flat[place])), 1.0)

            def moved(way, place=place, step=step):
                values = np.array(whole.values_flat, float)
                values[place] += way * step
                return float(OBJECTIVE(model(dataclasses.replace(whole, values_flat=values))))

            assert slope == pytest.approx((moved(1) - moved(-1)) / (2 * step), rel=1e-4, abs=1e-9)
        np.testing.assert_allclose(entry["by_yield"], np.multiply(entry["gradient"], template.values))
        np.testing.assert_allclose(entry["by_statistics"], np.multiply(entry["gradient"], np.sqrt(template.variances)))
    assert np.abs(found["c/signal"]["gradient"]).max() > 0


def test_soft_less_hard_and_its_error_are_those_of_the_events(templates, model, fileset) -> None:
    """Of a sum of weights both are sums over events: what each event's two weights differ by, and how that scatters."""

    def events(bound):
        return jnp.sum(bound.expected_data(jnp.asarray(bound.config.suggested_init()))[:5])

    differences = []
    for dataset in fileset.values():
        for file in dataset["files"]:
            arrays = uproot.open(file)["Events"].arrays(["MET_pt", "genWeight"], library="np")
            met, weight = (arrays[name].astype(float) for name in ("MET_pt", "genWeight"))
            differences.append(weight * (1 / (1 + np.exp(-(met - 30.0) / WIDTH)) - (met > 30.0)))
    each = np.concatenate(differences)
    found = soft_less_hard(templates, PARAMS, model, events)
    assert found["difference"] == pytest.approx(each.sum(), abs=0.02 * np.abs(each).sum())
    expected = np.sqrt(np.sum(each**2))
    assert PARTS == 8
    assert 0.5 * expected < found["error"] < 1.6 * expected, (found, expected)


def test_the_objective_along_each_parameter_is_that_of_exact_cuts(templates, model) -> None:
    bounds = {"met": (10.0, 70.0), "edges": (0.0, np.array([4.0, np.inf]))}
    found = along(templates, PARAMS, bounds, model, OBJECTIVE)
    assert set(found) == {"met", "edges[0]"}
    values = found["met"]["values"]
    assert values[0] == 10.0
    assert values[-1] == 70.0
    assert 30.0 in values
    assert values == sorted(values)
    for value, loss in zip(values, found["met"]["losses"], strict=True):
        assert loss == pytest.approx(float(OBJECTIVE(model(templates.hard({**PARAMS, "met": value})))), rel=1e-12)
    assert len(set(found["edges[0]"]["losses"])) == 1


def test_what_cannot_be_looked_along_is_left_out(templates, model) -> None:
    assert along(templates, PARAMS, None, model, OBJECTIVE) == {}
    many = {"met": 30.0, "edges": np.full(MOST + 1, 2.0)}
    assert along(templates, many, {"met": None, "edges": (0.0, 4.0)}, model, OBJECTIVE) == {}

    options = templates, PARAMS, {"met": (10.0, 190.0), "edges": None}, model
    middle = np.median(along(*options, OBJECTIVE)["met"]["losses"])

    def fails_above(bound):
        value = OBJECTIVE(bound)
        if value > middle:
            msg = "no fit"
            raise diffea.errors.FitError(msg)
        return value

    losses = along(*options, fails_above)["met"]["losses"]
    assert None in losses
    assert any(loss is not None for loss in losses)


def curvature(function, at, step=1e-3):
    """Second derivatives by central differences."""
    steps = step * np.eye(len(at))
    return np.array(
        [
            [
                sum(float(i * j * function(at + i * one + j * two)) for i in (1, -1) for j in (1, -1)) / (4 * step**2)
                for one in steps
            ]
            for two in steps
        ]
    )


def test_what_a_fit_knows_is_the_inverse_of_the_hessian(templates, model) -> None:
    bound = model(jax.tree.map(np.asarray, templates.hard(PARAMS)))
    config = bound.config
    start = jnp.asarray(config.suggested_init()).at[config.poi_index].set(0.0)
    data = bound.expected_data(start)
    covariance = np.linalg.inv(-curvature(jax.jit(lambda pars: jnp.sum(bound.logpdf(pars, data))), np.asarray(start)))
    found = fitted(bound)
    names, poi = list(config.par_names), config.poi_index
    assert {row["name"] for row in found["parameters"]} == set(names) - {"mu"}
    for row in found["parameters"]:
        place = names.index(row["name"])
        sigma = np.sqrt(covariance[place, place])
        assert row["uncertainty"] == pytest.approx(sigma, rel=1e-3)
        assert row["impact"] == pytest.approx(covariance[poi, place] / sigma, rel=1e-2, abs=1e-4)
        assert row["pull"] == pytest.approx(0.0, abs=1e-9)
    kinds = {row["name"]: (row["kind"], row["constraint"]) for row in found["parameters"]}
    assert kinds["norm"] == (
        "normsys",
        pytest.approx(np.sqrt(covariance[names.index("norm"), names.index("norm")]), rel=1e-5),
    )
    impacts = [abs(row["impact"]) for row in found["parameters"]]
    assert impacts == sorted(impacts, reverse=True)
    kept = found["correlations"]["parameters"]
    places = [names.index(name) for name in kept]
    scale = 1 / np.sqrt(np.diag(covariance))
    expected = (covariance * scale[:, None] * scale)[np.ix_(places, places)]
    assert {"mu", "norm"} <= set(kept)
    np.testing.assert_allclose(found["correlations"]["matrix"], expected, atol=2e-3)


def test_pulls_are_those_of_the_data(templates, model) -> None:
    bound = model(jax.tree.map(np.asarray, templates.hard(PARAMS)))
    pars = jnp.asarray(bound.config.suggested_init()).at[bound.config.poi_index].set(0.0)
    more = bound.expected_data(pars.at[bound.config.par_names.index("norm")].set(1.0))
    auxiliary = bound.expected_data(pars)[5:]
    found = fitted(bound, jnp.concatenate([more[:5], auxiliary]))
    (norm,) = (row for row in found["parameters"] if row["name"] == "norm")
    assert 0.1 < norm["pull"] < 1.0
    assert norm["pull"] == pytest.approx(norm["value"])
