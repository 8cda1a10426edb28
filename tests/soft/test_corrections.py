"""Scale factors against correctionlib itself; reweighting against the ratio of densities."""

from __future__ import annotations

import correctionlib
import correctionlib.schemav2 as schema
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.finite_differences import check

from diffea import soft
from diffea.errors import CorrectionError
from diffea.events.ragged import Ragged


@pytest.fixture(scope="module")
def content():
    def variable(name, kind="real"):
        return {"name": name, "type": kind}

    def binning(name, edges, values, flow="clamp"):
        return {"nodetype": "binning", "input": name, "edges": edges, "content": values, "flow": flow}

    nested = {
        "nodetype": "category",
        "input": "systematic",
        "content": [
            {
                "key": "nominal",
                "value": binning(
                    "eta",
                    [0.0, 1.0, 2.4],
                    [binning("pt", [20, 30, 50], [0.9, 0.95]), binning("pt", [20, 40, 50], [0.8, 0.99])],
                ),
            },
            {"key": "up", "value": binning("eta", {"n": 2, "low": 0.0, "high": 2.4}, [1.1, 1.2], flow=1.5)},
        ],
    }
    flat = {
        "nodetype": "multibinning",
        "inputs": ["eta", "pt"],
        "edges": [[0.0, 1.0, 2.4], [20, 30, 50]],
        "content": [1.0, 2.0, 3.0, 4.0],
        "flow": "error",
    }
    formula = {"nodetype": "formula", "expression": "x", "parser": "TFormula", "variables": ["pt"]}
    inputs = [variable("systematic", "string"), variable("eta"), variable("pt")]
    return {
        "schema_version": 2,
        "corrections": [
            {"name": "nested", "version": 1, "inputs": inputs, "output": variable("sf"), "data": nested},
            {"name": "flat", "version": 1, "inputs": inputs[1:], "output": variable("sf"), "data": flat},
            {"name": "formula", "version": 1, "inputs": inputs[2:], "output": variable("sf"), "data": formula},
        ],
    }


@pytest.fixture(scope="module")
def points():
    random = np.random.default_rng(0)
    return random.uniform(-0.5, 3.0, 500), random.uniform(10, 60, 500)


@pytest.mark.parametrize("systematic", ["nominal", "up"])
def test_the_hard_twin_is_correctionlib(content, points, systematic):
    oracle = correctionlib.CorrectionSet(schema.CorrectionSet.model_validate(content))["nested"]
    factor = soft.ScaleFactor.from_correctionlib(content, "nested", systematic=systematic)
    assert factor.inputs == ("eta", "pt")
    with soft.hard():
        found = factor(*points, width=1.0)
    np.testing.assert_allclose(found, oracle.evaluate(systematic, *points), rtol=1e-15)
    np.testing.assert_allclose(factor(*points, width=(1e-6, 1e-6)), found, rtol=1e-5)


def test_soft_borders_are_a_mixture_of_bins(content):
    factor = soft.ScaleFactor.from_correctionlib(content, "flat")
    np.testing.assert_allclose(factor(np.array([1.0]), np.array([30.0]), width=(0.1, 1.0)), 2.5, atol=1e-3)
    objects = Ragged(np.array([[0.5, 2.0]]), np.array([[True, False]]))
    with soft.hard():
        np.testing.assert_array_equal(factor(objects, np.array([45.0]), width=1.0).where(-1), [[2.0, -1.0]])


def test_a_file_is_read(content, tmp_path):
    path = tmp_path / "corrections.json"
    path.write_text(schema.CorrectionSet.model_validate(content).model_dump_json())
    assert soft.ScaleFactor.from_correctionlib(path, "flat").values.shape == (4, 4)


@pytest.mark.parametrize("weights", ["nominal", "up", "down"])
def test_a_compressed_file_of_cms(open_data, weights):
    path = open_data / "zprime" / "puWeights.json.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    (oracle,) = correctionlib.CorrectionSet.from_file(str(path)).values()
    factor = soft.ScaleFactor.from_correctionlib(path, oracle.name, weights=weights)
    pileup = np.random.default_rng(0).uniform(0, 98, 300)
    with soft.hard():
        found = factor(pileup, width=1.0)
    np.testing.assert_allclose(found, oracle.evaluate(pileup, weights), rtol=1e-12, atol=1e-15)


def test_gradients(content):
    factor = soft.ScaleFactor.from_correctionlib(content, "flat")
    check(lambda eta, pt, w: factor(eta, pt, width=(0.2, w)), np.array([0.9, 1.8]), np.array([28.0, 44.0]), 5.0)


def test_nonsense_is_an_error(content):
    read = soft.ScaleFactor.from_correctionlib
    with pytest.raises(CorrectionError, match="one of the corrections nested, flat, formula"):
        read(content, "muon")
    with pytest.raises(CorrectionError, match="'systematic' as a keyword"):
        read(content, "nested")
    with pytest.raises(CorrectionError, match="got 'sideways'"):
        read(content, "nested", systematic="sideways")
    with pytest.raises(CorrectionError, match="'formula'"):
        read(content, "formula")
    with pytest.raises(CorrectionError, match="column for each of eta, pt"):
        read(content, "flat")(np.ones(3), width=1.0)
    with pytest.raises(CorrectionError, match="values of shape"):
        soft.ScaleFactor(("pt",), (np.array([1.0]),), np.ones(3))


def test_reweighting_moves_a_mean():
    def log_density(x, mean):
        return -0.5 * (x - mean) ** 2

    x = np.random.default_rng(2).normal(1.0, 1.0, 20000)

    def mean(shifted):
        weights = soft.reweight(log_density, x, shifted, 1.0)
        return jnp.sum(weights * x) / jnp.sum(weights)

    np.testing.assert_allclose(soft.reweight(log_density, x, 1.0, 1.0), 1.0)
    value, slope = jax.value_and_grad(mean)(1.2)
    assert abs(value - 1.2) < 0.03
    assert abs(slope - 1.0) < 0.05
