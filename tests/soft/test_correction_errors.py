"""Corrections that make no sense are named errors: tables, files, and formulas that would end the process."""

from __future__ import annotations

import copy
import gzip
import json

import correctionlib
import jax
import numpy as np
import pytest

from diffea import soft
from diffea.errors import CorrectionError

BINNING = {"nodetype": "binning", "input": "x", "edges": [0.0, 1.0, 2.0], "content": [1.0, 2.0], "flow": "clamp"}
PLANE = {
    "nodetype": "multibinning",
    "inputs": ["x", "n"],
    "edges": [[0.0, 1.0, 2.0], {"n": 2, "low": 0.0, "high": 4.0}],
    "content": [1.0, 2.0, 3.0, 4.0],
    "flow": 1.5,
}
CATEGORY = {
    "nodetype": "category",
    "input": "syst",
    "content": [{"key": "nominal", "value": BINNING}, {"key": "up", "value": PLANE}],
}
FORMULA = {
    "nodetype": "formula",
    "expression": "[0]*x + 1",
    "parser": "TFormula",
    "variables": ["x"],
    "parameters": [2.0],
}
TYPES = {"syst": "string", "x": "real", "n": "int"}


def content(data, **changes):
    inputs = [{"name": name, "type": kind} for name, kind in TYPES.items()]
    correction = {"name": "sf", "version": 1, "inputs": inputs, "output": {"name": "sf", "type": "real"}, "data": data}
    return {"schema_version": 2, "corrections": [{**correction, **changes}]}


def read(data, fixed=None, **changes):
    given = {"syst": "nominal"} if fixed is None else fixed
    return soft.ScaleFactor.from_correctionlib(content(data, **changes), "sf", **given)


def changed(node, path, value):
    node = copy.deepcopy(node)
    inner = node
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return node


NAN = float("nan")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (changed(BINNING, ["edges"], [2.0, 1.0, 0.0]), "edges of 'x' that ascend"),
        (changed(BINNING, ["edges"], [0.0, 2.0, 1.0]), "edges of 'x' that ascend"),
        (changed(BINNING, ["edges"], [0.0, 1.0, 1.0]), "edges of 'x' that ascend"),
        (changed(BINNING, ["edges"], [0.0, NAN, 2.0]), "a finite number, got nan"),
        (changed(BINNING, ["edges"], [0.0, "one", 2.0]), "schema 2: TypeError"),
        (changed(BINNING, ["edges"], [0.0]), "at least two edges"),
        (changed(BINNING, ["edges"], {"n": 2, "low": 2.0, "high": 0.0}), "edges of 'x' that ascend"),
        (changed(BINNING, ["edges"], {"n": 2, "low": 0.0, "high": NAN}), "a finite number, got nan"),
        (changed(BINNING, ["edges"], {"n": 0, "low": 0.0, "high": 2.0}), "a number of bins, got 0"),
        (changed(BINNING, ["content"], [1.0, NAN]), "a finite number, got nan"),
        (changed(BINNING, ["content"], [1.0, float("inf")]), "a finite number, got inf"),
        (changed(BINNING, ["content"], [1.0, None]), "a finite number, got None"),
        (changed(BINNING, ["content"], [1.0, True]), "a finite number, got True"),
        (changed(BINNING, ["content"], [1.0]), "a content for each of 2 bins of x, got 1"),
        (changed(BINNING, ["flow"], "extend"), "one of clamp, error, wrap, got 'extend'"),
        (changed(BINNING, ["flow"], NAN), "a finite number, got nan"),
        ({**BINNING, "edges": [0.0, 1.0, "inf"], "flow": "wrap"}, "finite edges of 'x'"),
        (changed(BINNING, ["input"], "pt"), "one of the inputs syst, x, n of type real or int, got 'pt'"),
        (changed(BINNING, ["input"], "syst"), "of type real or int, got 'syst'"),
        (changed(PLANE, ["inputs"], ["x", "x"]), "each input once"),
        (changed(PLANE, ["inputs"], ["x"]), "edges of each input"),
        (changed(PLANE, ["content"], [1.0, 2.0, 3.0]), "each of 4 bins of x, n, got 3"),
        (changed(CATEGORY, ["content", 1, "key"], "nominal"), "different keys of type string"),
        (changed(CATEGORY, ["content", 1, "key"], 3), "different keys of type string"),
        (changed(CATEGORY, ["input"], "x"), "of type string or int, got 'x'"),
        (changed(CATEGORY, ["content", 0, "value", "edges"], [1.0, 0.0, 2.0]), "correction 'sf': .* ascend"),
        (changed(FORMULA, ["parameters"], [NAN]), "a finite number, got nan"),
        (changed(FORMULA, ["parameters"], ["a"]), "a finite number, got 'a'"),
        (changed(FORMULA, ["parameters"], []), "Insufficient parameters"),
        (changed(FORMULA, ["variables"], ["pt"]), "could not find variable pt"),
        (changed(FORMULA, ["expression"], 3), "schema 2"),
        ({"nodetype": "formularef", "index": 0, "parameters": [1.0]}, "one of 0 generic formulas, got 0"),
        ({"nodetype": "transform", "input": "syst", "rule": 1.0, "content": 1.0}, "of type real or int, got 'syst'"),
        ({"nodetype": "binning", "input": "x"}, "schema 2: KeyError: 'edges'"),
        ({"edges": []}, "schema 2: KeyError: 'nodetype'"),
        ([1.0], "a finite number, got"),
        (None, "a finite number, got None"),
    ],
)
def test_a_node_that_makes_no_sense_is_named(data, text) -> None:
    with pytest.raises(CorrectionError, match=text):
        read(data)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"inputs": [{"name": "x", "type": "real"}] * 2}, "every input of 'sf' once, got x twice"),
        ({"inputs": [{"name": "x", "type": "complex"}]}, "inputs of 'sf' with name and type"),
        ({"inputs": [{"name": "x"}]}, "inputs of 'sf' with name and type"),
        ({"inputs": None}, "inputs of 'sf' with name and type"),
        ({"name": "other"}, "one of the corrections other, got 'sf'"),
    ],
)
def test_a_correction_that_makes_no_sense_is_named(changes, text) -> None:
    with pytest.raises(CorrectionError, match=text):
        read(BINNING, {}, **changes)


