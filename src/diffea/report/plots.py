"""The report's figures, each returned as an SVG document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffea.report.contents import WHEN, Run
from diffea.report.pictures import INK, Picture, file_name, styled
from diffea.types import JSONDict

__all__ = ["history", "soft_and_hard", "stacks"]

COLOURS = ("#5790fc", "#f89c20", "#964a8b", "#9c9ca1", "#7a21dd", "#86c8dd", "#b9ac70", "#717581", "#92dadd", "#a96b59")
SIGNAL = "#e42536"


def history(steps: Sequence[JSONDict]) -> Picture:
    """Loss and gradient norm of every step, side by side; steps with exact cuts have no gradient, and squares for the loss."""
    number = np.array([step.get("step", i) for i, step in enumerate(steps)])
    sloped = np.array([step["gradient_norm"] is not None for step in steps], dtype=bool)
    norms = [step["gradient_norm"] for step in steps if step["gradient_norm"] is not None]
    losses = np.array([step["loss"] for step in steps])
    with styled():
        figure = Figure(figsize=(7.6, 2.7))
        loss, gradient = figure.subplots(1, 2)
        loss.plot(number[sloped], losses[sloped], marker="o", color=COLOURS[0], label="soft")
        if not sloped.all():
            loss.plot(
                number[~sloped],
                losses[~sloped],
                marker="s",
                ls="",
                color=COLOURS[1],
                label="exact cuts, best of the pass",
            )
            loss.legend()
        loss.set_ylabel("loss")
        gradient.plot(number[sloped], norms, marker="o", color=COLOURS[2])
        if all(norm > 0 for norm in norms):
            gradient.set_yscale("log")
        gradient.set_ylabel("gradient norm")
        for axes in (loss, gradient):
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return Picture("history", figure, "Loss and gradient norm at every step")


def stacks(run: Run, channel: str, colours: dict[str, str]) -> Picture:
    """Hard templates of a channel before and after: stacked backgrounds, their uncertainty, the signal."""
    filled = [w for w in WHEN if any(key.startswith(f"{channel}/") for key in run.templates[w]["hard_test"])]
    with styled():
        figure = Figure(figsize=(7.6, 3.5))
        panels, lowest, highest = figure.subplots(1, 2, sharey=True), [], []
        for axes in panels[len(filled) :]:
            axes.set_axis_off()
        for axes, when in zip(panels, filled, strict=False):
            low, high = _stack(axes, run, when, channel, colours)
            lowest.append(low)
            highest.append(high)
            axes.set_title(when, loc="left", fontweight="bold")
        bottom = max(min(lowest) / 3, max(highest) * 1e-5)
        panels[0].set_yscale("log")
        panels[0].set_ylim(bottom, max(highest) * (max(highest) / bottom) ** 0.45)
        panels[0].set_ylabel("expected events per bin")
        panels[len(filled) - 1].legend(loc="upper right", ncols=2)
        return Picture(file_name("templates", channel), figure, f"Templates of {channel} before and after")


def _stack(axes: Axes, run: Run, when: str, channel: str, colours: dict[str, str]) -> tuple[float, float]:
    """Draw one stack; returns the smallest yield worth showing and the largest."""
    backgrounds, signals = run.samples(channel)
    drawn = {s: h for s in backgrounds if (h := run.histogram(when, "hard_test", channel, s)) is not None}
    order = sorted(drawn, key=lambda sample: drawn[sample].values.sum())
    heights = []
    if order:
        edges = drawn[order[0]].edges
        total = np.sum([drawn[sample].values for sample in order], axis=0)
        mplhep.histplot(
            [drawn[sample].values for sample in order], edges, ax=axes, stack=True, histtype="fill",
            label=order, color=[colours[sample] for sample in order], linewidth=0.0,
        )  # fmt: skip
        error = run.uncertainty(when, "hard_test", channel, order)
        axes.stairs(
            total + error, edges, baseline=np.maximum(total - error, 0), fill=True, facecolor="none",
            edgecolor="#555555", hatch="//////", linewidth=0.0, label="uncertainty",
        )  # fmt: skip
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel(drawn[order[0]].label)
        heights += [*total, *(total + error)]
    for index, sample in enumerate(signals):
        histogram = run.histogram(when, "hard_test", channel, sample)
        if histogram is not None:
            axes.stairs(
                histogram.values, histogram.edges, color=colours[sample], linewidth=1.8, label=f"{sample} ($\\mu=1$)",
                linestyle=("-", "--", ":")[index % 3], baseline=None,
            )  # fmt: skip
            heights += list(histogram.values)
    positive = [height for height in heights if height > 0] or [1.0]
    return min(positive), max(positive)


def soft_and_hard(run: Run, channel: str) -> Picture:
    """All backgrounds and all signals of a channel after the optimisation, with soft and with hard cuts, and their ratio."""
    with styled():
        figure = Figure(figsize=(7.6, 3.0))
        upper, lower = figure.subplots(2, 2, sharex=True, height_ratios=(2.4, 1.0))
        groups = zip(("background", "signal"), run.samples(channel), (COLOURS[0], SIGNAL), strict=True)
        for column, (name, samples, colour) in enumerate(groups):
            soft, _, _ = _sum(run, "soft", channel, samples)
            hard, variance, histogram = _sum(run, "hard_test", channel, samples)
            if histogram is None:
                continue
            centres, error = (histogram.edges[1:] + histogram.edges[:-1]) / 2, np.sqrt(variance)
            upper[column].stairs(soft, histogram.edges, color=colour, linewidth=1.6, label="soft cuts")
            upper[column].errorbar(centres, hard, error, fmt="o", color=INK, label="hard cuts", linewidth=1.0)
            upper[column].set_title(name, loc="left", fontweight="bold")
            upper[column].set_ylim(bottom=0)
            upper[column].legend(loc="upper right")
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio, spread = soft / hard, error / np.abs(hard)
            lower[column].axhline(1.0, color=INK, linewidth=0.7)
            lower[column].stairs(1 + spread, histogram.edges, baseline=1 - spread, fill=True, color="#dddddd")
            lower[column].stairs(ratio, histogram.edges, color=colour, linewidth=1.6, baseline=None)
            lower[column].set(ylim=(0.5, 1.5), xlim=(histogram.edges[0], histogram.edges[-1]), xlabel=histogram.label)
        upper[0].set_ylabel("events per bin")
        lower[0].set_ylabel("soft / hard")
        return Picture(file_name("soft-hard", channel), figure, f"Soft and hard templates of {channel}")


def _sum(run: Run, kind: str, channel: str, samples: Sequence[str]) -> tuple[Any, Any, Any]:
    """Values, variances and one of the histograms (None without any) of the sum of the samples after the optimisation."""
    found = [h for sample in samples if (h := run.histogram("after", kind, channel, sample)) is not None]
    return sum(h.values for h in found), sum(h.variances for h in found), found[0] if found else None
