"""CLs against the parameter of interest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffea.statistics.limit_scans import LimitScan
from diffea.statistics.plots.canvas import GREEN_BAND, INK, RED, YELLOW_BAND, axes_for

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
    level, found = 1.0 - result.cl, [(result.limit.expected, "expected", {"mfc": "white"})]
    if result.observed is not None:
        ax.plot(pois, np.asarray(result.observed)[order], color="black", marker="o", ms=3, label="observed")
        found.append((result.limit.observed, "observed", {}))
    ax.axhline(level, color=RED, lw=1.2, label=rf"$\mathrm{{CL}}_s = {level:.3g}$")
    for limit, what, look in found:
        name = f"{what} limit: {float(limit):.3g}"
        ax.plot([float(limit)], [level], ls="none", marker="D", ms=6, mec=INK, color=INK, zorder=5, label=name, **look)
    ax.set_xlim(pois[0], pois[-1])
    ax.set_ylim(0.0, 1.02)
    ax.set_xlabel(result.poi)
    ax.set_ylabel(r"$\mathrm{CL}_s$")
    ax.legend(loc="upper right", frameon=False)
    return ax
