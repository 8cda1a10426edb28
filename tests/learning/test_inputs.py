"""Inputs standardised in one pass, and modules of equinox and flax as parameters."""

from __future__ import annotations

import functools
import pickle

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from coffea.nanoevents import BaseSchema

from diffea import Composite, DifferentiableProcessor, Fill, Split, distribute, errors, learning, optimise
from tests.learning.scores import Scored, arrays, write

INPUTS = {"x": None, "y": lambda y: jnp.exp(y) + 100.0}


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"))


def gathered():
    events = [arrays(sample) for sample in ("signal", "top", "multijet")]
    x, y = (np.concatenate([columns[name] for columns in events]) for name in ("x", "y"))
    return np.stack([x, np.exp(y) + 100.0], axis=1)


def test_mean_and_width_are_those_of_numpy_on_gathered_events(fileset):
    scaled = learning.standardised(INPUTS, Scored(), fileset, schemaclass=BaseSchema, chunksize=400)
    np.testing.assert_allclose(scaled.mean, gathered().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaled.width, gathered().std(axis=0), rtol=1e-9)
    found = scaled({"x": jnp.array([0.0, 1.0]), "y": jnp.zeros(2)})
    expected = (np.array([[0.0, 101.0], [1.0, 101.0]]) - gathered().mean(axis=0)) / gathered().std(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_only_events_of_the_split_count(fileset):
    some = learning.standardised({"x": None}, Scored(), fileset, schemaclass=BaseSchema, split=Split(train=0.3))
    assert some.mean[0] != pytest.approx(gathered()[:, 0].mean(), rel=1e-3)
    assert some.mean[0] == pytest.approx(gathered()[:, 0].mean(), abs=0.15)


@pytest.mark.parametrize(
    ("inputs", "error", "match"),
    [
        ({"z": None}, errors.ColumnError, r"no \['z'\]"),
        ({"x": lambda x: 0 * x + 3.0, "y": None}, errors.ColumnError, r"inputs \['x'\] are all but the same number"),
        ({"x": lambda x: x + 1e9}, errors.ColumnError, "take a difference"),
        ({"x": jnp.log}, errors.NotFiniteError, "NaN or infinite"),
    ],
)
def test_inputs_that_cannot_be_standardised(fileset, inputs, error, match):
    with pytest.raises(error, match=match):
        learning.standardised(inputs, Scored(), fileset, schemaclass=BaseSchema)


class Net:
    """A module by hand: what equinox makes of a class, with a function and a whole number among its leaves."""

    def __init__(self, weight, count, activation):
        self.weight, self.count, self.activation = weight, count, activation

    def __call__(self, x):
        return self.activation(jnp.dot(self.weight, x) * self.count)


jax.tree_util.register_pytree_with_keys(
    Net,
    lambda net: (
        [(jax.tree_util.GetAttrKey(name), getattr(net, name)) for name in ("weight", "count", "activation")],
        None,
    ),
    lambda _, leaves: Net(*leaves),
)


class Networked(DifferentiableProcessor):
    """A network of two inputs is the score."""

    channels = {"score": hist.axis.Regular(5, 0, 1, name="score")}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "y": events.y, "weight": events.weight}

    def fill(self, params, columns):
        x = jnp.stack([columns["x"], columns["y"]], axis=1)
        logit = jax.vmap(params["network"])(x).reshape(-1)
        yield Fill("score", jax.nn.sigmoid(logit + params["offset"]), columns["weight"])


ENTROPY = learning.CrossEntropy("score", signal="signal", background="top")


def equinox_network():
    equinox = pytest.importorskip(
        "equinox", reason="equinox, whose modules this test takes as parameters, is not installed"
    )
    return equinox.nn.MLP(2, "scalar", 4, 1, key=jax.random.key(0))


def flax_network():
    nnx = pytest.importorskip("flax.nnx", reason="flax, whose modules this test takes as parameters, is not installed")
    return nnx.Linear(2, 1, rngs=nnx.Rngs(0))


def own_network():
    return Net(np.array([0.1, 0.2]), 3, jnp.tanh)


@pytest.mark.parametrize("made", [own_network, equinox_network, flax_network])
def test_a_module_is_trained_like_any_parameters(fileset, made):
    start = {"network": learning.Module(made()), "offset": 0.0}
    with distribute(ENTROPY.of(Networked()), fileset, schemaclass=BaseSchema) as sums:
        loss = lambda p: ENTROPY(sums(p))
        gradient = jax.grad(loss)(start)
        leaves, tree = jax.tree.flatten(start)
        for number, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
            step = np.zeros(np.shape(leaf))
            step.flat[0] = 1e-5
            up, down = (
                loss(
                    jax.tree.unflatten(
                        tree, [other + side * step if place == number else other for place, other in enumerate(leaves)]
                    )
                )
                for side in (1, -1)
            )
            assert float(np.ravel(slope)[0]) == pytest.approx(float(up - down) / 2e-5, rel=1e-5, abs=1e-9)
        found = optimise(Composite(sums, ENTROPY), start, optimizer=optax.adam(0.05), steps=8, batches=2)
        assert float(loss(found.params)) < float(loss(start))
        compiled = sums._program.compilations
        loss(jax.tree.map(lambda leaf: leaf + 0.0, pickle.loads(pickle.dumps(start))))  # as it travels to a worker
        assert sums._program.compilations == compiled
    trained = found.params["network"].module
    assert type(trained) is type(start["network"].module)
    np.testing.assert_allclose(trained(jnp.ones(2)), found.params["network"](jnp.ones(2)))


def test_names_values_and_the_rest_of_a_module():
    module = learning.Module(own_network())
    (path, leaf), *others = jax.tree_util.tree_leaves_with_path({"net": module})
    assert not others
    assert jax.tree_util.keystr(path, simple=True, separator=".") == "net.weight"
    np.testing.assert_array_equal(leaf, [0.1, 0.2])
    doubled = jax.tree.map(functools.partial(jnp.multiply, 2.0), module)
    assert (doubled.module.count, doubled.module.activation) == (3, jnp.tanh)
    assert float(doubled(jnp.ones(2))) == pytest.approx(np.tanh(1.8))


def test_a_module_without_arrays_is_refused():
    with pytest.raises(errors.ParameterError, match="nothing in it to optimise"):
        learning.Module({"activation": jnp.tanh, "count": np.arange(3)})
