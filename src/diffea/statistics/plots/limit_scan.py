"""CLs against the parameter of interest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jax import Array

from diffea.notebook.canvas import GREEN_BAND, INK, RED, YELLOW_BAND, axes_for
from diffea.statistics.limit_scans import LimitScan

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_limit_scan(result: LimitScan, *, ax: Axes | None = None) -> Axes:
    """Observed and expected CLs with the ±1 and ±2 σ band, the level of exclusion, and the upper limits.

    Args:
        result: of `limit_scan`.
        ax: where to draw.
    """
    ax = axes_for(ax, 6.0, 4.2)
    order = np.argsort(np.asarray(result.pois))
    pois, band = np.asarray(result.pois)[order], np.asarray(result.band)[order]
    ax.fill_between(pois, band[:, 0], band[:, 4], color=YELLOW_BAND, lw=0, label=r"expected $\pm 2\,\sigma$")
    ax.fill_between(pois, band[:, 1], band[:, 3], color=GREEN_BAND, lw=0, label=r"expected $\pm 1\,\sigma$")
    ax.plot(pois, band[:, 2], color="black", ls="--", label="expected (median)")
    level = 1.0 - result.cl
    if result.observed is not None:
        ax.plot(pois, np.asarray(result.observed)[order], color="black", marker="o", ms=3, label="observed")
    ax.axhline(level, color=RED, lw=1.2, label=rf"$\mathrm{{CL}}_s = {level:.3g}$")
    _mark(ax, result.limit.expected, level, "expected", "white")
    if result.limit.observed is not None:
        _mark(ax, result.limit.observed, level, "observed", INK)
    ax.set_xlim(pois[0], pois[-1])
    ax.set_ylim(0.0, 1.02)
    ax.set_xlabel(result.poi)
    ax.set_ylabel(r"$\mathrm{CL}_s$")
    ax.legend(loc="upper right", framealpha=0.8, edgecolor="none")
    return ax


def _mark(ax: Axes, limit: Array, level: float, what: str, colour: str) -> None:
    name = f"{what} limit: {float(limit):.3g}"
    ax.plot([float(limit)], [level], ls="none", marker="D", ms=6, mec=INK, mfc=colour, zorder=5, label=name)