@pytest.mark.parametrize(
    "fixed",
    [
        {"syst": 3},
        {"syst": None},
        {"x": NAN},
        {"x": "1"},
        {"x": True},
        {"n": 1.5},
        {"n": np.float64(1.0)},
        {"x": np.ones(2)},
    ],
)
def test_an_input_is_fixed_to_a_value_of_its_type(fixed) -> None:
    with pytest.raises(CorrectionError, match=r"to be fixed to a finite value of type"):
        read(PLANE, fixed)
    assert read(PLANE, {"syst": "up", "n": np.int64(1)}).inputs == ("x",)


def test_names_come_once() -> None:
    twice = content(BINNING)
    twice["corrections"] *= 2
    with pytest.raises(CorrectionError, match="got 'sf', which comes twice"):
        soft.ScaleFactor.from_correctionlib(twice, "sf")


@pytest.mark.parametrize(
    "source", [[], {}, {"corrections": None}, {"corrections": [1]}, {"schema_version": 1, "corrections": []}]
)
def test_what_is_no_set_of_corrections_is_named(source, tmp_path) -> None:
    (tmp_path / "f.json").write_text(json.dumps(source))
    with pytest.raises(CorrectionError, match="schema 2"):
        soft.ScaleFactor.from_correctionlib(tmp_path / "f.json", "sf")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing.json", None),
        ("f.json", b"{"),
        ("f.json", b"\xff\xfe"),
        ("f.json", b'{"corrections": ' + b"[" * 100_000),
        ("f.json.gz", b"{}"),
        ("f.json.gz", gzip.compress(b"{}" * 1000, mtime=0)[:-9]),
        ("f.json.gz", b"\x1f\x8b\x08" + bytes(40)),
    ],
)
def test_what_is_no_file_of_corrections_is_named(name, text, tmp_path) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(CorrectionError, match=f"expected .*{name} to be a correctionlib file"):
        soft.ScaleFactor.from_correctionlib(tmp_path / name, "sf")


