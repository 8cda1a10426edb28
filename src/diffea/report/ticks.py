"""Minor ticks as one artist along each side of a panel: matplotlib makes five of every tick, which takes longer than all else in a picture."""

from __future__ import annotations

import numpy as np
from matplotlib import markers, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from diffea.types import PyTree

__all__ = ["join_minor_ticks"]

SIDES = {
    "x": {"bottom": (0.0, markers.TICKUP), "top": (1.0, markers.TICKDOWN)},
    "y": {"left": (0.0, markers.TICKRIGHT), "right": (1.0, markers.TICKLEFT)},
}


def join_minor_ticks(figure: Figure) -> None:
    """Draw them so, for good: where they have no labels, the style has ticks inside, and the panels are where they stay."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        return
    style: PyTree = rcParams
    joined = []
    for axes in figure.axes:
        for name in SIDES:
            axis: PyTree = getattr(axes, f"{name}axis")
            places, inside = axis.get_minorticklocs(), style[f"{name}tick.direction"] == "in"
            if inside and len(places) and not any(axis.minor.formatter.format_ticks(places)):
                joined.append(axis)
                for line in _lines(axes, name, np.asarray(places)):
                    figure.add_artist(line)
    for axis in joined:  # at last: panels may share an axis
        axis.set_minor_locator(NullLocator())


def _lines(axes: Axes, name: str, places: np.ndarray) -> list[Line2D]:
    """A line without a line on each side that has ticks, in which they are markers."""
    axis: PyTree = getattr(axes, f"{name}axis")
    low, high = sorted(axis.get_view_interval())
    inside = places[(low <= places) & (places <= high)]
    shown = axis.get_tick_params(which="minor")
    style: PyTree = rcParams
    look: PyTree = {
        "linestyle": "none",
        "markersize": style[f"{name}tick.minor.size"],
        "markeredgewidth": style[f"{name}tick.minor.width"],
        "color": style[f"{name}tick.color"],
        "transform": axes.get_xaxis_transform() if name == "x" else axes.get_yaxis_transform(),
    }
    lines = []
    for side, (at, marker) in SIDES[name].items():
        if shown[side]:
            along = inside, np.full(len(inside), at)
            lines.append(Line2D(*(along if name == "x" else along[::-1]), **look | {"marker": marker}))
    return lines
