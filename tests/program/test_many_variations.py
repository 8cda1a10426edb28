"""A loop over variations: what they do not shift is not computed again."""

from __future__ import annotations

from collections import Counter
from functools import partial

import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import soft
from diffea.processor import DifferentiableProcessor, Fill
from diffea.program import Program, Structure, traced
from diffea.program.kernels import block


def scaled(columns, direction, column):
    return {column: columns[column] * (1 + 0.1 * direction)}


class Shared(DifferentiableProcessor):
    """Marks: sinh of what nothing shifts, cosh of one column that two in twenty shift, atan of all of them."""

    channels = {"x": hist.axis.Regular(4, 0, 1, name="x")}  # noqa: RUF012

    def __init__(self, nuisances) -> None:
        self.variations = {f"n{i}": partial(scaled, column=f"x{i}") for i in range(nuisances)}

    def fill(self, params, columns):
        weight = jnp.sinh(params["p"] * columns["weight"]) * jnp.cosh(params["p"] * columns["x0"])
        yield Fill("x", jnp.arctan(params["p"] * sum(columns[f"x{i}"] for i in range(12))), weight)


def marks(jaxpr, inside=()):
    """How often each operation is written, within which others."""
    found = Counter()
    for equation in jaxpr.eqns:
        found[equation.primitive.name, "scan" in inside, "cond" in inside] += 1
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                found += marks(getattr(inner, "jaxpr", inner), (*inside, equation.primitive.name))
    return found


@pytest.mark.parametrize("nuisances", [6, 12])
def test_a_variation_computes_again_what_it_shifts_and_nothing_else(nuisances) -> None:
    rows = jax.ShapeDtypeStruct((64,), np.dtype(float))
    structure = Structure((), dict.fromkeys(("weight", *(f"x{i}" for i in range(12))), rows))
    program, params = Program(Shared(nuisances)), {"p": jax.ShapeDtypeStruct((), np.dtype(float))}
    sums = block(program.traced(structure, params), program.processor, program.dtype)
    valid = jax.ShapeDtypeStruct((64,), bool)
    jaxpr = jax.make_jaxpr(sums)(1.0, params, 1.0, structure.shapes, valid).jaxpr
    found = marks(jaxpr)
    assert not [key for key in found if key[0] == "sinh" and key[1]]
    assert {key[1:]: count for key, count in found.items() if key[0] == "cosh" and key[1]} == {(True, True): 2}
    assert {key[1:]: count for key, count in found.items() if key[0] == "atan" and key[1]} == {(True, False): 1}


class Softly(Shared):
    """Variations that share out events by soft cuts of their own."""

    channels = Shared.channels

    def __init__(self) -> None:
        self.variations = {f"n{i}": partial(tilted, column=f"x{i}") for i in range(5)}


def tilted(columns, direction, column):
    return {"weight": columns["weight"] * (1 + 0.5 * direction * soft.above(columns[column], 0.5, width=0.2))}


def test_a_loop_has_the_widths_of_what_is_written_out(monkeypatch) -> None:
    random = np.random.default_rng(0)
    arrays = {name: random.random(64) for name in ("weight", *(f"x{i}" for i in range(12)))}
    shapes = jax.tree.map(lambda column: jax.ShapeDtypeStruct(column.shape, column.dtype), arrays)
    params = {"p": np.array(0.1)}

    def sums(widths):
        program = Program(Softly())
        made = block(program.traced(Structure((), shapes), params), program.processor, program.dtype)
        return jax.jit(made)(1.0, jax.tree.map(jnp.asarray, params), widths, arrays, np.ones(64, bool))

    looped = sums(0.5)
    assert not np.allclose(looped, sums(1.0), rtol=1e-6)
    monkeypatch.setattr(traced, "MOST_WRITTEN_OUT", 10)
    np.testing.assert_allclose(looped, sums(0.5), rtol=1e-12)
