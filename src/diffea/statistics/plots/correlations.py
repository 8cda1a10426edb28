"""Correlation of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffea.notebook.canvas import axes_for
from diffea.statistics.estimates import Estimates

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_correlations(result: Estimates, *, least: float = 0.0, ax: Axes | None = None) -> Axes:
    """The correlation matrix, in per cent.

    Args:
        result: of `estimates`. Parameters that are fixed or not measured are left out.
        least: leave out parameters whose correlation with every other one is smaller.
        ax: where to draw.
    """
    sigma = np.asarray(result.uncertainties)
    known = np.flatnonzero((sigma > 0) & np.isfinite(sigma))
    matrix = np.asarray(result.correlation)[np.ix_(known, known)]
    largest = np.abs(matrix - np.eye(len(known))).max(axis=1, initial=0.0)
    kept = np.flatnonzero(largest >= least)
    matrix, names = matrix[np.ix_(kept, kept)], [result.parameters[known[i]] for i in kept]
    side, text = 0.6 + 0.42 * len(names), 0.085 * max(map(len, names), default=0)
    ax = axes_for(ax, side + text + 1.3, side + text + 0.3)
    image = ax.imshow(100 * matrix, vmin=-100, vmax=100, cmap="RdBu_r")
    ax.figure.colorbar(image, ax=ax, label="correlation [%]", fraction=0.046, pad=0.02)
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if abs(value) > 0.6 else "black"
        ax.text(
            column, row, f"{100 * value:.0f}".replace("-0", "0"), ha="center", va="center", color=colour, fontsize=7
        )
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    return ax
