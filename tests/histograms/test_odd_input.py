"""Numbers that a histogram cannot count are not counted in some bin: they overflow as in boost-histogram, or are named."""

from __future__ import annotations

import contextlib

import awkward as ak
import hist
import jax
import numpy as np
import pytest

from diffea import histograms, soft
from diffea.errors import HistogramError
from diffea.events.ragged import Ragged

EDGES = np.linspace(0.0, 4.0, 5)


@pytest.mark.parametrize("axis", [hist.axis.Regular(6, -1, 2, circular=True), hist.axis.Variable(EDGES, circular=True)])
def test_an_angle_that_is_no_number(axis):
    x = np.array([0.1, np.nan, np.inf, -np.inf, 7.9])
    binning = histograms.binning(axis)
    with soft.hard():
        counted = histograms.histogram(x, binning, flow=True)
    filled = hist.Hist(axis, storage=hist.storage.Weight()).fill(x).values(flow=True)
    np.testing.assert_array_equal(counted[1:], filled)
    assert np.isnan(histograms.histogram(x, binning)).any()


@pytest.mark.parametrize("hard", [False, True])
def test_truth_is_every_number_but_zero(hard):
    axis, numbers = hist.axis.Boolean(), np.array([0, 1, 5, -1])
    with soft.hard() if hard else contextlib.nullcontext():
        counted = histograms.histogram(numbers, histograms.binning(axis))
    np.testing.assert_array_equal(counted, hist.Hist(axis, storage=hist.storage.Weight()).fill(numbers).values())


@pytest.mark.parametrize(
    ("x", "weights"),
    [
        (np.ones(2), np.array([1.0 + 1j, 2.0])),
        (np.array([1.0 + 1j, 2.0]), None),
        (np.array(["a", "b"]), None),
        (ak.Array([0.5, None]), None),
        (ak.Array([[0.5], [1.0, 2.0]]), None),
        (Ragged(np.ones((2, 2)), np.ones((2, 2), bool)), Ragged(np.ones((2, 4)), np.ones((2, 4), bool))),
    ],
)
def test_what_cannot_be_counted(x, weights):
    with pytest.raises(HistogramError, match="expected"):
        histograms.histogram(x, EDGES, weights)


def test_covariances_of_large_weights():
    x, weights = np.array([0.5, 2.5], np.float32), np.array([1e25, 3.0], np.float32)
    _, variances = histograms.fill(x, EDGES, weights, bandwidth=0.01)
    covariance = histograms.covariance(x, EDGES, weights, bandwidth=0.01, flow=True)
    np.testing.assert_allclose(np.diagonal(covariance), variances, rtol=1e-6)


@pytest.mark.parametrize("rule", [histograms.scott, histograms.silverman])
@pytest.mark.parametrize(
    ("x", "weights"), [([1.0], None), ([], None), ([2.0, 2.0], None), ([1.0, 2.0], [0.0, 0.0]), ([1.0, np.nan], None)]
)
def test_events_without_a_spread(rule, x, weights):
    with pytest.raises(HistogramError, match="at least two events"):
        rule(np.array(x), weights)


@pytest.mark.parametrize("logits", [[np.nan, 0.0], [np.inf, 0.0], np.zeros((2, 2)), 0.0, []])
def test_logits_that_are_no_row_of_numbers(logits):
    with pytest.raises(HistogramError, match="logits of shape"):
        histograms.ordered_edges(logits, 0.0, 1.0)


def test_edges_without_an_end_have_no_logits():
    with pytest.raises(HistogramError, match="ascending order"):
        histograms.edge_logits([0.0, 1.0, np.inf])


def test_without_jit():
    with jax.disable_jit():
        np.testing.assert_allclose(
            histograms.histogram(np.array([0.5, 2.5]), EDGES, bandwidth=0.01), [1.0, 0.0, 1.0, 0.0]
        )


@pytest.mark.parametrize("settings", [{"bandwidth": "scott"}, {"bandwidth": 1j}, {"kernel": ["biweight"]}])
def test_settings_that_are_none(settings):
    with pytest.raises(HistogramError, match="expected"):
        histograms.histogram(np.ones(2), EDGES, **settings)
