"""Impacts of nuisance parameters, with their pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffea.notebook.canvas import BLUE, INK, ORANGE, axes_for, list_parameters
from diffea.statistics.ranking import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_ranking(result: Ranking, *, largest: int = 20, ax: Axes | None = None) -> tuple[Axes, Axes]:
    """Pre-fit (open) and post-fit (filled) impacts, largest on top; pulls in widths of their priors on an axis of their own above.

    Args:
        result: of `ranking`. Parameters without any impact are left out, and pulls of those without a constraint.
        largest: how many parameters at most.
        ax: where to draw.

    Returns:
        The axes of the impacts, and of the pulls.
    """
    prefit, postfit = np.asarray(result.prefit), np.asarray(result.postfit)
    impacts = np.abs(np.nan_to_num(postfit)).sum(axis=1) + np.abs(np.asarray(result.nuisances.impacts))
    rows = [row for row in result.order if impacts[row] > 0][:largest]
    ax = axes_for(ax, 6.4, 2.0 + 0.3 * len(rows))
    places = np.arange(len(rows))
    for side, colour, sign in ((0, BLUE, "+"), (1, ORANGE, "−")):
        before, after = (
            rf"pre-fit, $\theta = \hat{{\theta}} {sign} \Delta\theta$",
            rf"post-fit, $\theta = \hat{{\theta}} {sign} \Delta\hat{{\theta}}$",
        )
        ax.barh(places, np.nan_to_num(prefit[rows, side]), 0.8, fill=False, ec=colour, lw=1.2, label=before)
        ax.barh(places, postfit[rows, side], 0.8, color=colour, alpha=0.75, label=after)
    reach = 1.15 * float(np.nanmax(np.abs([prefit[rows], postfit[rows]]), initial=0.0)) or 1.0
    ax.set_xlim(-reach, reach)
    ax.set_xlabel(f"impact on {result.poi}{' (at its bound)' if result.at_bound else ''}")
    list_parameters(ax, [result.parameters[row] for row in rows])
    pulls = ax.twiny()
    widths = np.asarray(result.nuisances.constraints)[rows]
    known = np.isfinite(widths)
    values = np.asarray(result.nuisances.pulls)[rows]
    pulls.errorbar(values[known], places[known], xerr=widths[known], fmt="o", color="black", ms=4, lw=1.2, label="pull")
    for place in (-1, 0, 1):
        pulls.axvline(place, color=INK, lw=0.8, ls=":" if place == 0 else "--", zorder=0)
    furthest = max(1.6, 1.1 * float(np.max((np.abs(values) + widths)[known], initial=0.0)))
    pulls.set_xlim(-furthest, furthest)
    pulls.set_xlabel(r"$(\hat{\theta} - \theta_0)\,/\,\Delta\theta$")
    pulls.tick_params(direction="in")
    ax.tick_params(axis="x", top=False)
    handles, labels = ax.get_legend_handles_labels()
    ax.figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return ax, pulls
