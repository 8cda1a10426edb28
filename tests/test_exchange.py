"""Exchange files: the gradient through them against jax.grad through the whole, and files that do not fit."""

from __future__ import annotations

import ctypes
import functools
import json
import math

import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import exchange
from diffea.distributed import distribute
from diffea.errors import ExchangeError
from diffea.templates import Layout, TemplateSet
from tests.samples import PARAMS, QuietSchema, Search, write_fileset


def loss(templates):
    """Depends on values, variances and flow of every template, unevenly."""
    weights = jnp.arange(1, templates.values_flat.size + 1)
    total = jnp.sum(jnp.sqrt(50.0 + templates.values_flat) * weights)
    return total + 1e-3 * jnp.sum(jnp.abs(templates.variances_flat) ** 1.5)


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    fileset = write_fileset(tmp_path_factory.mktemp("data"))
    with distribute(Search(), fileset, schemaclass=QuietSchema, chunksize=2000, gradient="vjp") as templates:
        yield templates


@pytest.mark.slow
def test_gradient_through_files_equals_the_gradient_through_the_whole(templates, tmp_path) -> None:
    made = exchange.forward(templates, PARAMS, tmp_path / "templates.npz")
    value = exchange.respond(loss, tmp_path / "templates.npz", tmp_path / "cotangents.npz")
    gradient = exchange.backward(templates, PARAMS, tmp_path / "cotangents.npz")
    expected_value, expected = jax.value_and_grad(lambda params: loss(templates(params)))(PARAMS)
    assert value == pytest.approx(float(expected_value), rel=1e-14)
    assert exchange.read(tmp_path / "cotangents.npz").loss == value
    for name in PARAMS:
        assert float(gradient[name]) == pytest.approx(float(expected[name]), rel=1e-12), name
    again = exchange.read(tmp_path / "templates.npz").templates
    assert list(again) == list(made)
    for key in made:
        np.testing.assert_array_equal(again[key].flow_values, made[key].flow_values)
        assert again[key].axes[0].name == made[key].axes[0].name
        np.testing.assert_array_equal(again[key].axes[0].edges, made[key].axes[0].edges)
    assert again["many", "bkg"].to_hist().axes[0].traits.overflow is False
    assert {path.name for path in tmp_path.iterdir()} == {"templates.npz", "cotangents.npz"}


AXES = {"learned": (hist.axis.Regular(2, 0, 1, name="x"),), "plane": (hist.axis.Regular(2, 0, 1, name="y"),) * 2}
KEYS = (("learned", "a", "nominal"), ("plane", "a", "up"))


def toy(params, keys=KEYS):
    """Templates of one and of two axes, one with edges that are parameters."""
    layout = Layout(AXES, keys)
    values = jnp.outer(params["yields"], jnp.arange(1.0, layout.size // 2 + 1)).ravel()
    return TemplateSet(layout, values, values**2, {"learned": jnp.stack([jnp.zeros(()), params["edge"], jnp.ones(())])})


TOY = {"yields": np.array([2.0, 3.0]), "edge": 0.4}


def test_edges_that_are_parameters_have_cotangents_too(tmp_path) -> None:
    def toy_loss(templates):
        return jnp.sum(jnp.log(templates.values_flat)) * templates.edges["learned"][1] ** 2

    exchange.forward(toy, TOY, tmp_path / "t.npz")
    exchange.respond(toy_loss, tmp_path / "t.npz", tmp_path / "c.npz")
    gradient = exchange.backward(toy, TOY, tmp_path / "c.npz")
    expected = jax.grad(lambda params: toy_loss(toy(params)))(jax.tree.map(jnp.asarray, TOY))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), gradient, expected)


def test_templates_may_be_made_in_another_order(tmp_path) -> None:
    exchange.forward(toy, TOY, tmp_path / "t.npz")
    exchange.respond(lambda t: jnp.sum(t["plane", "a", "up"].values), tmp_path / "t.npz", tmp_path / "c.npz")
    slopes = exchange.read(tmp_path / "c.npz")
    np.testing.assert_array_equal(slopes.templates["plane", "a", "up"].values, np.ones((2, 2)))
    other = exchange._like(toy(TOY, KEYS[::-1]), slopes, "c.npz")
    np.testing.assert_array_equal(other.values_flat[other.layout.spans["learned", "a", "nominal"]], np.zeros(4))
    assert other.values_flat.sum() == 4


