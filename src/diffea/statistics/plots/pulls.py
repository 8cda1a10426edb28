"""Pulls and constraints of nuisance parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffea.errors import SpecError
from diffea.notebook.canvas import GREEN_BAND, INK, YELLOW_BAND, axes_for, list_parameters
from diffea.statistics.diagnostics import Nuisances

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_pulls(result: Nuisances, *, parameters: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    r"""Best-fit values and uncertainties of constrained parameters, $(\hat\theta - \theta_0)/\Delta\theta$, in widths of their priors.

    Args:
        result: of `nuisances`.
        parameters: which of them, in this order; all that have a constraint and are not fixed by default.
        ax: where to draw.

    Raises:
        SpecError: for a parameter that is none, or has no constraint.
    """
    drawn = {name: row for row, name in enumerate(result.parameters) if np.isfinite(result.constraints[row])}
    names = list(drawn) if parameters is None else list(parameters)
    if unknown := [name for name in names if name not in drawn]:
        msg = f"plot_pulls: expected parameters with a constraint, {list(drawn)}, got {unknown}"
        raise SpecError(msg)
    rows = [drawn[name] for name in names]
    ax = axes_for(ax, 6.0, 1.1 + 0.22 * len(rows))
    ax.axvspan(-2, 2, color=YELLOW_BAND, alpha=0.55, lw=0)
    ax.axvspan(-1, 1, color=GREEN_BAND, alpha=0.55, lw=0)
    ax.axvline(0, color=INK, lw=0.8, ls=":")
    pulls, widths = np.asarray(result.pulls)[rows], np.asarray(result.constraints)[rows]
    ax.errorbar(pulls, range(len(rows)), xerr=widths, fmt="o", color="black", ms=4, lw=1.2)
    list_parameters(ax, names)
    reach = max(2.5, 1.08 * float(np.max(np.abs(pulls) + widths, initial=0.0)))
    ax.set_xlim(-reach, reach)
    ax.set_xlabel(r"$(\hat{\theta} - \theta_0)\,/\,\Delta\theta$")
    return ax
