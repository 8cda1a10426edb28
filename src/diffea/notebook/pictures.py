"""Pictures that results and templates draw of themselves; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from diffea.errors import TemplateError
from diffea.notebook.canvas import FILLS, INK, RED, axes_for, axes_with_ratio
from diffea.types import PyTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_path(result: PyTree, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """The loss of every step above, and the parameters below, each between its smallest (0) and largest value (1).

    Args:
        result: of an optimisation.
        axes: where to draw; a new figure by default.
    """
    above, below = axes_with_ratio(axes, 6.0, 5.2)
    steps = [step.step for step in result.history]
    above.plot(steps, [step.loss for step in result.history], color=INK, marker=".")
    checked = [(step.step, step.validation) for step in result.history if step.validation is not None]
    if checked:
        above.plot(*zip(*checked, strict=True), color=RED, marker=".", label="validation")
        above.legend(frameon=False)
    above.set_ylabel("loss")
    names = list(result.history[0].params or {}) if result.history else []
    for name, colour in zip(names, FILLS, strict=False):
        values = np.array([np.nan if step.params is None else step.params[name] for step in result.history])
        span = np.nanmax(values) - np.nanmin(values) or 1.0
        below.plot(steps, (values - np.nanmin(values)) / span, color=colour, label=name)
    if names:
        below.legend(frameon=False, fontsize=8, ncols=3)
    below.set(xlabel="step", ylabel="parameters", ylim=(-0.1, 1.1))
    return above, below


def plot_channel(
    templates: Mapping[PyTree, PyTree], channel: str | None = None, signal: Collection[str] = (), ax: Axes | None = None
) -> Axes:
    """The nominal samples of a channel on top of each other with their statistical error, signals as lines before them.

    Args:
        templates: with the channel.
        channel: its name; may be left out where there is one.
        signal: samples that are drawn as lines.
        ax: where to draw; a new figure by default.

    Raises:
        TemplateError: if there is no such channel, several and none is named, or it has several axes.
    """
    import mplhep

    channels = list(dict.fromkeys(key[0] for key in templates))
    if channel is None and len(channels) == 1:
        channel = channels[0]
    if channel not in channels:
        msg = f"expected one of the channels {', '.join(channels)}, got {channel}"
        raise TemplateError(msg)
    found = {key[1]: templates[key].to_hist() for key in templates if key[0] == channel and key[2] == "nominal"}
    if any(len(histogram.axes) > 1 for histogram in found.values()):
        msg = f"a picture needs a channel of one axis, {channel!r} has more: take `to_hist()` and project"
        raise TemplateError(msg)
    stacked = {
        name: histogram
        for name, histogram in sorted(found.items(), key=lambda pair: pair[1].sum().value)
        if name not in signal
    }
    ax = axes_for(ax, 6.0, 4.4)
    if stacked:
        mplhep.histplot([*stacked.values()], stack=True, flow="none", histtype="fill", label=[*stacked], color=[*FILLS[: len(stacked)]] if len(stacked) <= len(FILLS) else None, ax=ax)  # fmt: skip
        total = sum(stacked.values())
        error = np.sqrt(total.variances())
        ax.stairs(total.values() + error, total.axes[0].edges, baseline=total.values() - error, fill=True, color="none", hatch="////", ec=INK, lw=0, label="simulation")  # fmt: skip
    for name, histogram in found.items():
        if name in signal:
            mplhep.histplot(histogram, color=RED, label=name, yerr=False, flow="none", ax=ax)
    axis = next(iter(found.values())).axes[0]
    ax.set(xlabel=axis.label or axis.name, ylabel="events", title=channel)
    ax.legend(frameon=False)
    return ax


def signals(model: PyTree) -> set[str]:
    """Samples that the parameter of interest multiplies."""
    poi = (model.settings.poi_name, "normfactor")
    return {
        sample.name for channel in model.spec.channels for sample in channel.samples.values() if poi in sample.modifiers
    }
