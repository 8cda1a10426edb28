"""Exchange files: the gradient through them against jax.grad through the whole, and files that do not fit."""

from __future__ import annotations

import functools

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
