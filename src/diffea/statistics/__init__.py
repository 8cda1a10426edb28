"""HistFactory models in JAX, their fits, tests and limits; checked against pyhf."""

from __future__ import annotations

from diffea.statistics.hypotests import Discovery, HypoTest, discovery, hypotest
from diffea.statistics.limits import Limit, upper_limit
from diffea.statistics.model import BoundModel, HistFactory
from diffea.statistics.ratios import likelihood_ratio
from diffea.statistics.solver import Solver
from diffea.statistics.yields import Yields

__all__ = [
    "BoundModel",
    "Discovery",
    "HistFactory",
    "HypoTest",
    "Limit",
    "Solver",
    "Yields",
    "discovery",
    "hypotest",
    "likelihood_ratio",
    "upper_limit",
]