def test_files_that_do_not_fit_are_refused(tmp_path) -> None:
    exchange.forward(toy, TOY, tmp_path / "t.npz")
    exchange.respond(lambda t: jnp.sum(t.values_flat), tmp_path / "t.npz", tmp_path / "c.npz")
    with pytest.raises(ExchangeError, match=r"expected a file of format diffea-cotangents-1, got 'diffea-templates-1'"):
        exchange.backward(toy, TOY, tmp_path / "t.npz")
    with pytest.raises(ExchangeError, match="other parameters"):
        exchange.backward(toy, {**TOY, "edge": 0.5}, tmp_path / "c.npz")
    with pytest.raises(ExchangeError, match="plane/a/up differ"):
        exchange.backward(functools.partial(toy, keys=KEYS[:1]), TOY, tmp_path / "c.npz")
    with pytest.raises(ExchangeError, match="not finite"):
        exchange.respond(lambda t: jnp.log(-t.values_flat[0]), tmp_path / "t.npz", tmp_path / "bad.npz")
    whole = (tmp_path / "t.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExchangeError, match="truncated"):
        exchange.read(tmp_path / "half.npz")
    assert not (tmp_path / "bad.npz").exists()


axis = hist.axis
AXES_OF_EVERY_KIND = [
    axis.Regular(3, 0.1, 0.7, name="x", label="mass"),
    axis.Regular(3, 0, 1, name="x", underflow=False),
    axis.Regular(3, 0, 1, name="x", circular=True),
    axis.Regular(3, 0, 1, name="x", growth=True),
    axis.Regular(5, 1, 100, name="x", transform=axis.transform.log),
    axis.Regular(5, 1.3, 97.7, name="x", transform=axis.transform.sqrt),
    axis.Regular(5, 1, 100, name="x", transform=axis.transform.Pow(0.3)),
    axis.Variable([0, 1, 3], name="x", overflow=False),
    axis.Variable([-np.inf, 0, 1, np.inf], name="x"),
    axis.Variable([0, 1, 3], name="x", circular=True),
    axis.Integer(-2, 5, name="x"),
    axis.Integer(0, 4, name="x", circular=True),
    axis.Boolean(name="x"),
    axis.IntCategory([3, 7], name="x"),
    axis.IntCategory([3, 7], name="x", growth=True),
    axis.StrCategory(["0 jets", "≥ 1 jet"], name="x", label="category"),
    axis.StrCategory(["a"], name="x", overflow=False),
]


def made_with(*axes):
    """Templates of one channel, each bin a number of its own."""

    def templates(params):
        layout = Layout({"c": axes}, (("c", "a", "nominal"),))
        values = params["k"] * jnp.arange(1.0, layout.size + 1)
        return TemplateSet(layout, values, values**2)

    return templates


@pytest.mark.parametrize("one", AXES_OF_EVERY_KIND, ids=repr)
def test_an_axis_comes_back_of_its_kind(one, tmp_path) -> None:
    second = axis.Regular(2, 0, 1, name="y")
    made = exchange.forward(made_with(one, second), {"k": 2.0}, tmp_path / "t.npz")
    again = exchange.read(tmp_path / "t.npz").templates
    (found, other) = again["c", "a"].axes
    assert type(found) is type(one)
    assert (found, found.traits, found.label) == (one, one.traits, one.label)
    assert list(found) == list(one)
    assert other == second
    assert again["c", "a"].to_hist() == made["c", "a"].to_hist()


def test_an_axis_that_a_file_cannot_hold_is_refused(tmp_path) -> None:
    exp, log = (ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(function) for function in (math.exp, math.log))
    own = axis.Regular(3, 1, 9, name="own", transform=axis.transform.Function(log, exp))
    with pytest.raises(ExchangeError, match=r"axis 'own' is transformed by a function of its own"):
        exchange.forward(made_with(own), {"k": 1.0}, tmp_path / "t.npz")
    assert list(tmp_path.iterdir()) == []


def rewritten(path, change):
    """The same file with a changed header and arrays."""
    with np.load(path) as content:
        arrays = {name: content[name] for name in content.files}
    header = json.loads(str(arrays.pop("header")))
    change(header, arrays)
    np.savez(path, header=np.asarray(json.dumps(header)), **arrays)


def first_axis(**changes):
    return lambda header, arrays: header["channels"]["learned"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda header, arrays: header.clear(), "expected a file of format"),
        (lambda header, arrays: header.update(params=3), "SHA-256, got 3"),
        (lambda header, arrays: header.update(params="../x"), "SHA-256"),
        (lambda header, arrays: header.update(loss=1.0), "expected none as loss, got 1.0"),
        (lambda header, arrays: header.update(format="diffea-cotangents-1"), "expected a number as loss, got None"),
        (lambda header, arrays: header.pop("channels"), "describes no templates .*channels"),
        (lambda header, arrays: header.update(channels=[]), "expected templates as .channel"),
        (lambda header, arrays: header.update(channels={"learned": []}), "expected templates as .channel"),
        (lambda header, arrays: header["channels"].update(more=[]), "each channel with an axis"),
        (lambda header, arrays: header.update(templates=None), "describes no templates"),
        (lambda header, arrays: header.update(templates=[["learned", "a"]]), r"got \['learned', 'a'\]"),
        (lambda header, arrays: header.update(templates=[["learned", "a", 1]] * 2), "expected templates as"),
        (lambda header, arrays: header["templates"].append(header["templates"][0]), "every template once"),
        (first_axis(edges=[0.0, 1.0]), r"must have shape \(2,\)"),
        (first_axis(edges=[0.0, 0.9, 1.0]), "not those of the axis that it describes"),
        (first_axis(kind="Variable", edges=[0.0, 1.0, 0.5]), "describes no templates"),
        (first_axis(kind="Sphere"), "no axis is of kind 'Sphere'"),
        (first_axis(kind="StrCategory", categories=[1, 2]), "expected str, got 1"),
        (first_axis(kind="Integer", edges=[0.0, 0.5, 1.0]), "describes no templates"),
        (first_axis(growth="yes"), "expected bool, got 'yes'"),
        (first_axis(name=None), "expected str, got None"),
        (lambda header, arrays: arrays.pop("0/values"), "values of learned/a/nominal must have shape .*got None"),
        (lambda header, arrays: arrays.update({"0/values": np.zeros(5)}), r"got \(5,\) of float64"),
        (lambda header, arrays: arrays.update({"0/values": np.zeros(4, np.float32)}), "of float64, got .* float32"),
        (lambda header, arrays: arrays.update({"1/variances": np.full((4, 4), np.nan)}), "variances of plane/a/up must be finite, got nan"),
        (lambda header, arrays: arrays.update({"1/values": np.full((4, 4), -np.inf)}), "values of plane/a/up must be finite, got -inf"),
        (lambda header, arrays: arrays.update({"2/values": np.zeros(4)}), "templates alone, got 2/values"),
        (lambda header, arrays: arrays.update({"edges/plane": np.zeros(3)}), "one axis, got some of 'plane'"),
        (lambda header, arrays: arrays.update({"edges/learned": np.zeros(2)}), r"edges of learned must have shape \(3,\)"),
        (lambda header, arrays: arrays.update({"edges/learned": np.array([0.0, 2.0, 1.0])}), "edges of learned must ascend"),
    ],
)  # fmt: skip
def test_a_file_whose_parts_do_not_fit_each_other_is_refused(change, text, tmp_path) -> None:
    exchange.forward(toy, TOY, tmp_path / "t.npz")
    rewritten(tmp_path / "t.npz", lambda header, arrays: None)
    exchange.read(tmp_path / "t.npz")
    rewritten(tmp_path / "t.npz", change)
    with pytest.raises(ExchangeError, match=text):
        exchange.read(tmp_path / "t.npz")


def test_templates_that_are_not_finite_are_not_written(tmp_path) -> None:
    with pytest.raises(ExchangeError, match="values of learned/a/nominal must be finite, got inf"):
        exchange.forward(lambda params: toy({**params, "yields": params["yields"] * jnp.inf}), TOY, tmp_path / "t.npz")
    assert list(tmp_path.iterdir()) == []
