"""Soft cuts: values, hard limits, rates, gradients, and input at the ends of the numbers."""

from __future__ import annotations

import contextlib

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from diffea import soft
from diffea.errors import ColumnError, WidthError
from diffea.events.ragged import Ragged

SHAPES = ("sigmoid", "normal", "polynomial")
X = np.array([-3.0, 0.3, 1.1, 1.9, 2.6, 7.0])


def test_shapes_are_their_formulas():
    z = (X - 1.0) / 0.7
    np.testing.assert_allclose(soft.above(X, 1.0, width=0.7), scipy.special.expit(z), rtol=0, atol=1e-15)
    np.testing.assert_allclose(soft.above(X, 1.0, width=0.7, shape="normal"), scipy.special.ndtr(z), rtol=0, atol=1e-15)
    u = np.clip(z, -1, 1)
    smooth = (8 + 15 * u - 10 * u**3 + 3 * u**5) / 16
    np.testing.assert_allclose(soft.above(X, 1.0, width=0.7, shape="polynomial"), smooth, rtol=0, atol=1e-15)


def test_polynomial_is_exact_outside_of_its_width():
    values = soft.above(np.array([0.0, 1.0, 3.0, 4.0]), 2.0, width=1.0, shape="polynomial")
    np.testing.assert_array_equal(values, [0, 0, 1, 1])


@pytest.mark.parametrize("shape", SHAPES)
def test_combinations_are_probabilities_of_independent_events(shape):
    a, b = soft.above(X, 1.0, width=0.5, shape=shape), soft.below(X, 2.0, width=0.4, shape=shape)
    np.testing.assert_allclose(soft.all_of(a, b), np.asarray(a) * b)
    np.testing.assert_allclose(soft.any_of(a, b), a + b - np.asarray(a) * b, atol=1e-15)
    np.testing.assert_allclose(soft.not_(a), soft.below(X, 1.0, width=0.5, shape=shape), atol=1e-15)
    inside = soft.between(X, 1.0, 2.0, width=0.4, shape=shape)
    np.testing.assert_allclose(inside + soft.outside(X, 1.0, 2.0, width=0.4, shape=shape), 1.0)


def test_hard_is_exact_and_a_number():
    with soft.hard():
        assert soft.is_hard()
        np.testing.assert_array_equal(soft.above(X, 1.1, width=0.5), X > 1.1)
        np.testing.assert_array_equal(soft.below(X, 1.1, width=0.5), X < 1.1)
        np.testing.assert_array_equal(soft.between(X, 0.3, 2.6, width=0.5), (X > 0.3) & (X < 2.6))
        np.testing.assert_array_equal(soft.outside(X, 0.3, 2.6, width=0.5), (X <= 0.3) | (X >= 2.6))
        assert jnp.issubdtype(soft.above(X, 1.1, width=0.5).dtype, jnp.floating)
        assert jnp.issubdtype(soft.above(np.arange(3), 1, width=0.5).dtype, jnp.floating)
    assert not soft.is_hard()


def test_hard_is_not_served_from_the_soft_compilation():
    cut = jax.jit(lambda x: soft.above(x, 1.0, width=0.5))
    before = cut(X)
    with soft.hard():
        np.testing.assert_array_equal(cut(X), X > 1.0)
    np.testing.assert_array_equal(cut(X), before)


@pytest.mark.parametrize(
    ("shape", "rate"), [("sigmoid", lambda z: np.exp(-z)), ("normal", lambda z: np.exp(-z * z / 2))]
)
def test_hard_limit_is_reached_at_the_stated_rate(shape, rate):
    for width in (0.3, 0.1, 0.03):
        gap = np.abs(np.asarray(soft.above(X, 1.5, width=width, shape=shape)) - (X > 1.5))
        assert np.all(gap <= rate(np.abs(X - 1.5) / width) + 1e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_far_and_infinite_values_have_finite_gradients(shape):
    x = jnp.array([-np.inf, -1e300, -1e5, 1.0, 1e5, 1e300, np.inf])

    def total(x, threshold, width):
        return jnp.sum(soft.above(x, threshold, width=width, shape=shape))

    np.testing.assert_allclose(soft.above(x, 1.0, width=0.1, shape=shape), [0, 0, 0, 0.5, 1, 1, 1], atol=1e-15)
    for gradient in jax.jit(jax.grad(total, argnums=(0, 1, 2)))(x, 1.0, 0.1):
        assert np.all(np.isfinite(gradient))
    assert np.all(np.isfinite(jax.jit(jax.hessian(total, argnums=2))(x, 1.0, 0.1)))


def test_float32_stays_float32():
    assert soft.above(X.astype(np.float32), jnp.float32(1.0), width=0.5).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64, np.int8])
