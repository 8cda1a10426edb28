"""HistFactory models in JAX, their fits, tests and limits; checked against pyhf."""

from __future__ import annotations

from diffea.statistics.bound import BoundModel
from diffea.statistics.diagnostics import (
    Nuisances,
    effective_events,
    fisher_condition,
    nuisances,
)
from diffea.statistics.doubts import warnings
from diffea.statistics.estimates import Estimates, estimates
from diffea.statistics.fits import Fit, fit
from diffea.statistics.goodness import GoodnessOfFit, goodness_of_fit
from diffea.statistics.hypotests import Discovery, HypoTest, discovery, hypotest
from diffea.statistics.intervals import Interval, interval
from diffea.statistics.limit_scans import LimitScan, limit_scan
from diffea.statistics.limits import Limit, upper_limit
from diffea.statistics.model import HistFactory
from diffea.statistics.own import BoundLikelihood, Likelihood
from diffea.statistics.plots import (
    plot_correlations,
    plot_likelihood_scan,
    plot_limit_scan,
    plot_postfit,
    plot_prefit,
    plot_pulls,
    plot_ranking,
)
from diffea.statistics.predictions import Prediction, postfit, prefit
from diffea.statistics.ranking import Ranking, ranking
from diffea.statistics.ratios import likelihood_ratio
from diffea.statistics.scans import Scan, scan
from diffea.statistics.solver import Solver
from diffea.statistics.toys import ToyTest
from diffea.statistics.yields import Yields

__all__ = [
    "BoundLikelihood",
    "BoundModel",
    "Discovery",
    "Estimates",
    "Fit",
    "GoodnessOfFit",
    "HistFactory",
    "HypoTest",
    "Interval",
    "Likelihood",
    "Limit",
    "LimitScan",
    "Nuisances",
    "Prediction",
    "Ranking",
    "Scan",
    "Solver",
    "ToyTest",
    "Yields",
    "discovery",
    "effective_events",
    "estimates",
    "fisher_condition",
    "fit",
    "goodness_of_fit",
    "hypotest",
    "interval",
    "likelihood_ratio",
    "limit_scan",
    "nuisances",
    "plot_correlations",
    "plot_likelihood_scan",
    "plot_limit_scan",
    "plot_postfit",
    "plot_prefit",
    "plot_pulls",
    "plot_ranking",
    "postfit",
    "prefit",
    "ranking",
    "scan",
    "upper_limit",
    "warnings",
]
