"""Derivatives of every form of a histogram, forward and reverse, to second order, against finite differences."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from diffea import histograms

EDGES = np.array([0.0, 1.0, 2.2, 3.0, 5.0])
X = np.array([-1.3, 0.1, 0.9, 2.0, 2.7, 4.1, 5.4])
W = np.array([1.0, -0.5, 2.0, 0.7, 1.5, 1.1, 0.3])
SHARES = np.array([[0.1, 0.9], [0.3, 0.5], [0.6, 0.2], [0.0, 1.0], [0.5, 0.5], [0.2, 0.2], [0.4, 0.6]])
Y = 0.3 * X + 0.4

FORMS = {
    **{
        f"fill {kernel}": (lambda x, w, h, k=kernel: histograms.fill(x, EDGES, w, bandwidth=h, kernel=k), X, W, 0.31)
        for kernel in histograms.KERNELS
    },
    "fill known bandwidth": (lambda x, w: histograms.fill(x, EDGES, w), X, W),
    "fill bandwidth of each bin": (
        lambda h: histograms.fill(X, EDGES, W, bandwidth=h),
        np.array([0.2, 0.3, 0.25, 0.4]),
    ),
    "fill edges": (lambda e: histograms.fill(X, e, W, bandwidth=0.31), EDGES),
    "fill reflected": (lambda x: histograms.fill(x, EDGES, W, bandwidth=0.31, reflect=True), X),
    "fill reflected below": (lambda x: histograms.fill(x, EDGES, W, bandwidth=0.31, reflect="lower"), X),
    "fill reflected above": (lambda x: histograms.fill(x, EDGES, W, bandwidth=0.31, reflect="upper"), X),
    "fill two axes": (lambda x, y, w: histograms.fill((x, y), (EDGES, EDGES[:3]), w), X, Y, W),
    "fill categories": (lambda p: histograms.fill((p, X), (histograms.Categories((0, 1)), EDGES), W), SHARES),
    "histogram": (lambda x, w: histograms.histogram(x, EDGES, w, bandwidth=0.31), X, W),
    "covariance": (lambda x, w: histograms.covariance(x, EDGES, w, bandwidth=0.31), X, W),
    "ordered_edges": (lambda z: histograms.ordered_edges(z, 0.0, 5.0, smallest=0.1), np.array([0.1, -0.3, 0.2])),
    "default_bandwidth": (histograms.default_bandwidth, EDGES),
    "scott": (histograms.scott, X, np.abs(W)),
    "silverman": (histograms.silverman, X, np.abs(W)),
}


def test_no_function_of_arrays_is_missing():
    host = {
        "KERNELS",
        "Kernel",
        "Binning",
        "Categories",
        "Circular",
        "Transformed",
        "binning",
        "category_values",
        "edge_logits",
        "edges_of",
    }
    assert {name.split()[0] for name in FORMS} == set(histograms.__all__) - host


@pytest.mark.parametrize("name", FORMS)
def test_derivatives(name):
    function, *arguments = FORMS[name]
    check_grads(jax.jit(function), arguments, order=2, modes=("fwd", "rev"), eps=1e-4, atol=1e-5, rtol=1e-5)
