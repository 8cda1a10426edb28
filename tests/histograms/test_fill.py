"""Kernel histograms: against boost-histogram, against integrals of the kernels, and against finite differences."""

from __future__ import annotations

import functools
import itertools

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from diffea import histograms, soft
from diffea.errors import HistogramError
from diffea.events.ragged import Ragged

EVEN = np.linspace(20.0, 200.0, 21)
UNEVEN = np.array([20.0, 60.0, 80.0, 100.0, 140.0, 200.0])
KERNELS = tuple(histograms.KERNELS)
DENSITIES = {
    "biweight": lambda u: 15 / 16 * (1 - u**2) ** 2,
    "triweight": lambda u: 35 / 32 * (1 - u**2) ** 3,
    "epanechnikov": lambda u: 3 / 4 * (1 - u**2),
}
REACHES = {"biweight": 7**0.5, "triweight": 3.0, "epanechnikov": 5**0.5}


@pytest.fixture(scope="module")
def events():
    random = np.random.default_rng(1)
    return random.normal(100.0, 40.0, 3000), random.normal(1.0, 0.7, 3000)


def boost(edges, x, w):
    filled = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Weight()).fill(x, weight=w)
    return filled.values(flow=True), filled.variances(flow=True)


@functools.partial(jax.jit, static_argnames=("edges", "bandwidth", "kernel", "reflect"))
def filled(x, w, edges, bandwidth, kernel, reflect=False):
    return histograms.fill(x, np.array(edges), w, bandwidth=bandwidth, kernel=kernel, reflect=reflect)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("edges", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_a_vanishing_bandwidth_is_boost_histogram(events, edges, kernel):
    found = filled(*events, tuple(edges), 1e-9, kernel)
    for ours, theirs in zip(found, boost(edges, *events), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize("edges", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_the_hard_twin_is_boost_histogram_on_edges_too(edges):
    x = np.concatenate([edges, edges - 1e-9, [-np.inf, np.inf, np.nan, 0.0, 1e300]])
    with soft.hard():
        found = histograms.fill(x, edges, 2.0)
    for ours, theirs in zip(found, boost(edges, x, np.full(x.shape, 2.0)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("bandwidth", [0.5, 4.0, 30.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_fractions_are_integrals_of_the_kernel(kernel, bandwidth):
    x = 97.3
    values, _ = filled(np.array([x]), np.array([1.0]), tuple(UNEVEN), bandwidth, kernel)
    edges = np.concatenate([[-1e4], UNEVEN, [1e4]])
    if kernel == "gaussian":
        expected = np.diff(scipy.stats.norm.cdf(edges, x, bandwidth))
    else:
        reach = REACHES[kernel] * bandwidth
        clipped = np.clip((edges - x) / reach, -1, 1)
        expected = [scipy.integrate.quad(DENSITIES[kernel], a, b)[0] for a, b in itertools.pairwise(clipped)]
    np.testing.assert_allclose(values, expected, atol=1e-13)


@pytest.mark.parametrize("kernel", list(DENSITIES))
def test_the_bandwidth_is_the_standard_deviation(kernel):
    variance = scipy.integrate.quad(lambda u: u**2 * DENSITIES[kernel](u), -1, 1)[0] * REACHES[kernel] ** 2
    np.testing.assert_allclose(variance, 1.0, rtol=1e-12)
    assert histograms.KERNELS[kernel].reach == pytest.approx(REACHES[kernel], rel=1e-15)


@pytest.mark.parametrize("edges", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("bandwidth", [None, 3.0, 9.0, 60.0])
def test_looking_at_few_edges_is_looking_at_all(events, edges, bandwidth):
    known = filled(*events, tuple(edges), bandwidth, "biweight")
    number = histograms.default_bandwidth(edges) if bandwidth is None else bandwidth
    traced = jax.jit(lambda h: histograms.fill(events[0], edges, events[1], bandwidth=h))(number)
    for few, every in zip(known, traced, strict=True):
        np.testing.assert_allclose(few, every, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("edges", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_the_default_splits_an_event_between_two_bins_at_most(edges):
    share = histograms.fill(np.array([97.0]), edges)[0]
    assert np.count_nonzero(share) == 2
    centre = 0.5 * (edges[3] + edges[4])
    np.testing.assert_array_equal(np.flatnonzero(histograms.fill(np.array([centre]), edges)[0]), [4])


def test_variances_and_covariance_are_sums_over_events(events):
    x, w = (column[:200] for column in events)
    rows = np.array([filled(x[i : i + 1], np.ones(1), tuple(UNEVEN), 12.0, "biweight")[0] for i in range(200)])
    values, variances = filled(x, w, tuple(UNEVEN), 12.0, "biweight")
    np.testing.assert_allclose(values, w @ rows, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(variances, w**2 @ rows**2, rtol=1e-11, atol=1e-12)
    matrix = histograms.covariance(x, UNEVEN, w, bandwidth=12.0, flow=True)
    np.testing.assert_allclose(matrix, np.einsum("i,ia,ib->ab", w**2, rows, rows), rtol=1e-10, atol=1e-11)
    assert histograms.covariance(x, UNEVEN, w, bandwidth=12.0).shape == (5, 5)
    np.testing.assert_allclose(np.diag(matrix), variances)
    with soft.hard():
        exact = histograms.covariance(x, UNEVEN, w, flow=True)
        np.testing.assert_allclose(exact, np.diag(histograms.fill(x, UNEVEN, w)[1]))


def test_reflection_lets_nothing_through_the_ends():
    random = np.random.default_rng(4)
    x = np.concatenate([random.uniform(0, 1, 500) ** 3, [-0.2, 1.3]])
    edges = np.linspace(0, 1, 9)
    for bandwidth in (0.02, 0.2):
        values, _ = filled(x, np.ones(x.shape), tuple(edges), bandwidth, "epanechnikov", reflect=True)
        np.testing.assert_allclose(np.asarray(values)[[0, -1]], 1.0, atol=1e-12)
        mirrored = np.concatenate([x[:-2], -x[:-2], 2 - x[:-2]])
        oracle, _ = filled(mirrored, np.ones(mirrored.shape), tuple(edges), bandwidth, "epanechnikov")
        np.testing.assert_allclose(values[1:-1], oracle[1:-1], rtol=1e-10)
    flat = histograms.histogram(jnp.linspace(0, 1, 4001), edges, 1 / 4001, bandwidth=0.05, reflect=True)
    np.testing.assert_allclose(flat, 1 / 8, atol=3e-4)


def test_two_axes_are_products_of_one(events):
    x, w = events
    y = np.random.default_rng(2).exponential(1.0, x.shape)
    second = np.array([0.0, 0.5, 1.0, 3.0])
    values, variances = histograms.fill((x, y), (EVEN, second), w)
    assert values.shape == variances.shape == (22, 5)
    np.testing.assert_allclose(values.sum(axis=1), histograms.fill(x, EVEN, w)[0], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(values.sum(axis=0), histograms.fill(y, second, w)[0], rtol=1e-10, atol=1e-11)
    traced = jax.jit(lambda e: histograms.fill((x, y), (EVEN, e), w))(second)
    np.testing.assert_allclose(values, traced[0], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(variances, traced[1], rtol=1e-10, atol=1e-11)
    oracle = hist.Hist(hist.axis.Variable(EVEN), hist.axis.Variable(second), storage=hist.storage.Weight())
    oracle.fill(x, y, weight=w)
    with soft.hard():
        exact = histograms.fill((x, y), (EVEN, second), w)
    np.testing.assert_allclose(exact[0], oracle.values(flow=True), rtol=1e-12)
    np.testing.assert_allclose(exact[1], oracle.variances(flow=True), rtol=1e-12)
    tiny = histograms.fill((x, y), (EVEN, second), w, bandwidth=(1e-9, 1e-9))
    np.testing.assert_allclose(tiny[0], exact[0], rtol=1e-11)


def test_objects_fill_with_the_weight_of_their_event():
    jets = ak.Array([[30.0, 70.0], [], [90.0, 130.0, 500.0]])
    w = np.array([1.0, 2.0, 3.0])
    with soft.hard():
        values, variances = histograms.fill(Ragged.from_awkward(jets), UNEVEN, w)
    flat, weights = ak.flatten(jets), np.repeat(w, ak.num(jets))
    np.testing.assert_array_equal(values, boost(UNEVEN, flat, weights)[0])
    np.testing.assert_array_equal(variances, boost(UNEVEN, flat, weights)[1])


def test_many_tangents_and_cotangents_in_a_loop(events):
    x, w = (column[:2048].reshape(8, 256) for column in events)

    def total(p):
        def block(carry, rows):
            return carry + histograms.fill(rows[0] * p[0] + p[1], EVEN, rows[1] * p[2])[0], None

        return jax.lax.scan(block, jnp.zeros(22), (x, w))[0]

    p = jnp.array([1.1, 2.0, 0.9])
    forward, reverse = jax.jit(jax.jacfwd(total))(p), jax.jit(jax.jacrev(total))(p)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.sum(forward, axis=0), [0, 0, np.sum(w)], atol=1e-9)


def test_far_and_infinite_events_have_finite_gradients():
    x = jnp.array([-np.inf, -1e300, 20.0, 100.0, 200.0, 1e300, np.inf])

    @functools.partial(jax.grad, argnums=(0, 1, 2, 3))
    def gradients(x, w, bandwidth, edges):
        return jnp.sum(histograms.fill(x, edges, w, bandwidth=bandwidth)[0] ** 2)

    for gradient in jax.jit(gradients)(x, jnp.ones(7), 5.0, UNEVEN):
        assert np.all(np.isfinite(gradient))
    for kernel in KERNELS:
        known = jax.grad(lambda x, k=kernel: jnp.sum(histograms.fill(x, EVEN, kernel=k)[0] ** 2))(x)
        assert np.all(np.isfinite(known))


def test_float32_events_are_added_up_in_float64(events):
    x, w = (column.astype(np.float32) for column in events)
    values, variances = histograms.fill(x, EVEN, w)
    assert values.dtype == variances.dtype == np.float64
    np.testing.assert_allclose(values, histograms.fill(x.astype(float), EVEN, w.astype(float))[0], rtol=1e-4, atol=1e-3)
    assert histograms.histogram(x, EVEN, w).shape == (20,)


@pytest.mark.parametrize("reflect", [False, True, "lower", "upper"])
def test_a_nan_is_not_hidden(reflect):
    assert np.isnan(histograms.fill(np.array([np.nan, 50.0]), EVEN, reflect=reflect)[0]).any()


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((np.ones(3), EVEN), {"bandwidth": 0.0}, "positive bandwidth"),
        ((np.ones(3), EVEN), {"reflect": "left"}, "got 'left'"),
        ((np.ones(3), EVEN), {"bandwidth": np.nan}, "positive bandwidth"),
        ((np.ones(3), EVEN), {"bandwidth": np.ones(7)}, r"one a bin \(20\)"),
        ((np.ones(3), UNEVEN), {"bandwidth": np.array([1.0, 1.0, 30.0, 1.0, 1.0, 1.0])}, "changes from edge to edge"),
        ((np.ones(3), EVEN[::-1]), {}, "ascending order"),
        ((np.ones(3), np.array([1.0, np.nan])), {}, "finite bin edges"),
        ((np.ones(3), np.array([1.0])), {}, "shape \\(bins \\+ 1,\\)"),
        ((np.ones(3), EVEN, np.ones(4)), {}, "shape \\(events,\\)"),
        ((np.ones((3, 2)), EVEN), {}, "shape \\(events,\\)"),
        ((1.0, EVEN), {}, "shape \\(events,\\)"),
        ((np.ones(3), EVEN), {"kernel": "tophat"}, "kernel named biweight"),
        (((np.ones(3), np.ones(3)), EVEN), {}, "each of 2 observables"),
    ],
)
def test_nonsense_is_an_error(arguments, keywords, message):
    with pytest.raises(HistogramError, match=message):
        histograms.fill(*arguments, **keywords)


def test_a_bandwidth_for_each_bin_is_that_of_its_edges(events):
    by_bin = np.array([8.0, 4.0, 4.0, 8.0, 12.0])
    by_edge = np.array([8.0, 4.0, 4.0, 4.0, 8.0, 12.0])
    found = histograms.fill(*events[:1], UNEVEN, events[1], bandwidth=by_bin)
    np.testing.assert_array_equal(found[0], histograms.fill(*events[:1], UNEVEN, events[1], bandwidth=by_edge)[0])


rows = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(-10, 10)), min_size=30, max_size=30
)  # one shape: one compilation


@settings(max_examples=60, deadline=None)
@given(
    rows=rows, kernel=st.sampled_from(KERNELS), bandwidth=st.sampled_from([None, 2.0, 40.0]), seed=st.integers(0, 99)
)
def test_properties(rows, kernel, bandwidth, seed):
    x, w = np.array(rows).T
    values, variances = filled(x, w, tuple(UNEVEN), bandwidth, kernel)
    scale = 1e-13 * (1 + np.sum(np.abs(w)))
    np.testing.assert_allclose(np.sum(values), np.sum(w), atol=10 * scale)  # total weight conserved
    assert np.all(np.asarray(variances) >= 0)
    order = np.random.default_rng(seed).permutation(30)
    np.testing.assert_allclose(filled(x[order], w[order], tuple(UNEVEN), bandwidth, kernel)[0], values, atol=scale)
    kept = np.where(np.arange(30) < 15, w, 0.0)
    moved = np.where(np.arange(30) < 15, x, -x[::-1])
    left, right = (filled(z, kept, tuple(UNEVEN), bandwidth, kernel)[0] for z in (x, moved))
    np.testing.assert_allclose(left, right, atol=scale)  # rows without weight change nothing
