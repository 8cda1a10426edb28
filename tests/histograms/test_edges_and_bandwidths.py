"""Learnable edges, bandwidth rules, bin lookup and discrete axes."""

from __future__ import annotations

import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from diffea import histograms, soft
from diffea.errors import HistogramError
from diffea.histograms.lookup import count_reached


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=5, max_size=5))
def test_learnable_edges_stay_in_order(logits):
    edges = np.asarray(histograms.ordered_edges(np.array(logits), -1.0, 3.0, smallest=0.1))
    assert edges.shape == (6,)
    assert (edges[0], edges[-1]) == (-1.0, 3.0)
    assert np.all(np.diff(edges) > 0.0999)


def test_edges_come_back_from_their_logits():
    edges = np.array([0.0, 0.2, 0.9, 1.0])
    back = histograms.ordered_edges(histograms.edge_logits(edges, smallest=0.05), 0.0, 1.0, smallest=0.05)
    np.testing.assert_allclose(back, edges, atol=1e-14)
    with pytest.raises(HistogramError, match=r"wider than 0\.1"):
        histograms.edge_logits(edges, smallest=0.1)
    with pytest.raises(HistogramError, match="room for 3 bins"):
        histograms.ordered_edges(np.zeros(3), 0.0, 1.0, smallest=0.5)


def test_edges_find_equal_shares():
    x = np.random.default_rng(0).exponential(size=2000) / 10

    def unequal(logits):
        counts = histograms.histogram(x, histograms.ordered_edges(logits, 0.0, 1.0), bandwidth=0.005, reflect=True)
        return jnp.sum((counts / 2000 - 0.25) ** 2)

    step = jax.jit(lambda logits: logits - 2 * jax.grad(unequal)(logits))
    logits = jnp.zeros(4)
    for _ in range(300):
        logits = step(logits)
    edges = histograms.ordered_edges(logits, 0.0, 1.0)
    np.testing.assert_allclose(edges[1:-1], np.quantile(x, [0.25, 0.5, 0.75]), atol=0.004)


def test_rules_are_those_of_scipy():
    random = np.random.default_rng(7)
    x, w = random.normal(3, 2, 400), random.uniform(0, 2, 400)
    for weights in (None, w):
        for ours, name in ((histograms.scott, "scott"), (histograms.silverman, "silverman")):
            kde = scipy.stats.gaussian_kde(x, bw_method=name, weights=weights)
            np.testing.assert_allclose(ours(x, weights), np.sqrt(kde.covariance[0, 0]), rtol=1e-12)
            np.testing.assert_allclose(jax.jit(ours)(x, weights), ours(x, weights), rtol=1e-12)


def test_negative_weights_have_no_bandwidth():
    for rule in (histograms.scott, histograms.silverman):
        with pytest.raises(HistogramError, match=r"not negative, got -2\.0"):
            rule(np.arange(4.0), np.array([1.0, -2.0, 1.0, 0.5]))


def test_a_smallest_width_keeps_edges_apart():
    logits = jnp.array([0.0, 100.0, 0.0])
    assert np.any(np.diff(histograms.ordered_edges(logits, 0.0, 180.0)) == 0)
    np.testing.assert_allclose(np.diff(histograms.ordered_edges(logits, 0.0, 180.0, smallest=1.0)), [1, 178, 1])


@pytest.mark.parametrize(
    "turns",
    [
        np.array([3.0]),
        np.linspace(-1, 2, 7),
        np.array([20.0, 60.0, 80.0, 100.0, 140.0, 200.0]),
        np.geomspace(1e-3, 1e3, 25),
        np.array([0.0, 1e-6, 1.0, 1.0 + 1e-6, 1.0 + 2e-6, 1.0 + 3e-6, 1.0 + 4e-6, 300.0]),
    ],
    ids=["one", "even", "uneven", "geometric", "crowded"],
)
def test_lookup_is_searchsorted(turns):
    space = 1e-3 * np.min(np.diff(turns), initial=1.0)
    x = np.concatenate([np.linspace(turns[0] - 1, turns[-1] + 1, 999), turns + space, turns - space, [-np.inf, np.inf]])
    found = np.asarray(count_reached(jnp.asarray(x), turns))
    np.testing.assert_array_equal(found, np.searchsorted(turns, x, side="right"))
    assert 0 <= count_reached(jnp.array([np.nan]), turns)[0] <= len(turns)


@pytest.mark.parametrize(
    "axis",
    [
        hist.axis.Integer(-1, 3),
        hist.axis.IntCategory([13, -11, 7]),
        hist.axis.Boolean(),
        hist.axis.Regular(5, -1, 4),
        hist.axis.Variable([-1, 0.5, 4]),
    ],
    ids=lambda axis: type(axis).__name__,
)
def test_a_hard_fill_of_any_axis_is_boost_histogram(axis):
    x = np.array([-1, 0, 1, 1, 0, 1, 0]) if len(axis) == 2 else np.array([-11, 7, 13, -2, -1, 0, 1, 2, 3, 4, 13])
    x = np.clip(x, 0, 1) if isinstance(axis, hist.axis.Boolean) else x
    w = np.arange(1.0, len(x) + 1)
    filled = hist.Hist(axis, storage=hist.storage.Weight()).fill(x, weight=w)
    with soft.hard():
        values, variances = histograms.fill(x.astype(float), histograms.binning(axis), w)
    padding = [(int(not axis.traits.underflow), int(not axis.traits.overflow))]
    np.testing.assert_array_equal(values, np.pad(filled.values(flow=True), padding))
    np.testing.assert_array_equal(variances, np.pad(filled.variances(flow=True), padding))


def test_names_are_numbered():
    axis = hist.axis.StrCategory(["mumu", "emu"])
    assert histograms.binning(axis) == histograms.Categories((0, 1))
    assert len(histograms.binning(axis)) == 2


def test_categories_by_probability_are_differentiable():
    x = np.linspace(-1, 1, 30)
    categories = histograms.Categories((0, 1, 2))

    def shared(threshold):
        high = soft.above(x, threshold, width=0.3)
        return histograms.histogram(
            (jnp.stack([high, 1 - high, jnp.zeros(30)], axis=1), x), (categories, np.array([-1.0, 0.0, 1.0]))
        )

    assert shared(0.2).shape == (3, 2)
    np.testing.assert_allclose(shared(0.2)[0, 1] + shared(0.2)[1, 1], histograms.histogram(x, [-1.0, 0.0, 1.0])[1])
    with pytest.raises(HistogramError, match="3 categories"):
        histograms.fill(jnp.ones((5, 2)), categories)
