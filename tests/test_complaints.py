"""What fails in a compiled function is told by name, and without a callback where its numbers can leave the function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffea
from diffea import objectives
from diffea.complaints import complain, value_and_slope_of, value_of
from diffea.errors import FitError, YieldError
from diffea.runtime import named_errors

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
    value, slope = value_and_slope_of(cls)(good)
    assert float(value) == pytest.approx(float(value_of(cls)(good)), rel=1e-12)
    step = jnp.array([1e-4, 0.0])
    expected = (cls(good + step) - cls(good - step)) / 2e-4
    assert float(slope[0]) == pytest.approx(float(expected), rel=1e-6)
    for compiled in (value_of(cls), value_and_slope_of(cls)):
        with pytest.raises(YieldError, match="signal without background"):
            compiled(bad)


def test_numbers_of_a_loop_are_told_by_a_callback() -> None:
    def in_a_loop(numbers: jax.Array) -> jax.Array:
        return jax.lax.map(refuse_negative, numbers).sum()

    assert float(value_of(in_a_loop)(jnp.array([1.0, 2.0]))) == 5.0
    with pytest.raises(FitError, match="it is negative"), named_errors():
        jax.block_until_ready(value_of(in_a_loop)(jnp.array([1.0, -2.0])))


def test_the_same_function_is_traced_once() -> None:
    traced = []

    def square(number: jax.Array) -> jax.Array:
        traced.append(number)
        return refuse_negative(number)

    for _ in range(2):
        value, slope = value_and_slope_of(square)(jnp.asarray(3.0))
        assert (float(value), float(slope)) == (9.0, 6.0)
    with pytest.raises(FitError, match="it is negative"):
        value_and_slope_of(square)(jnp.asarray(-3.0))
    assert len(traced) == 1
