"""Histograms as differentiable functions, and the templates they fill."""

from __future__ import annotations

from diffea.histograms.bandwidth import default_bandwidth, scott, silverman
from diffea.histograms.binnings import Binning, Circular, Transformed, binning, edges_of
from diffea.histograms.categories import Categories, category_values
from diffea.histograms.edges import edge_logits, ordered_edges
from diffea.histograms.fill import covariance, fill, histogram
from diffea.histograms.kernels import KERNELS, Kernel

__all__ = [
    "KERNELS",
    "Binning",
    "Categories",
    "Circular",
    "Kernel",
    "Transformed",
    "binning",
    "category_values",
    "covariance",
    "default_bandwidth",
    "edge_logits",
    "edges_of",
    "fill",
    "histogram",
    "ordered_edges",
    "scott",
    "silverman",
]
