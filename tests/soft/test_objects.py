"""Counts, sums and the n-th leading object against brute force over all subsets of objects that may pass."""

from __future__ import annotations

import itertools

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import soft
from diffea.errors import CountError
from diffea.events.ragged import Ragged

CUT, WIDTH = 25.0, 8.0


@pytest.fixture(scope="module")
def cut(pt):
    return soft.above(pt, CUT, width=WIDTH)


def expectation(jagged, statistic):
    """Expectation of a statistic of the objects that pass, over every subset of each event's objects."""
    found = []
    for values in ak.to_list(jagged):
        p = 1 / (1 + np.exp(-(np.array(values) - CUT) / WIDTH))
        total = 0.0
        for passed in itertools.product([False, True], repeat=len(values)):
            weight = np.prod(np.where(passed, p, 1 - p))
            total += weight * statistic([v for v, keep in zip(values, passed, strict=True) if keep])
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7])
def test_counts_are_poisson_binomial(jagged, cut, n):
    np.testing.assert_allclose(soft.at_least(n, cut), expectation(jagged, lambda v: len(v) >= n), atol=1e-14)
    np.testing.assert_allclose(soft.at_most(n, cut), expectation(jagged, lambda v: len(v) <= n), atol=1e-14)
    np.testing.assert_allclose(soft.exactly(n, cut), expectation(jagged, lambda v: len(v) == n), atol=1e-14)


def test_count_and_sum_are_expectations(jagged, pt, cut):
    np.testing.assert_allclose(soft.count(cut), expectation(jagged, len), atol=1e-13)
    np.testing.assert_allclose(soft.sum(pt, cut), expectation(jagged, sum), atol=1e-11)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_leading_is_an_expectation(jagged, pt, cut, n):
    oracle = expectation(jagged, lambda v: sorted(v, reverse=True)[n - 1] if len(v) >= n else -9.0)
    np.testing.assert_allclose(soft.leading(n, pt, cut, default=-9.0), oracle, atol=1e-11)
    np.testing.assert_allclose(soft.nth(n, cut, pt).sum(), soft.at_least(n, cut), atol=1e-13)


def test_largest_and_smallest_are_expectations(jagged, pt, cut):
    np.testing.assert_allclose(soft.max(pt, cut), expectation(jagged, lambda v: max(v, default=0)), atol=1e-11)
    np.testing.assert_allclose(soft.min(pt, cut), expectation(jagged, lambda v: min(v, default=0)), atol=1e-11)
    np.testing.assert_allclose(soft.max(pt), ak.to_numpy(ak.fill_none(ak.max(jagged, axis=1), 0)))
    np.testing.assert_allclose(soft.min(pt), ak.to_numpy(ak.fill_none(ak.min(jagged, axis=1), 0)))


@pytest.mark.parametrize("default", [np.inf, -np.inf])
def test_an_infinite_default_is_that_of_events_without_objects(jagged, pt, default):
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(soft.min(pt * x, default=default)[1:]))(1.0)
    smallest = ak.to_numpy(ak.fill_none(ak.min(jagged, axis=1), default))
    np.testing.assert_array_equal(soft.min(pt, default=default), smallest)
    np.testing.assert_array_equal(soft.max(pt, default=default)[:1], default)
    assert value == default
    np.testing.assert_allclose(gradient, smallest[np.isfinite(smallest)].sum())


def test_ordering_by_another_column(pt, cut):
    closest = soft.leading(1, pt, by=-abs(pt - 40.0))
    oracle = [min(row, key=lambda v: abs(v - 40.0)) if len(row) else 0.0 for row in map(list, rows(pt))]
    np.testing.assert_allclose(closest, oracle)


def rows(ragged):
    return [values[mask] for values, mask in zip(np.asarray(ragged.values), np.asarray(ragged.mask), strict=True)]


def test_hard_twin_is_awkward(jagged, pt):
    passed = jagged[jagged > CUT]
    ordered = ak.sort(passed, ascending=False)
    with soft.hard():
        cut = soft.above(pt, CUT, width=WIDTH)
        np.testing.assert_array_equal(soft.count(cut), ak.num(passed))
        np.testing.assert_array_equal(soft.exactly(2, cut), ak.num(passed) == 2)
        np.testing.assert_array_equal(soft.at_most(1, cut), ak.num(passed) <= 1)
        np.testing.assert_array_equal(soft.at_least(2, cut), ak.num(passed) >= 2)
        np.testing.assert_allclose(soft.sum(pt, cut), ak.sum(passed, axis=1), rtol=1e-15)
        second = ak.fill_none(ak.firsts(ordered[:, 1:]), -1.0)
        np.testing.assert_array_equal(soft.leading(2, pt, cut, default=-1.0), second)


def test_numpy_numbers_are_numbers(pt, cut):
    for function in (soft.at_least, soft.at_most, soft.exactly):
        np.testing.assert_array_equal(function(np.int64(2), cut), function(2, cut))
    np.testing.assert_array_equal(soft.leading(np.uint8(2), pt, cut), soft.leading(2, pt, cut))


def test_equal_values_are_taken_in_order():
    pt = Ragged.from_awkward(ak.Array([[5.0, 5.0, 5.0]]))
    every = Ragged(jnp.ones_like(pt.where(0.0)), pt.mask)
    np.testing.assert_array_equal(soft.nth(2, every, pt).where(0), [[0, 1, 0, 0]])


def test_many_objects_take_the_loop_and_agree():
    random = np.random.default_rng(3)
    p = random.uniform(size=(5, 40))
    many = Ragged(p, np.ones(p.shape, bool))
    distribution = np.zeros((5, 41))
    distribution[:, 0] = 1
    for k in range(40):
        distribution[:, 1:] = distribution[:, 1:] * (1 - p[:, k, None]) + distribution[:, :-1] * p[:, k, None]
        distribution[:, 0] *= 1 - p[:, k]
    np.testing.assert_allclose(soft.exactly(20, many), distribution[:, 20], rtol=1e-12)
    np.testing.assert_allclose(soft.nth(3, many, many).sum(), soft.at_least(3, many), rtol=1e-12)


def test_empty_columns_have_no_nan():
    empty = Ragged.from_awkward(ak.Array([[], [], []]))
    assert empty.shape == (3, 1)

    def everything(threshold):
        cut = soft.above(empty, threshold, width=1.0)
        ratio = (empty / empty).sum() + (empty**0.5).sum() + empty.apply(jnp.log).sum()
        return jnp.sum(soft.at_least(1, cut) + soft.exactly(0, cut) + soft.leading(1, empty, cut) + ratio * threshold)

    value, gradient = jax.value_and_grad(everything)(3.0)
    assert value == 3.0
    assert gradient == 0.0


def test_nonsense_is_an_error(pt, cut):
    with pytest.raises(CountError, match="whole number"):
        soft.at_least(1.5, cut)
    with pytest.raises(CountError, match="whole number"):
        soft.exactly(-1, cut)
    with pytest.raises(CountError, match="whole number of objects ≥ 1"):
        soft.leading(0, pt, cut)
    with pytest.raises(CountError, match="value an object"):
        soft.count(jnp.ones(3))
