"""The profile likelihood along one parameter, or over the plane of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffea.errors import MethodError
from diffea.notebook.canvas import BLUE, GREY, INK, RED, axes_for
from diffea.statistics.scans import Scan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHTS = {2.30: "68 %", 5.99: "95 %"}  # quantiles of chi-squared with two degrees of freedom


def plot_likelihood_scan(result: Scan, *, ax: Axes | None = None) -> Axes:
    r"""$-2\Delta\ln L$: a curve with the heights of one and two standard deviations, or a map with 68 and 95 % contours.

    Args:
        result: of `scan`, with one parameter or two.
        ax: where to draw.

    Raises:
        MethodError: for a scan of more parameters.
    """
    if len(result.parameters) > 2:
        msg = f"plot_likelihood_scan: expected a scan of one or two parameters, got {list(result.parameters)}"
        raise MethodError(msg)
    return _curve(result, ax) if len(result.parameters) == 1 else _map(result, ax)


def _curve(result: Scan, ax: Axes | None) -> Axes:
    ax = axes_for(ax, 5.6, 4.0)
    order = np.argsort(np.asarray(result.values[0]))
    values, heights = np.asarray(result.values[0])[order], np.asarray(result.deviance)[order]
    ax.plot(values, heights, color=BLUE, marker="o", ms=3)
    top = max(1.1 * float(np.nanmax(heights)), 1.2)
    for height, text in ((1.0, r"$1\,\sigma$"), (4.0, r"$2\,\sigma$")):
        if height < top:
            ax.axhline(height, color=GREY, lw=1, ls="--")
            ax.annotate(
                text, (1.0, height), (-3, 2), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right"
            )
    ax.axvline(float(result.best[0]), color=INK, lw=1, ls=":", label=f"best fit: {float(result.best[0]):.3g}")
    ax.set_xlim(values[0], values[-1])
    ax.set_ylim(min(0.0, 1.1 * float(np.nanmin(heights))), top)
    ax.set_xlabel(result.parameters[0])
    ax.set_ylabel(r"$-2\,\Delta\ln L$")
    ax.legend(loc="upper center", frameon=False)
    return ax


def _map(result: Scan, ax: Axes | None) -> Axes:
    ax = axes_for(ax, 6.0, 4.6)
    x, y = (np.asarray(values) for values in result.values)
    heights = np.asarray(result.deviance).T
    image = ax.pcolormesh(
        x, y, heights, cmap="Blues_r", shading="gouraud", vmin=0.0, vmax=min(float(np.nanmax(heights)), 12.0)
    )
    ax.figure.colorbar(image, ax=ax, label=r"$-2\,\Delta\ln L$", extend="max" if np.nanmax(heights) > 12 else "neither")
    crossed = [height for height in _HEIGHTS if np.nanmin(heights) < height < np.nanmax(heights)]
    if crossed:
        lines = ax.contour(
            x, y, heights, levels=crossed, colors=RED, linewidths=1.4, linestyles=["solid", "dashed"][: len(crossed)]
        )
        ax.clabel(lines, fmt=_HEIGHTS, fontsize=9)
    ax.plot(
        *map(float, result.best), marker="P", ms=9, color=RED, mec="white", ls="none", clip_on=False, label="best fit"
    )
    ax.set_xlim(x.min(), x.max())
    ax.set_ylim(y.min(), y.max())
    ax.set_xlabel(result.parameters[0])
    ax.set_ylabel(result.parameters[1])
    ax.legend(loc="upper right", frameon=True)
    return ax
