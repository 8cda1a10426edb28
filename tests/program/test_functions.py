"""Elementary functions are those of NumPy in what is compiled for all events, whatever options XLA is given."""

from __future__ import annotations

from typing import ClassVar

import hist
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

import diffea

X = np.random.default_rng(4).uniform(0.05, 0.9, 500)
NAMES = [
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arctanh",
    "exp",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sqrt",
    "cbrt",
    "square",
]
OTHERS = {
    "arctan2": lambda xp, x: xp.arctan2(x, 1.0),
    "hypot": lambda xp, x: xp.hypot(x, 0.3),
    "power": lambda xp, x: x**1.7,
}


def functions(xp, x):
    """Each in a column of its own."""
    return xp.stack([*(getattr(xp, name)(x) for name in NAMES), *(other(xp, x) for other in OTHERS.values())], axis=-1)


class Functions(diffea.DifferentiableProcessor):
    """The sum of every function over the events, a bin each."""

    channels: ClassVar = {"sums": hist.axis.IntCategory(list(range(len(NAMES) + len(OTHERS))), name="function")}

    def columns(self, events):
        return {"x": events.x}

    def fill(self, params, columns):
        values = functions(jnp, params["scale"] * columns["x"])
        place = jnp.broadcast_to(jnp.arange(values.shape[1]), values.shape)
        there = jnp.ones(values.shape, bool)
        yield diffea.Fill("sums", diffea.Ragged(place, there), diffea.Ragged(values, there))


@pytest.fixture
def fileset(tmp_path):
    with uproot.recreate(tmp_path / "x.root") as file:
        file["Events"] = {"x": X}
    return {"s": {"files": {str(tmp_path / "x.root"): "Events"}}}


@pytest.mark.parametrize(("precision", "within"), [("float64", 1e-12), ("float32", 3e-6)])
def test_functions(precision, within, fileset) -> None:
    with diffea.distribute(Functions(), fileset, schemaclass=BaseSchema, precision=precision) as templates:
        found = templates.forward({"scale": 1.0})["sums", "s"].values
    np.testing.assert_allclose(found, functions(np, X).sum(axis=0), rtol=within, err_msg=f"{[*NAMES, *OTHERS]}")


def test_their_derivatives(fileset) -> None:
    step = 1e-5
    with diffea.distribute(Functions(), fileset, schemaclass=BaseSchema) as templates:
        found = templates.jacobian({"scale": 1.0})["sums", "s"].values["scale"]
    by_differences = (functions(np, X * (1 + step)) - functions(np, X * (1 - step))).sum(axis=0) / (2 * step)
    np.testing.assert_allclose(found, by_differences, rtol=1e-7, err_msg=f"{[*NAMES, *OTHERS]}")
