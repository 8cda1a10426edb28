"""Where pictures are drawn, and how they look."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, INK, GREY = "#3f90da", "#ffa90e", "#bd1f01", "#222222", "#94a4a2"
FILLS = ("#3f90da", "#ffa90e", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd", "#bd1f01")
GREEN_BAND, YELLOW_BAND = "#607641", "#f5bb54"  # of limits, readable with any colour vision

_LOOK: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelsize": 10.5,
    "font.size": 10.0,
    "xtick.direction": "in",
    "xtick.labelsize": 9.0,
    "xtick.top": True,
    "ytick.direction": "in",
    "ytick.labelsize": 9.0,
    "ytick.right": True,
}


def axes_for(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of this size in inches."""
    if ax is not None:
        return ax
    with _look() as plt:
        figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    _spaced(figure, w_pad=0.08, h_pad=0.06)
    return ax


def axes_with_ratio(axes: tuple[Axes, Axes] | None, width: float, height: float) -> tuple[Axes, Axes]:
    """The given axes, or those of a new figure: a picture above, the ratio below."""
    if axes is not None:
        return axes
    with _look() as plt:
        figure, (above, below) = plt.subplots(
            2, 1, figsize=(width, height), sharex=True, height_ratios=(3, 1), layout="constrained"
        )
    _spaced(figure, w_pad=0.06, h_pad=0.02, hspace=0.0)
    return above, below


@contextlib.contextmanager
def _look() -> Iterator[ModuleType]:
    """pyplot, with our settings for a while.

    Its backend is there before: one that is chosen meanwhile shows figures of itself, as a notebook's does, no longer than they last.
    """
    import matplotlib.pyplot as plt

    plt.draw_if_interactive()
    with plt.rc_context(_LOOK):
        yield plt


def _spaced(figure: Figure, **inches: float) -> None:
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(**inches)


def list_parameters(ax: Axes, names: list[str]) -> None:
    """Names down the vertical axis, the first one on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", which="both", length=0)
