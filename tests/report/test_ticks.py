"""Minor ticks drawn together look as matplotlib's own."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from diffea.report.pictures import small, styled, with_ratio
from diffea.report.ticks import join_minor_ticks

X = np.linspace(0.3, 41.0, 9)


def curve(scale: str, top: float) -> Figure:
    figure, axes = small(3.0, 0.2)
    axes.minorticks_on()
    axes.plot(X, X**2 * top)
    axes.set_yscale(scale)
    return figure


def shared() -> Figure:
    figure, above, below = with_ratio(4.0, 4.0)
    above.plot(X, X)
    below.plot(X, np.ones_like(X))
    below.set_xlim(X[-1], X[0])
    return figure


def pixels(figure: Figure) -> np.ndarray:
    written = io.BytesIO()
    figure.savefig(written, format="rgba", dpi=100)
    return np.frombuffer(written.getvalue(), np.uint8).astype(int)


@pytest.mark.parametrize(
    "draw", [lambda: curve("linear", 1.0), lambda: curve("log", 1e4), shared], ids=["linear", "log", "shared axis"]
)
def test_they_look_the_same(draw: Callable[[], Figure]) -> None:
    with styled():
        theirs, ours, none = draw(), draw(), draw()
        join_minor_ticks(ours)
        for axes in none.axes:
            axes.minorticks_off()
        assert all(
            isinstance(axis.get_minor_locator(), NullLocator) for axes in ours.axes for axis in (axes.xaxis, axes.yaxis)
        )
        expected, found, bare = map(pixels, (theirs, ours, none))
    unlike, missing = ((np.abs(other - expected) > 50).sum() for other in (found, bare))
    assert unlike < 0.02 * missing  # where a tick meets another line, which they are drawn over


def test_those_with_labels_or_outside_stay_and_those_of_panels_that_may_move() -> None:
    with styled():
        labelled = curve("log", 1.0)
        labelled.axes[0].set_ylim(2.0, 8.0)
        join_minor_ticks(labelled)
        assert not isinstance(labelled.axes[0].yaxis.get_minor_locator(), NullLocator)
        moving = Figure()
        moving.subplots().plot(X, X)
        join_minor_ticks(moving)
        with mpl.rc_context({"xtick.direction": "out", "ytick.direction": "out"}):
            outside = curve("linear", 1.0)
            join_minor_ticks(outside)
        assert not outside.lines
        assert not moving.lines
