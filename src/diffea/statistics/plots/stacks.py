"""Stacked samples of a channel with data and their ratio, before and after a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from diffea.errors import DataError
from diffea.notebook.canvas import FILLS, GREY, INK, axes_with_ratio
from diffea.statistics.bound import BoundModel
from diffea.statistics.predictions import Prediction, postfit, prefit
from diffea.statistics.solver import Solver

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_prefit(
    bound: BoundModel, channel: str, data: Any = None, *, edges: Any = None, axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """Samples of a channel at the initial parameters, with the uncertainty of all constraints (`prefit`).

    Args:
        bound: the model.
        channel: its name.
        data: events of all bins and auxiliary data; shown only if given here.
        edges: of the bins, shape (bins + 1,); numbers of the bins by default.
        axes: where to draw the stack and the ratio.

    Raises:
        DataError: if data or edges are too few or too many.
        SpecError: for a channel that is none.
    """
    return _draw(prefit(bound, data), channel, edges, axes, "pre-fit")


def plot_postfit(
    bound: BoundModel,
    channel: str,
    data: Any,
    *,
    edges: Any = None,
    axes: tuple[Axes, Axes] | None = None,
    solver: Solver | None = None,
) -> tuple[Axes, Axes]:
    """Samples of a channel at the best fit, with the uncertainty of the fitted parameters (`postfit`).

    Args:
        bound: the model.
        channel: its name.
        data: events of all bins and auxiliary data.
        edges: of the bins, shape (bins + 1,); numbers of the bins by default.
        axes: where to draw the stack and the ratio.
        solver: how to fit.

    Raises:
        DataError: if data or edges are too few or too many.
        FitError: if the fit does not converge.
        SpecError: for a channel that is none.
    """
    return _draw(postfit(bound, data, solver=solver), channel, edges, axes, "post-fit")


def _draw(result: Prediction, channel: str, given: Any, axes: tuple[Axes, Axes] | None, when: str) -> tuple[Axes, Axes]:
    import mplhep

    bins = result.bins(channel)
    number = bins.stop - bins.start
    edges = np.arange(number + 1) + 0.5 if given is None else np.asarray(given, float)
    if edges.shape != (number + 1,):
        msg = f"the {number} bins of {channel!r} have {number + 1} edges, got {edges.shape}"
        raise DataError(msg)
    events = np.asarray(result.by_sample)[:, bins]
    shown = sorted((row for row in range(len(events)) if events[row].any()), key=lambda row: events[row].sum())
    total, width = np.asarray(result.total)[bins], np.asarray(result.uncertainty)[bins]
    above, below = axes_with_ratio(axes, 6.0, 5.2)
    mplhep.histplot(
        [events[row] for row in shown],
        edges,
        stack=True,
        histtype="fill",
        label=[result.samples[row] for row in shown],
        color=[FILLS[row % len(FILLS)] for row in shown],
        ax=above,
    )
    _band(above, edges, total, width, "uncertainty")
    filled = total > 0
    scale = np.where(filled, total, 1.0)
    _band(below, edges, np.ones(number), np.where(filled, width / scale, 0.0), None)
    if result.data is not None:
        seen, centres = np.asarray(result.data)[bins], 0.5 * (edges[1:] + edges[:-1])
        look: dict[str, Any] = {"fmt": "o", "color": "black", "ms": 4, "lw": 1.2}
        above.errorbar(centres, seen, yerr=np.sqrt(seen), label="data", **look)
        below.errorbar(centres[filled], (seen / scale)[filled], yerr=(np.sqrt(seen) / scale)[filled], **look)
        below.set_ylim(*_ratio_limits((seen / scale)[filled], ((np.sqrt(seen) + width) / scale)[filled]))
    else:
        below.set_ylim(*_ratio_limits(np.ones(number), np.where(filled, width / scale, 0.0)))
    above.set_ylim(0.0, 1.5 * max(above.get_ylim()[1] / 1.05, float(total.max()), 1e-9))
    above.set_xlim(edges[0], edges[-1])
    if given is None:
        below.set_xticks(np.arange(number) + 1)
    above.set_ylabel("events")
    above.tick_params(labelbottom=False)
    parts = dict(zip(*reversed(above.get_legend_handles_labels()), strict=True))
    order = [*(["data"] if "data" in parts else []), *[result.samples[row] for row in reversed(shown)], "uncertainty"]
    above.legend(
        [parts[name] for name in order], order, loc="upper right", ncols=2, frameon=False, title=f"{channel}, {when}"
    )
    below.axhline(1.0, color=GREY, lw=1.0, ls="--", zorder=0)
    below.set_ylabel("data / pred." if result.data is not None else "rel. unc.")
    below.set_xlabel("bin" if given is None else channel)
    return above, below


def _band(ax: Axes, edges: np.ndarray, middle: np.ndarray, width: np.ndarray, label: str | None) -> None:
    look: dict[str, Any] = {"facecolor": "none", "edgecolor": INK, "hatch": "/////", "lw": 0.0}
    ax.stairs(middle + width, edges, baseline=middle - width, fill=True, label=label, **look)


def _ratio_limits(ratio: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Around 1, as far as values and errors go, but no farther than 0 and 2."""
    reach = float(np.max(np.abs(ratio - 1.0) + error, initial=0.05))
    return 1.0 - min(1.1 * reach, 1.0), 1.0 + min(1.1 * reach, 1.0)
