"""Histograms as differentiable functions, and the templates they fill."""

from __future__ import annotations

from diffea.histograms.bandwidth import default_bandwidth, scott, silverman
from diffea.histograms.categories import Categories, binning, category_values
from diffea.histograms.edges import edge_logits, ordered_edges
from diffea.histograms.fill import covariance, fill, histogram
from diffea.histograms.kernels import KERNELS, Kernel

__all__ = [
    "KERNELS",
    "Categories",
    "Kernel",
    "binning",
    "category_values",
    "covariance",
    "default_bandwidth",
    "edge_logits",
    "fill",
    "histogram",
    "ordered_edges",
    "scott",
    "silverman",
]
