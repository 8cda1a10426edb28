"""The report's pictures of losses and templates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import mplhep
import numpy as np
from hist.intervals import poisson_interval
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffea.report.contents import WHEN, Histogram, Run
from diffea.report.pictures import INK, Picture, file_name, styled
from diffea.types import JSONDict

__all__ = ["history", "soft_and_hard", "stacks", "train_and_test"]

COLOURS = ("#5790fc", "#f89c20", "#964a8b", "#9c9ca1", "#7a21dd", "#86c8dd", "#b9ac70", "#717581", "#92dadd", "#a96b59")
SIGNAL = "#e42536"
LINES = ("-", "--", ":")
MOST = 2.0  # that a ratio panel shows above 1


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
    """Hard templates of a channel before and after: stacked backgrounds, their uncertainty, the signal, and what was observed; ratios below."""
    filled = [w for w in WHEN if any(key.startswith(f"{channel}/") for key in run.templates[w]["hard_test"])]
    with styled():
        figure = Figure(figsize=(7.6, 4.3))
        panels, ratios = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=(3.0, 1.0))
        lowest, highest, farthest = [], [], [0.1]
        for axes in (*panels[len(filled) :], *ratios[len(filled) :]):
            axes.set_axis_off()
        for axes, below, when in zip(panels, ratios, filled, strict=False):
            stack = _stack(run, when, channel)
            low, high = _draw_stack(axes, stack, colours)
            lowest.append(low)
            highest.append(high)
            farthest.append(_draw_ratio(below, stack, colours))
            axes.set_title(when, loc="left", fontweight="bold")
        bottom = max(min(lowest) / 3, max(highest) * 1e-5)
        panels[0].set_yscale("log")
        panels[0].set_ylim(bottom, max(highest) * (max(highest) / bottom) ** 0.45)
        panels[0].set_ylabel("observed and expected" if run.observations(channel) is not None else "expected events")
        reach = min(1.15 * max(farthest), MOST)
        ratios[0].set_ylim(max(1 - reach, 0.0), 1 + reach)
        ratios[0].set_ylabel("over\nbackground")
        panels[len(filled) - 1].legend(loc="upper right", ncols=2)
        return Picture(file_name("templates", channel), figure, f"Templates of {channel} before and after")


@dataclasses.dataclass(frozen=True)
class _Stack:
    """What a stack is made of: backgrounds from the smallest to the largest, their sum and its error, signals, and observed events."""

    backgrounds: dict[str, Histogram]
    total: np.ndarray
    error: np.ndarray
    signals: dict[str, Histogram]
    observed: np.ndarray | None


def _stack(run: Run, when: str, channel: str) -> _Stack:
    backgrounds, signals = (
        {s: h for s in samples if (h := run.histogram(when, "hard_test", channel, s)) is not None}
        for samples in run.samples(channel)
    )
    order = sorted(backgrounds, key=lambda sample: backgrounds[sample].values.sum())
    total = np.sum([backgrounds[sample].values for sample in order], axis=0) if order else np.zeros(0)
    error = run.uncertainty(when, "hard_test", channel, order) if order else np.zeros(0)
    observed = run.observations(channel) if when == "after" else None
    return _Stack({sample: backgrounds[sample] for sample in order}, total, error, signals, observed)


def _draw_stack(axes: Axes, stack: _Stack, colours: dict[str, str]) -> tuple[float, float]:
    """Draw one stack; returns the smallest yield worth showing and the largest."""
    heights = []
    if stack.backgrounds:
        first = next(iter(stack.backgrounds.values()))
        edges, total, error = first.edges, stack.total, stack.error
        mplhep.histplot(
            [histogram.values for histogram in stack.backgrounds.values()], edges, ax=axes, stack=True, histtype="fill",
            label=[*stack.backgrounds], color=[colours[sample] for sample in stack.backgrounds], linewidth=0.0,
        )  # fmt: skip
        axes.stairs(
            total + error, edges, baseline=np.maximum(total - error, 0), fill=True, facecolor="none",
            edgecolor="#555555", hatch="//////", linewidth=0.0, label="uncertainty",
        )  # fmt: skip
        axes.set_xlim(edges[0], edges[-1])
        heights += [*total, *(total + error)]
        if stack.observed is not None:
            _points(axes, edges, stack.observed, np.ones_like(total), "observed")
            heights += list(stack.observed)
    for index, (sample, histogram) in enumerate(stack.signals.items()):
        axes.stairs(
            histogram.values, histogram.edges, color=colours[sample], linewidth=1.8, label=f"{sample} ($\\mu=1$)",
            linestyle=LINES[index % 3], baseline=None,
        )  # fmt: skip
        heights += list(histogram.values)
    positive = [height for height in heights if height > 0] or [1.0]
    return min(positive), max(positive)


def _draw_ratio(axes: Axes, stack: _Stack, colours: dict[str, str]) -> float:
    """Signal and background, and what was observed, over the background; returns how far from 1 that is."""
    if not stack.backgrounds:
        return 0.0
    first = next(iter(stack.backgrounds.values()))
    edges, total = first.edges, np.where(stack.total > 0, stack.total, np.nan)
    relative = np.nan_to_num(stack.error / total)
    axes.stairs(
        1 + relative, edges, baseline=np.maximum(1 - relative, 0), fill=True, facecolor="none", edgecolor="#555555",
        hatch="//////", linewidth=0.0, label="uncertainty",
    )  # fmt: skip
    axes.axhline(1.0, color=INK, linewidth=0.7)
    farthest = [*relative]
    for index, (sample, histogram) in enumerate(stack.signals.items()):
        ratio = 1 + histogram.values / total
        axes.stairs(
            ratio, edges, color=colours[sample], linewidth=1.4, linestyle=LINES[index % 3], baseline=None, label=sample
        )
        farthest += [*np.abs(ratio - 1)]
    if stack.observed is not None:
        _points(axes, edges, stack.observed, total, "observed")
        farthest += [*np.abs(stack.observed / total - 1)]
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(first.label)
    return float(np.nanmax(farthest, initial=0.0))


def _points(axes: Axes, edges: np.ndarray, counts: np.ndarray, over: np.ndarray, label: str) -> None:
    """Observed events with their central Poisson intervals (Garwood)."""
    low, high = poisson_interval(counts)
    spans = np.array([counts - np.nan_to_num(low), high - counts]) / over
    axes.errorbar((edges[1:] + edges[:-1]) / 2, counts / over, spans, fmt="o", color=INK, linewidth=1.0, label=label)


def soft_and_hard(run: Run, channel: str) -> Picture:
    """Soft and hard cuts after the optimisation, on the same events; an older result has hard cuts of other events alone."""
    kind = "hard_train" if run.trained_on else "hard_test"
    name, words = file_name("soft-hard", channel), f"Soft and hard templates of {channel}"
    return _compared(run, channel, {"soft": "soft cuts", kind: "hard cuts"}, "soft / hard", name, words)


def train_and_test(run: Run, channel: str) -> Picture | None:
    """Hard cuts after the optimisation, on events that were trained on and on others."""
    if run.result["split"] is None or not run.trained_on:
        return None
    name, words = file_name("train-test", channel), f"Templates of {channel} of events trained on and of others"
    kinds = {"hard_train": "trained on", "hard_test": "other events"}
    return _compared(run, channel, kinds, "train / other", name, words)


def _compared(run: Run, channel: str, kinds: dict[str, str], ratio: str, name: str, words: str) -> Picture:
    """All backgrounds and all signals of a channel, of two kinds, and their ratio; the second kind has its statistical error."""
    first, second = kinds
    with styled():
        figure = Figure(figsize=(7.6, 3.0))
        upper, lower = figure.subplots(2, 2, sharex="col", height_ratios=(2.4, 1.0))
        groups = zip(("background", "signal"), run.samples(channel), (COLOURS[0], SIGNAL), strict=True)
        for column, (group, samples, colour) in enumerate(groups):
            line, _, _ = _sum(run, first, channel, samples)
            points, variance, histogram = _sum(run, second, channel, samples)
            if histogram is None:
                continue
            centres, error = (histogram.edges[1:] + histogram.edges[:-1]) / 2, np.sqrt(variance)
            upper[column].stairs(line, histogram.edges, color=colour, linewidth=1.6, label=kinds[first])
            upper[column].errorbar(centres, points, error, fmt="o", color=INK, label=kinds[second], linewidth=1.0)
            upper[column].set_title(group, loc="left", fontweight="bold")
            upper[column].set_ylim(bottom=0)
            upper[column].legend(loc="upper right")
            with np.errstate(divide="ignore", invalid="ignore"):
                quotient, spread = line / points, error / np.abs(points)
            lower[column].axhline(1.0, color=INK, linewidth=0.7)
            lower[column].stairs(1 + spread, histogram.edges, baseline=1 - spread, fill=True, color="#dddddd")
            lower[column].stairs(quotient, histogram.edges, color=colour, linewidth=1.6, baseline=None)
            lower[column].set(ylim=(0.5, 1.5), xlim=(histogram.edges[0], histogram.edges[-1]), xlabel=histogram.label)
        upper[0].set_ylabel("events per bin")
        lower[0].set_ylabel(ratio)
        return Picture(name, figure, words)


def _sum(run: Run, kind: str, channel: str, samples: Sequence[str]) -> tuple[Any, Any, Any]:
    """Values, variances and one of the histograms (None without any) of the sum of the samples after the optimisation."""
    found = [h for sample in samples if (h := run.histogram("after", kind, channel, sample)) is not None]
    return sum(h.values for h in found), sum(h.variances for h in found), found[0] if found else None