def test_integers_do_not_wrap_around(dtype):
    counts = np.array([0, 2, 4, np.iinfo(np.int8).max if np.iinfo(dtype).min == 0 else np.iinfo(np.int8).min], dtype)
    threshold, width = dtype(3), 0.1
    objects = Ragged(counts[:, None], np.ones((4, 1), bool))
    expected = counts.astype(float) < 3
    for cut in (soft.hard, contextlib.nullcontext):
        with cut():
            np.testing.assert_allclose(soft.below(counts, threshold, width=width), expected, atol=1e-4)
            np.testing.assert_allclose(soft.below(objects, 3.0, width=width).where(0)[:, 0], expected, atol=1e-4)
            inside = soft.between(counts, dtype(1), threshold, width=width)
            np.testing.assert_allclose(inside, expected & (counts > 1), atol=1e-4)
    if dtype is not np.int8:
        np.testing.assert_array_equal((-objects).where(0)[:, 0], -counts.astype(float))


def test_one_threshold_an_event_reaches_its_objects():
    pt = Ragged.from_awkward(ak.Array([[10.0, 30.0], [], [20.0]]))
    with soft.hard():
        passed = soft.above(pt, jnp.array([20.0, 0.0, 30.0]), width=1.0)
    np.testing.assert_array_equal(passed.where(-1), [[0, 1], [-1, -1], [0, -1]])


def test_thresholds_may_be_lists():
    pt = Ragged.from_awkward(ak.Array([[10.0, 30.0], [], [20.0]]))
    for cut in (soft.hard, contextlib.nullcontext):
        with cut():
            expected = soft.above(pt, np.array([20.0, 0.0, 30.0]), width=np.array([1.0, 2.0, 3.0]))
            np.testing.assert_array_equal(
                soft.above(pt, [20.0, 0.0, 30.0], width=[1.0, 2.0, 3.0]).where(-1), expected.where(-1)
            )
            expected = soft.below(X, X[::-1].copy(), width=1.0)
            np.testing.assert_array_equal(soft.below(X, X[::-1].tolist(), width=1.0), expected)


