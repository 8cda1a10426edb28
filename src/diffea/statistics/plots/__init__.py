"""One function a picture: each takes what was found and returns matplotlib axes. matplotlib is imported when one is drawn."""

from __future__ import annotations

from diffea.statistics.plots.correlations import plot_correlations
from diffea.statistics.plots.likelihood_scan import plot_likelihood_scan
from diffea.statistics.plots.limit_scan import plot_limit_scan
from diffea.statistics.plots.pulls import plot_pulls
from diffea.statistics.plots.ranking import plot_ranking
from diffea.statistics.plots.stacks import plot_postfit, plot_prefit

__all__ = [
    "plot_correlations",
    "plot_likelihood_scan",
    "plot_limit_scan",
    "plot_postfit",
    "plot_prefit",
    "plot_pulls",
    "plot_ranking",
]
