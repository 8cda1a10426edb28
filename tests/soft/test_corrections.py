"""Scale factors against correctionlib itself; reweighting against the ratio of densities."""

from __future__ import annotations

import correctionlib
import correctionlib.schemav2 as schema
import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    random = {"nodetype": "hashprng", "inputs": ["pt"], "distribution": "normal"}
    inputs = [variable("systematic", "string"), variable("eta"), variable("pt")]
    return {
        "schema_version": 2,
        "corrections": [
            {"name": "nested", "version": 1, "inputs": inputs, "output": variable("sf"), "data": nested},
            {"name": "flat", "version": 1, "inputs": inputs[1:], "output": variable("sf"), "data": flat},
            {"name": "random", "version": 1, "inputs": inputs[2:], "output": variable("sf"), "data": random},
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
    assert soft.ScaleFactor.from_correctionlib(path, "flat").inputs == ("eta", "pt")


def equals(correction, factor, columns, *arguments):
    with soft.hard():
        found = factor(*columns, width=1.0)
    np.testing.assert_allclose(found, correction.evaluate(*arguments), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("weights", ["nominal", "up", "down"])
def test_pileup_weights_of_cms(open_data, weights):
    path = published(open_data, "puWeights")
    (oracle,) = correctionlib.CorrectionSet.from_file(str(path)).values()
    factor = soft.ScaleFactor.from_correctionlib(path, oracle.name, weights=weights)
    pileup = np.random.default_rng(0).uniform(0, 98, 300)
    equals(oracle, factor, [pileup], pileup, weights)


def test_every_muon_scale_factor_of_cms(open_data):
    path = published(open_data, "muon_Z")
    random = np.random.default_rng(1)
    eta, pt = random.uniform(-2.4, 2.4, 400), 120.0 + random.exponential(50, 400)
    corrections = correctionlib.CorrectionSet.from_file(str(path))
    assert len(corrections) > 25
    for name, oracle in corrections.items():
        factor = soft.ScaleFactor.from_correctionlib(path, name, scale_factors="systup")
        assert factor.inputs == ("eta", "pt")
        equals(oracle, factor, [eta, pt], eta, pt, "systup")


def published(open_data, name):
    path = open_data / "zprime" / f"{name}.json.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}")
    return path


EXPRESSIONS = (
    "-x^2 + [0]*max(y, 3) - min(x, y)/(1 + abs(x*y))",
    "(x > 0.5)*exp(-x) + (x <= 0.5)*[1] + (y >= 1 && x < 2) + (x == 0 || y != 1)",
    "log(2 + x^2) + log10(1 + y) + sqrt(y) + erf(x) + pow(2 + x, [0]) + atan2(x, y)",
    "sin(x) + cos(x) - tan(x/4) + asin(x/9) + acos(x/9) + atan(x) + sinh(x) + cosh(x) + tanh(x) + asinh(x) + acosh(1 + y) + atanh(x/9)",
)


def one(data, *inputs, **more):
    """A file with one correction of some real inputs."""
    variables = [{"name": name, "type": kind} for name, kind in inputs]
    correction = {"name": "one", "version": 1, "inputs": variables, "output": {"name": "sf", "type": "real"}}
    return {"schema_version": 2, "corrections": [{**correction, "data": data, **more}]}


def oracle(content):
    return correctionlib.CorrectionSet(schema.CorrectionSet.model_validate(content))["one"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_formulas_are_those_of_correctionlib(expression, points):
    formula = {"nodetype": "formula", "expression": expression, "parser": "TFormula", "variables": ["x", "y"]}
    content = one({**formula, "parameters": [1.5, -2.0]}, ("y", "real"), ("x", "real"))
    x, y = points
    equals(oracle(content), soft.ScaleFactor.from_correctionlib(content, "one"), [y, x], y, x)


@pytest.mark.parametrize("flow", ["clamp", "wrap", 7.5, "formula"])
def test_transforms_and_flows_are_those_of_correctionlib(flow, points):
    reference = {"nodetype": "formularef", "index": 0, "parameters": [0.5]}
    inner = {"nodetype": "binning", "input": "pt", "edges": [20, 30, 45], "content": [reference, 2.0]}
    outer = {
        "nodetype": "multibinning",
        "inputs": ["eta", "n"],
        "edges": [{"n": 2, "low": 0.5, "high": 1.5}, [0, 2, 4]],
    }
    inner["flow"] = outer["flow"] = reference if flow == "formula" else flow
    outer["content"] = [1.0, inner, 3.0, reference]
    rule = {"nodetype": "formula", "expression": "abs(x)", "parser": "TFormula", "variables": ["eta"]}
    folded = {"nodetype": "transform", "input": "eta", "rule": rule, "content": outer}
    halved = {"nodetype": "binning", "input": "n", "edges": [0, 3, 10], "content": [1.5, 3.2], "flow": "clamp"}
    data = {"nodetype": "transform", "input": "n", "rule": halved, "content": folded}
    generic = {"nodetype": "formula", "expression": "[0]*x + 1", "parser": "TFormula", "variables": ["pt"]}
    content = one(data, ("eta", "real"), ("n", "int"), ("pt", "real"), generic_formulas=[generic])
    eta, pt = points
    n = np.random.default_rng(3).integers(0, 10, eta.shape)
    factor = soft.ScaleFactor.from_correctionlib(content, "one")
    equals(oracle(content), factor, [eta - 1, n, pt], eta - 1, n, pt)
    softened = factor(eta - 1, n, pt, width=(1e-7, 1e-7, 1e-7))
    np.testing.assert_allclose(softened, oracle(content).evaluate(eta - 1, n, pt), rtol=1e-6)
    three = soft.ScaleFactor.from_correctionlib(content, "one", n=3)
    assert three.inputs == ("eta", "pt")
    equals(oracle(content), three, [eta - 1, pt], eta - 1, 3, pt)


def test_a_formula_need_have_no_value_outside_of_its_bin():
    """A square root that begins with its bin, a logarithm that has no value at its border, and one of another input beside them."""

    def formula(expression, *of):
        return {"nodetype": "formula", "expression": expression, "parser": "TFormula", "variables": list(of)}

    x, y = np.array([-3.0, -1.0, 0.5, 20.0, 49.0, 50.0, 70.0, 150.0]), np.linspace(1.0, 9.0, 8)
    data = {"nodetype": "binning", "input": "x", "edges": [-10.0, 0.0, 50.0, 100.0], "flow": formula("log(x-99)", "x")}
    data["content"] = [formula("y*sqrt(-x)", "x", "y"), formula("log(x)", "x"), formula("sqrt(x-50)", "x")]
    content = one(data, ("x", "real"), ("y", "real"))
    factor = soft.ScaleFactor.from_correctionlib(content, "one")
    equals(oracle(content), factor, [x, y], x, y)
    data["content"][1] = formula("sqrt(x)", "x")
    data["flow"] = "clamp"
    content = one(data, ("x", "real"), ("y", "real"))
    factor = soft.ScaleFactor.from_correctionlib(content, "one")
    equals(oracle(content), factor, [x, y], x, y)
    smooth = x != 50.0  # where one of the formulas begins
    narrow, exact = factor(x, y, width=0.01), oracle(content).evaluate(x, y)
    np.testing.assert_allclose(narrow[smooth], exact[smooth], rtol=1e-9)
    slopes = jax.vmap(jax.grad(lambda one, other: factor(one[None], other[None], width=2.0)[0]))(x, y)
    up, down = (factor(x + step, y, width=2.0) for step in (1e-6, -1e-6))
    np.testing.assert_allclose(slopes[smooth], (up - down)[smooth] / 2e-6, rtol=1e-5, atol=1e-7)


def test_whole_numbers_lose_no_digits():
    """They have more than 32 bits of a floating-point number hold, in the input and in the factors."""
    n = 2**25 + np.arange(-3, 5)
    edges, values = [0.0, 2.0**25 + 1, 2.0**26], [0.9731234567, 1.1234567891]
    data = {"nodetype": "binning", "input": "n", "edges": edges, "content": values, "flow": "clamp"}
    content = one(data, ("n", "int"))
    equals(oracle(content), soft.ScaleFactor.from_correctionlib(content, "one"), [n], n)
    smooth = soft.ScaleFactor(("n",), (np.array(edges[1:2]),), np.array(values))(n, width=1.0)
    above = 1.0 / (1.0 + np.exp(-(n - edges[1])))
    np.testing.assert_allclose(smooth, values[0] + (values[1] - values[0]) * above, rtol=1e-12)


@pytest.mark.parametrize(("low", "high", "bins"), [(0.0, 1.0, 10), (-2.4, 2.4, 48), (0.1, 0.8, 7), (1e-3, 1e3, 6)])
def test_equal_bins_begin_where_they_do_in_correctionlib(low, high, bins):
    edges = np.linspace(low, high, bins + 1)
    near = np.concatenate([edges, np.round(edges, 1), low + (high - low) / bins * np.arange(bins + 1)])
    x = np.concatenate([near, np.nextafter(near, high), np.nextafter(near, low)])
    x = x[x < high - 1e-9]  # next to its upper end correctionlib 2.9 rounds into the bin of the overflow
    data = {"nodetype": "binning", "input": "x", "edges": {"n": bins, "low": low, "high": high}, "flow": "clamp"}
    content = one({**data, "content": list(map(float, range(bins)))}, ("x", "real"))
    equals(oracle(content), soft.ScaleFactor.from_correctionlib(content, "one"), [x], x)


def test_what_is_outside_of_an_error_flow_is_named(content):
    factor = soft.ScaleFactor.from_correctionlib(content, "flat")
    eta, pt = np.array([1.0, 2.5]), np.array([30.0, 40.0])
    for context in (soft.hard(), soft.sharpened(1.0)):
        with (
            context,
            pytest.raises(CorrectionError, match=r"eta in \[0, 2.4\); pt in \[20, 50\)\), got 1 of 2 outside"),
        ):
            factor(eta, pt, width=0.1)
    np.testing.assert_array_equal(np.isnan(jax.jit(lambda e, p: factor(e, p, width=0.1))(eta, pt)), [False, True])
    objects = Ragged(np.array([[1.0, 9.0]]), np.array([[True, False]]))  # an empty slot is nowhere
    assert factor(objects, objects * 30, width=0.1).where(0.0)[0, 0] > 1


def test_nonsense_is_an_error(content):
    read = soft.ScaleFactor.from_correctionlib
    with pytest.raises(CorrectionError, match="one of the corrections nested, flat, random"):
        read(content, "muon")
    with pytest.raises(CorrectionError, match="'systematic' as a keyword"):
        read(content, "nested")
    with pytest.raises(CorrectionError, match="got 'sideways'"):
        read(content, "nested", systematic="sideways")
    with pytest.raises(CorrectionError, match="'hashprng'"):
        read(content, "random")
    with pytest.raises(CorrectionError, match="fix some of the inputs eta, pt"):
        read(content, "flat", phi=1.0)
    with pytest.raises(CorrectionError, match="this is a constant"):
        read(content, "flat", eta=1.0, pt=25.0)
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