DEEP = {
    "brackets": lambda n: "(" * n + "x" + ")" * n,
    "open brackets": lambda n: "(" * n,
    "functions": lambda n: "sin(" * n + "x" + ")" * n,
    "minus": lambda n: "-(" * n + "x" + ")" * n,
    "sums from the right": lambda n: "x+(" * n + "x" + ")" * n,
    "a long sum": lambda n: "+".join(["x"] * n),
    "a long chain of powers": lambda n: "^".join(["x"] * n),
}


@pytest.mark.parametrize("depth", [250, 3000, 100_000])
@pytest.mark.parametrize("nested", DEEP.values(), ids=DEEP)
def test_a_formula_that_is_nested_too_deep_does_not_end_the_process(nested, depth) -> None:
    formula = {**FORMULA, "expression": nested(depth), "parameters": []}
    with pytest.raises(CorrectionError, match="at most 200 operations within each other, 2000 in all"):
        read(formula)


def test_a_formula_as_deep_as_allowed_is_that_of_correctionlib() -> None:
    for make in ("brackets", "functions", "a long sum"):
        formula = {**FORMULA, "expression": DEEP[make](150), "parameters": []}
        oracle = correctionlib.CorrectionSet.from_string(json.dumps(content(formula)))["sf"]
        x = np.array([0.1, 1.0])
        with soft.hard():
            found = read(formula)(x, np.zeros(2), width=1.0)
        np.testing.assert_allclose(found, oracle.evaluate("nominal", x, np.zeros(2, int)), rtol=1e-12)


def test_nodes_that_are_nested_too_deep_are_named() -> None:
    node = 1.0
    for _ in range(3000):
        node = {**BINNING, "edges": [0.0, 1.0], "content": [node]}
    with pytest.raises(CorrectionError, match="nested more than 200 deep"):
        read(node)


@pytest.mark.parametrize("flow", ["clamp", 3.0])
def test_a_bin_without_end_has_the_slope_of_a_bin_with_one(flow) -> None:
    """Infinite edges, at which a transition has nothing to do."""
    edges = [float("-inf"), 0.0, "inf"]
    factor = read({**BINNING, "edges": edges, "flow": flow})
    x = np.array([-2.0, 0.1])

    def total(width):
        return factor(x, np.zeros(2), width=(width, 1.0)).sum()

    expected = 1.0 + 1.0 / (1.0 + np.exp(-x / 0.5))
    np.testing.assert_allclose(factor(x, np.zeros(2), width=(0.5, 1.0)), expected, atol=0.02)
    step = 1e-6
    slope = (total(0.5 + step) - total(0.5 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(total)(0.5), slope, rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "edges", "values"),
    [
        (("pt",), ([2.0, 1.0],), np.ones(3)),
        (("pt",), ([1.0, 1.0],), np.ones(3)),
        (("pt",), ([1.0, NAN],), np.ones(3)),
        (("pt",), ([1.0, np.inf],), np.ones(3)),
        (("pt",), ([1.0, 2.0],), [1.0, NAN, 1.0]),
        (("pt",), ([1.0, 2.0],), [1.0, np.inf, 1.0]),
        (("pt",), ([1.0, 2.0],), [1.0, 1j, 1.0]),
        (("pt",), ([1.0, 2.0],), ["1", "2", "3"]),
        (("pt",), (["1", "2"],), np.ones(3)),
        (("pt",), ([[1.0], [2.0, 3.0]],), np.ones(3)),
        (("pt", "pt"), ([1.0], [1.0]), np.ones((2, 2))),
        (("pt",), ([1.0], [1.0]), np.ones((2, 2))),
        ((3,), ([1.0],), np.ones(2)),
    ],
)
def test_a_table_that_makes_no_sense_is_named(inputs, edges, values) -> None:
    with pytest.raises(CorrectionError, match="expected"):
        soft.ScaleFactor(inputs, edges, values)