def test_event_and_object_cuts_combine_to_object_cuts():
    pt = Ragged.from_awkward(ak.Array([[10.0, 30.0], [], [20.0]]))
    with soft.hard():
        both = soft.all_of(soft.above(np.array([1.0, 1.0, 0.0]), 0.5, width=1.0), soft.above(pt, 15.0, width=1.0))
        either = soft.any_of(both, soft.below(pt, 15.0, width=1.0))
    np.testing.assert_array_equal(both.where(0), [[0, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(either.where(0), [[1, 1], [0, 0], [0, 0]])


def test_sharpened_scales_every_width_without_compiling_again():
    @jax.jit
    def cut(x, scale):
        with soft.sharpened(scale):
            return soft.above(x, 1.0, width=2.0)

    np.testing.assert_allclose(cut(X, 0.25), soft.above(X, 1.0, width=0.5), rtol=1e-15)
    cut(X, 0.1)
    assert cut._cache_size() == 1


def test_sharpened_is_not_served_from_another_compilation():
    cut = jax.jit(lambda x: soft.above(x, 1.0, width=2.0))

    def sharp(x, scale):
        with soft.sharpened(scale):
            return cut(x)

    before, around = cut(X), jax.jit(sharp)
    for scale in (0.25, np.float32(0.5), jnp.asarray(0.125)):
        expected = soft.above(X, 1.0, width=2.0 * float(scale))
        np.testing.assert_allclose(sharp(X, scale), expected, rtol=1e-15)
        np.testing.assert_allclose(around(X, scale), expected, rtol=1e-15)
        np.testing.assert_allclose(jax.jit(lambda x, scale: sharp(x, scale))(X, scale), expected, rtol=1e-15)
    np.testing.assert_array_equal(cut(X), before)


def test_the_inner_scale_replaces_the_outer_one():
    plain = [soft.above(X, 1.0, width=2.0 * scale) for scale in (0.5, 0.25)]
    with soft.sharpened(0.5):
        with soft.sharpened(0.25):
            np.testing.assert_allclose(soft.above(X, 1.0, width=2.0), plain[1], rtol=1e-15)
        np.testing.assert_allclose(soft.above(X, 1.0, width=2.0), plain[0], rtol=1e-15)


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf])
def test_a_width_that_is_none_is_an_error(width):
    with pytest.raises(WidthError, match="positive width"):
        soft.above(X, 1.0, width=width)
    with pytest.raises(WidthError, match="positive width"), soft.hard():
        soft.above(X, 1.0, width=width)


def test_nonsense_is_an_error():
    with pytest.raises(WidthError, match="low < high"):
        soft.between(X, 2.0, 1.0, width=0.1)
    with pytest.raises(WidthError, match="shape sigmoid"):
        soft.above(X, 1.0, width=0.1, shape="step")
    with pytest.raises(WidthError, match="at least one cut"):
        soft.all_of()
    with pytest.raises(WidthError, match="positive scale"), soft.sharpened(0.0):
        pass


@settings(max_examples=50, deadline=None)
@given(
    x=st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
    threshold=st.floats(-100, 100),
    width=st.floats(1e-3, 100),
    shape=st.sampled_from(SHAPES),
)
def test_a_cut_is_a_probability_that_rises(x, threshold, width, shape):
    x = np.sort(np.array(x))
    passed = np.asarray(soft.above(x, threshold, width=width, shape=shape))
    assert np.all((passed >= 0) & (passed <= 1))
    assert np.all(np.diff(passed) >= 0)


def test_a_threshold_is_no_column_of_objects():
    objects = Ragged(np.ones((2, 2)), np.ones((2, 2), bool))
    for cut in (soft.above, soft.below):
        with pytest.raises(WidthError, match="one an object"):
            cut(objects, objects, width=1.0)
    np.testing.assert_allclose(soft.not_([0.25, 1.0]), [0.75, 0.0])


def test_any_of_cuts_on_unlike_objects_is_on_all_of_them():
    """Jets with a b tag above one threshold, or those without above another, by a loop over jets."""
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, 50)
    pt, tag = (ak.unflatten(x, counts) for x in (rng.exponential(40, counts.sum()), rng.random(counts.sum()) < 0.4))
    jets, tagged = Ragged.from_awkward(pt), Ragged.from_awkward(tag)
    first = soft.above(jets.keep(tagged), 20.0, width=2.0)
    second = soft.above(jets.keep(~tagged), 60.0, width=2.0)
    event = rng.random(50)
    for cuts, other in (((first, second), np.zeros(50)), ((second, event, first), event)):
        found = soft.any_of(*cuts)
        for row, (pts, tags) in enumerate(zip(ak.to_list(pt), ak.to_list(tag), strict=True)):
            passes = [1 / (1 + np.exp(-(x - (20.0 if b else 60.0)) / 2)) for x, b in zip(pts, tags, strict=True)]
            expected = [1 - (1 - p) * (1 - other[row]) for p in passes]
            np.testing.assert_allclose(
                np.asarray(found.values[row])[np.asarray(found.mask[row])], expected, rtol=1e-12, atol=1e-14
            )
    np.testing.assert_array_equal(soft.all_of(first, second).num(), 0)
    with pytest.raises(ColumnError, match="same objects"):
        soft.any_of(first, Ragged.from_awkward(ak.Array([[1.0] * 9] * 50)))
