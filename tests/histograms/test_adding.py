"""What events give to bins, added up by either loop, is what NumPy adds up; with derivatives, and under vmap."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import histogram
from diffea.histograms.adding import add_up, add_up_in_turn

SIZE = 30
RANDOM = np.random.default_rng(5)
FIRST = RANDOM.integers(0, 17, 103).astype(np.int32)
PLACES = {"one axis": (0, 1, 2), "two axes": (0, 1, 12, 13), "one bin": (0,)}


def by_numpy(first: np.ndarray, shares: list[np.ndarray], places: tuple[int, ...]) -> np.ndarray:
    total = np.zeros(SIZE)
    for place, share in zip(places, shares, strict=True):
        np.add.at(total, first + place, share)
    return total


@pytest.mark.parametrize("add", [add_up, add_up_in_turn])
@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_sums_are_those_of_numpy(add, places) -> None:
    shares = [RANDOM.normal(size=103) for _ in places]
    np.testing.assert_allclose(
        add(FIRST, shares, places, SIZE), by_numpy(FIRST, shares, places), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("add", [add_up, add_up_in_turn])
def test_narrow_numbers_are_added_up_in_64_bits(add) -> None:
    def total(scale: jax.Array) -> jax.Array:
        return add(np.zeros(103, np.int32), [scale * np.full(103, 0.1, np.float32)], (0,), SIZE)[0]

    one = jnp.float32(1.0)
    assert total(one).dtype == jnp.float64
    assert float(total(one)) == pytest.approx(103 * float(np.float32(0.1)), rel=1e-14)
    assert float(jax.grad(total)(one)) == pytest.approx(10.3, rel=1e-5)
    assert float(jax.jvp(total, (one,), (one,))[1]) == pytest.approx(103 * float(np.float32(0.1)), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_histograms_of_narrow_numbers_have_derivatives(dtype) -> None:
    x, edges = np.linspace(0.0, 9.0, 50).astype(dtype), np.linspace(0.0, 10.0, 6)
    slope = jax.grad(lambda x, w: histogram(x, edges, w)[1] ** 2, argnums=(0, 1))(x, np.ones_like(x))
    exact = jax.grad(lambda x, w: histogram(x, edges, w)[1] ** 2, argnums=(0, 1))(x.astype(float), np.ones(50))
    for found, expected in zip(slope, exact, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_many_histograms_at_once() -> None:
    places, shares = PLACES["one axis"], RANDOM.normal(size=(4, 3, 103))
    firsts = np.stack([FIRST, FIRST[::-1], FIRST, FIRST])
    both = jax.vmap(lambda first, shares: add_up_in_turn(first, list(shares), places, SIZE))(firsts, shares)
    same_bins = jax.vmap(lambda shares: add_up_in_turn(FIRST, list(shares), places, SIZE))(shares)
    for number in range(4):
        np.testing.assert_allclose(
            both[number], by_numpy(firsts[number], list(shares[number]), places), rtol=1e-12, atol=1e-12
        )
        np.testing.assert_allclose(
            same_bins[number], by_numpy(FIRST, list(shares[number]), places), rtol=1e-12, atol=1e-12
        )


def test_derivatives_to_second_order_against_differences() -> None:
    places, base = PLACES["two axes"], RANDOM.normal(size=(4, 103))

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(add_up_in_turn(FIRST, list(base * x**2), places, SIZE) ** 2)

    def difference(function: Callable[[float], jax.Array]) -> float:
        return float(function(1.3 + 1e-4) - function(1.3 - 1e-4)) / 2e-4

    slope, bend = float(jax.grad(loss)(1.3)), float(jax.grad(jax.grad(loss))(1.3))
    assert slope == pytest.approx(difference(loss), rel=1e-6)
    assert bend == pytest.approx(difference(jax.grad(loss)), rel=1e-6)
    assert float(jax.jvp(loss, (1.3,), (1.0,))[1]) == pytest.approx(slope, rel=1e-12)
