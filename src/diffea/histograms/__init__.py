"""Histograms as differentiable functions, and the templates they fill."""

from __future__ import annotations

from diffea.histograms.bandwidth import default_bandwidth
from diffea.histograms.fill import fill, histogram
from diffea.histograms.kernels import KERNELS, Kernel

__all__ = ["KERNELS", "Kernel", "default_bandwidth", "fill", "histogram"]
