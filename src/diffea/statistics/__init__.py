"""HistFactory models in JAX, their fits, tests and limits; checked against pyhf."""

from __future__ import annotations

from diffea.statistics.diagnostics import (
    GoodnessOfFit,
    Nuisances,
    effective_events,
    fisher_condition,
    goodness_of_fit,
    nuisances,
)
from diffea.statistics.doubts import warnings
from diffea.statistics.fits import Fit, fit
from diffea.statistics.hypotests import Discovery, HypoTest, discovery, hypotest
from diffea.statistics.limits import Limit, upper_limit
from diffea.statistics.model import BoundModel, HistFactory
from diffea.statistics.ratios import likelihood_ratio
from diffea.statistics.solver import Solver
from diffea.statistics.toys import ToyTest
from diffea.statistics.yields import Yields

__all__ = [
    "BoundModel",
    "Discovery",
    "Fit",
    "GoodnessOfFit",
    "HistFactory",
    "HypoTest",
    "Limit",
    "Nuisances",
    "Solver",
    "ToyTest",
    "Yields",
    "discovery",
    "effective_events",
    "fisher_condition",
    "fit",
    "goodness_of_fit",
    "hypotest",
    "likelihood_ratio",
    "nuisances",
    "upper_limit",
    "warnings",
]
