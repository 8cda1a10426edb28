"""Learning: what networks need beside a physics result to minimise."""

from __future__ import annotations

from diffea.learning.bins import quantile_edges, with_axis
from diffea.learning.cross_entropy import CrossEntropy
from diffea.learning.floor import with_floor
from diffea.learning.gathering import Gathered, gathered
from diffea.learning.inputs import Standardised, standardised
from diffea.learning.modules import Module
from diffea.learning.regions import gaussian_regions, gaussians, large_errors, low_yields, plane_regions, planes

__all__ = [
    "CrossEntropy",
    "Gathered",
    "Module",
    "Standardised",
    "gathered",
    "gaussian_regions",
    "gaussians",
    "large_errors",
    "low_yields",
    "plane_regions",
    "planes",
    "quantile_edges",
    "standardised",
    "with_axis",
    "with_floor",
]


def __dir__() -> list[str]:
    return __all__
