"""What fails in a compiled function is told by name, and without a callback where its numbers can leave the function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffea
from diffea import objectives
from diffea.complaints import Compiled, complain
from diffea.errors import FitError, YieldError
from diffea.runtime import named_errors
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

SPEC = {
    "channels": [
        {
            "name": "c",
            "samples": [
                {"name": "s", "data": [2.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
                {"name": "b", "data": [20.0], "modifiers": []},
            ],
        }
    ]
}
MODEL = diffea.HistFactory(SPEC)


def cls(nominal: jax.Array) -> jax.Array:
    yields = MODEL.yields
    return objectives.cls(MODEL(type(yields)(nominal, *jax.tree.leaves(yields)[1:])))


def refuse_negative(number: jax.Array) -> jax.Array:
    def tell(number: np.ndarray) -> None:
        if np.any(number < 0):
            msg = "it is negative"
            raise FitError(msg)

    complain(tell, number < 0, number)
    return number**2


def no_callback(*_: object, **__: object) -> None:
    pytest.fail("a program with a callback is compiled anew by each process")


def test_a_fit_that_fails_is_named_without_a_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax.debug, "callback", no_callback)
    good, bad = jnp.array([2.0, 20.0]), jnp.array([2.0, 0.0])
    compiled = Compiled(cls)
    value, slope = compiled.value_and_slope(good)
    assert float(value) == pytest.approx(float(compiled.value(good)), rel=1e-12)
    assert float(value) == pytest.approx(float(compiled(good)), rel=1e-12)
    step = jnp.array([1e-4, 0.0])
    expected = (cls(good + step) - cls(good - step)) / 2e-4
    assert float(slope[0]) == pytest.approx(float(expected), rel=1e-6)
    for program in (compiled.value, compiled.value_and_slope):
        with pytest.raises(YieldError, match="signal without background"):
            program(bad)


def test_numbers_of_a_loop_are_told_by_a_callback() -> None:
    def in_a_loop(numbers: jax.Array) -> jax.Array:
        return jax.lax.map(refuse_negative, numbers).sum()

    value = Compiled(in_a_loop).value
    assert float(value(jnp.array([1.0, 2.0]))) == 5.0
    with pytest.raises(FitError, match="it is negative"), named_errors():
        jax.block_until_ready(value(jnp.array([1.0, -2.0])))


def test_programs_are_held_with_their_function() -> None:
    traced = []

    def square(number: jax.Array) -> jax.Array:
        traced.append(number)
        return refuse_negative(number)

    compiled = Compiled(square)
    for _ in range(2):
        value, slope = compiled.value_and_slope(jnp.asarray(3.0))
        assert (float(value), float(slope)) == (9.0, 6.0)
    with pytest.raises(FitError, match="it is negative"):
        compiled.value_and_slope(jnp.asarray(-3.0))
    assert len(traced) == 1


def test_an_objective_is_what_it_is_when_it_is_optimised(tmp_path) -> None:
    target = 10.0

    def objective(templates: diffea.TemplateSet) -> jax.Array:
        return (templates.values_flat.sum() - target) ** 2

    reading = {"schemaclass": QuietSchema, "chunksize": 400}
    with diffea.distribute(Search(), write_fileset(tmp_path), **reading) as templates:
        loss = diffea.Composite(templates, objective)
        for target in (10.0, 20.0):
            first = diffea.optimise(loss, PARAMS, steps=1).history[0].loss
            assert first == pytest.approx((float(templates(PARAMS).values_flat.sum()) - target) ** 2, rel=1e-9)
