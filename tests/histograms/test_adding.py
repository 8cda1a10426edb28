"""What events give to bins, added up on any device, is what NumPy adds up; with derivatives, and under vmap."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import histogram, histograms
from diffea.histograms import adding
from diffea.histograms.adding import add_up

SIZE = 30
RANDOM = np.random.default_rng(5)
FIRST = RANDOM.integers(0, 17, 103).astype(np.int32)
PLACES = {"one axis": (0, 1, 2), "two axes": (0, 1, 12, 13), "one bin": (0,), "many": tuple(range(13))}
LOOPS = [adding._in_turn, adding._at_once]


def columns(*columns: jax.Array) -> Sequence[jax.Array]:
    return columns


def by_numpy(first: np.ndarray, shares: Sequence[np.ndarray], places: tuple[int, ...]) -> np.ndarray:
    total = np.zeros(SIZE)
    for place, share in zip(places, shares, strict=True):
        np.add.at(total, first + place, share)
    return total


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("sums", [1, 2])
def test_sums_are_those_of_numpy(loop, places, sums) -> None:
    shares = RANDOM.normal(size=(len(places), sums, 103))
    found = loop(FIRST, *shares.reshape(-1, 103), of=adding.Sums(columns, places, SIZE, sums))
    assert found.shape == (sums, SIZE)
    for number in range(sums):
        expected = by_numpy(FIRST, shares[:, number], places)
        np.testing.assert_allclose(found[number], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loop", LOOPS)
def test_narrow_numbers_are_added_up_in_64_bits(loop) -> None:
    tenth = np.full(103, 0.1, np.float32)
    total = loop(np.zeros(103, np.int32), tenth, of=adding.Sums(columns, (0,), SIZE, 1))
    assert total.dtype == jnp.float64
    assert float(total[0, 0]) == pytest.approx(103 * float(np.float32(0.1)), rel=1e-14)


def test_derivatives_of_sums_of_narrow_numbers() -> None:
    def total(scale: jax.Array) -> jax.Array:
        return add_up(columns, np.zeros(103, np.int32), [scale * np.full(103, 0.1, np.float32)], (0,), SIZE)[0, 0]

    one = jnp.float32(1.0)
    assert float(jax.grad(total)(one)) == pytest.approx(10.3, rel=1e-5)
    assert float(jax.jvp(total, (one,), (one,))[1]) == pytest.approx(103 * float(np.float32(0.1)), rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_histograms_of_narrow_numbers_have_derivatives(dtype) -> None:
    x, edges = np.linspace(0.0, 9.0, 50).astype(dtype), np.linspace(0.0, 10.0, 6)
    gradient = jax.jit(jax.grad(lambda x, w: histogram(x, edges, w)[1] ** 2, argnums=(0, 1)))
    slope, exact = gradient(x, np.ones_like(x)), gradient(x.astype(float), np.ones(50))
    for found, expected in zip(slope, exact, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_many_histograms_are_each_that_of_one() -> None:
    edges, scales = np.linspace(0.0, 4.0, 6), np.array([[0.9, 1.0], [1.1, 0.0]])[..., None]
    x, weight = jnp.asarray(RANDOM.normal(2.0, 1.0, 60) * scales), jnp.asarray(RANDOM.gamma(4.0, 0.3, 60) + scales)

    @jax.jit
    def filled(x: jax.Array, weight: jax.Array) -> jax.Array:
        return jnp.stack(histograms.fill(x, edges, weight))

    many = jax.jit(jax.vmap(jax.vmap(filled)))(x, weight)
    for place in np.ndindex(2, 2):
        # XLA may round a product that is added once or twice, as the processor has it
        np.testing.assert_allclose(many[place], filled(x[place], weight[place]), rtol=1e-13)


def test_derivatives_of_many_histograms_are_those_of_one() -> None:
    x, edges, scales = RANDOM.normal(2.0, 1.0, 60), np.linspace(0.0, 4.0, 6), jnp.array([0.9, 1.1])

    def loss(scale: jax.Array) -> jax.Array:
        values, variances = histograms.fill(x * scale, edges, scale + 1.0)
        return jnp.sum(values**2 / (1.0 + variances))

    @jax.jit
    def derivatives(scales: jax.Array) -> list[jax.Array]:
        """One by one, of many, many of one, and many of one in forward mode."""
        of_many = jax.grad(lambda scales: jnp.sum(jax.vmap(loss)(scales)))
        each = jax.lax.map(jax.grad(loss), scales)
        return [each, of_many(scales), jax.vmap(jax.grad(loss))(scales), jax.vmap(jax.jacfwd(loss))(scales)]

    each, *others = derivatives(scales)
    for other in others:
        np.testing.assert_allclose(other, each, rtol=1e-12, atol=1e-10)


def test_derivatives_to_second_order_against_differences() -> None:
    places, base = PLACES["two axes"], RANDOM.normal(size=(4, 103))

    def curved(x: jax.Array, *base: jax.Array) -> Sequence[jax.Array]:
        return [x**2 * own for own in base]

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(add_up(curved, FIRST, [jnp.full(103, x), *base], places, SIZE) ** 2)

    def difference(function: Callable[[float], jax.Array]) -> float:
        return float(function(1.3 + 1e-4) - function(1.3 - 1e-4)) / 2e-4

    value, slope_of = jax.jit(loss), jax.jit(jax.grad(loss))
    slope, bend = float(slope_of(1.3)), float(jax.jit(jax.grad(jax.grad(loss)))(1.3))
    assert slope == pytest.approx(difference(value), rel=1e-6)
    assert bend == pytest.approx(difference(slope_of), rel=1e-6)
    assert float(jax.jvp(loss, (1.3,), (1.0,))[1]) == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("bandwidth", [None, 2.25, 4.5, 12.0])
def test_nothing_of_the_size_of_the_shares_is_kept(bandwidth) -> None:
    """Value and gradient need the memory of the gradient, of the bins, and of one column: it does not grow with the bandwidth."""
    events, edges = 4096, np.linspace(20.0, 200.0, 21)
    x, slope = np.zeros(events), np.arange(20.0)
    loss = functools.partial(lambda x, w, h: slope @ histogram(x, edges, w, bandwidth=h), h=bandwidth)
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(x, x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * x.nbytes
