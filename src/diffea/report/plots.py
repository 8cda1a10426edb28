"""The report's pictures of losses and templates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import mplhep
import numpy as np
from hist.intervals import poisson_interval
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffea.report.contents import WHEN, Histogram, Run
from diffea.report.pictures import INK, Picture, file_name, styled, with_ratio
from diffea.types import JSONDict

__all__ = ["history", "soft_and_hard", "stacks", "train_and_test"]

COLOURS = ("#5790fc", "#f89c20", "#964a8b", "#9c9ca1", "#7a21dd", "#86c8dd", "#b9ac70", "#717581", "#92dadd", "#a96b59")
SIGNAL = "#e42536"
LINES = ("-", "--", ":")
MOST = 2.0  # that a ratio panel shows above 1
ROOM = 1.4  # for the legend above what is drawn


def history(steps: Sequence[JSONDict]) -> list[Picture]:
    """Loss, and gradient norm, of every step; steps with exact cuts have no gradient, and squares for the loss."""
    number = np.array([step.get("step", i) for i, step in enumerate(steps)])
    sloped = np.array([step["gradient_norm"] is not None for step in steps], dtype=bool)
    norms = [step["gradient_norm"] for step in steps if step["gradient_norm"] is not None]
    losses = np.array([step["loss"] for step in steps])
    with styled():
        figure, axes = _against_steps("loss")
        axes.plot(number[sloped], losses[sloped], marker="o", color=COLOURS[0], label="soft")
        if not sloped.all():
            exact = number[~sloped], losses[~sloped]
            axes.plot(*exact, marker="s", ls="", color=COLOURS[1], label="exact cuts, best of the pass")
            axes.legend()
        pictures = [Picture("loss", figure, "Loss at every step")]
        if norms:
            figure, axes = _against_steps("gradient norm")
            axes.plot(number[sloped], norms, marker="o", color=COLOURS[2])
            if all(norm > 0 for norm in norms):
                axes.set_yscale("log")
            pictures.append(Picture("gradient", figure, "Norm of the gradient at every step"))
        return pictures


def _against_steps(label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.8, 2.7))
    axes = figure.subplots()
    axes.set_ylabel(label)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure, axes


def stacks(run: Run, channel: str, colours: dict[str, str]) -> list[Picture]:
    """Hard templates of a channel before and after: stacked backgrounds, their uncertainty, the signal, and what was observed; ratios below."""
    filled = [w for w in WHEN if any(key.startswith(f"{channel}/") for key in run.templates[w]["hard_test"])]
    found = {when: _stack(run, when, channel) for when in filled}
    heights = np.concatenate([stack.heights for stack in found.values()])
    highest = max(heights.max(initial=0.0), 1e-300)
    bottom = max(heights[heights > 0].min(initial=highest) / 3, highest * 1e-5)
    reach = min(1.15 * max(stack.farthest for stack in found.values()), MOST)
    pictures = []
    with styled():
        for when, stack in found.items():
            figure, axes, below = with_ratio(3.8, 4.2)
            _draw_stack(axes, stack, colours)
            _draw_ratio(below, stack, colours)
            axes.set_title(when, loc="left", fontweight="bold")
            axes.set_yscale("log")
            share = 0.1 + 0.065 * np.ceil(len(axes.get_legend_handles_labels()[0]) / 2)  # of the height, for the legend
            axes.set_ylim(bottom, highest * (highest / bottom) ** max(share / (1 - share), 0.45))
            axes.set_ylabel("expected events" if stack.observed is None else "observed and expected")
            axes.legend(loc="upper right", ncols=2)
            below.set_ylim(max(1 - reach, 0.0), 1 + reach)
            below.set_ylabel("over background", fontsize="small")
            pictures.append(Picture(file_name("templates", channel, when), figure, f"Templates of {channel} {when}"))
    return pictures


@dataclasses.dataclass(frozen=True)
class _Stack:
    """What a stack is made of: backgrounds from the smallest to the largest, their sum and its error, signals, and observed events."""

    backgrounds: dict[str, Histogram]
    total: np.ndarray
    error: np.ndarray
    signals: dict[str, Histogram]
    observed: np.ndarray | None

    @property
    def heights(self) -> np.ndarray:
        """All that is drawn above."""
        seen = [] if self.observed is None else [self.observed]
        return np.concatenate([self.total, self.total + self.error, *(h.values for h in self.signals.values()), *seen])

    @property
    def farthest(self) -> float:
        """What is farthest from 1 in the panel below; at least a tenth."""
        over = np.where(self.total > 0, self.total, np.nan)
        if not self.backgrounds:
            return 0.1
        seen = [] if self.observed is None else [self.observed / over - 1]
        ratios = np.concatenate([self.error / over, *(h.values / over for h in self.signals.values()), *seen])
        return float(np.nanmax(np.abs(ratios), initial=0.1))


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


def _draw_stack(axes: Axes, stack: _Stack, colours: dict[str, str]) -> None:
    if stack.backgrounds:
        edges = next(iter(stack.backgrounds.values())).edges
        mplhep.histplot(
            [histogram.values for histogram in stack.backgrounds.values()], edges, ax=axes, stack=True, histtype="fill",
            label=[*stack.backgrounds], color=[colours[sample] for sample in stack.backgrounds], linewidth=0.0,
        )  # fmt: skip
        _hatched(axes, edges, stack.total - stack.error, stack.total + stack.error)
        if stack.observed is not None:
            _points(axes, edges, stack.observed, np.ones_like(stack.total), "observed")
    for index, (sample, histogram) in enumerate(stack.signals.items()):
        axes.stairs(
            histogram.values, histogram.edges, color=colours[sample], linewidth=1.8, label=f"{sample} ($\\mu=1$)",
            linestyle=LINES[index % 3], baseline=None,
        )  # fmt: skip


def _draw_ratio(axes: Axes, stack: _Stack, colours: dict[str, str]) -> None:
    """Signal and background, and what was observed, over the background."""
    axes.axhline(1.0, color=INK, linewidth=0.7)
    for histogram in (*stack.backgrounds.values(), *stack.signals.values()):
        axes.set_xlim(histogram.edges[0], histogram.edges[-1])
        axes.set_xlabel(histogram.label)
    if not stack.backgrounds:
        return
    edges, total = next(iter(stack.backgrounds.values())).edges, np.where(stack.total > 0, stack.total, np.nan)
    relative = np.nan_to_num(stack.error / total)
    _hatched(axes, edges, 1 - relative, 1 + relative)
    for index, (sample, histogram) in enumerate(stack.signals.items()):
        style, ratio = LINES[index % 3], 1 + histogram.values / total
        axes.stairs(ratio, edges, color=colours[sample], linewidth=1.4, linestyle=style, baseline=None, label=sample)
    if stack.observed is not None:
        _points(axes, edges, stack.observed, total, "observed")


def _hatched(axes: Axes, edges: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    axes.stairs(
        high, edges, baseline=np.maximum(low, 0), fill=True, facecolor="none", edgecolor="#555555", hatch="//////",
        linewidth=0.0, label="uncertainty",
    )  # fmt: skip


def _points(axes: Axes, edges: np.ndarray, counts: np.ndarray, over: np.ndarray, label: str) -> None:
    """Observed events with their central Poisson intervals (Garwood)."""
    low, high = poisson_interval(counts)
    spans = np.array([counts - np.nan_to_num(low), high - counts]) / over
    axes.errorbar((edges[1:] + edges[:-1]) / 2, counts / over, spans, fmt="o", color=INK, linewidth=1.0, label=label)


def soft_and_hard(run: Run, channel: str) -> list[Picture]:
    """Soft and hard cuts after the optimisation, on the same events; an older result has hard cuts of other events alone."""
    kind = "hard_train" if run.trained_on else "hard_test"
    return list(_compared(run, channel, "soft-hard", {"soft": "soft cuts", kind: "hard cuts"}, "soft / hard"))


def train_and_test(run: Run, channel: str) -> list[Picture]:
    """Hard cuts after the optimisation, on events that were trained on and on others; nothing where there is only one of the two."""
    if run.result["split"] is None or not run.trained_on:
        return []
    kinds = {"hard_train": "trained on", "hard_test": "other events"}
    return list(_compared(run, channel, "train-test", kinds, "train / other"))


def _compared(run: Run, channel: str, name: str, kinds: dict[str, str], ratio: str) -> Iterator[Picture]:
    """All backgrounds, and all signals, of a channel, of two kinds, and their ratio; the second kind has its statistical error."""
    first, second = kinds
    for group, samples, colour in zip(
        ("background", "signal"), run.samples(channel), (COLOURS[0], SIGNAL), strict=True
    ):
        line, _, _ = _sum(run, first, channel, samples)
        points, variance, histogram = _sum(run, second, channel, samples)
        if histogram is None:
            continue
        edges, error = histogram.edges, np.sqrt(variance)
        with styled():
            figure, above, below = with_ratio(3.8, 3.2)
            above.stairs(line, edges, color=colour, linewidth=1.6, label=kinds[first])
            above.errorbar(
                (edges[1:] + edges[:-1]) / 2, points, error, fmt="o", color=INK, label=kinds[second], linewidth=1.0
            )
            above.set_title(group, loc="left", fontweight="bold")
            above.set_ylim(0, ROOM * max(np.max(line), np.max(points + error)) or 1)
            above.set_ylabel("events per bin")
            above.legend(loc="upper right")
            with np.errstate(divide="ignore", invalid="ignore"):
                quotient, spread = line / points, error / np.abs(points)
            below.axhline(1.0, color=INK, linewidth=0.7)
            below.stairs(1 + spread, edges, baseline=1 - spread, fill=True, color="#dddddd")
            below.stairs(quotient, edges, color=colour, linewidth=1.6, baseline=None)
            below.set(ylim=(0.5, 1.5), xlim=(edges[0], edges[-1]), xlabel=histogram.label)
            below.set_ylabel(ratio, fontsize="small")
            words = f"{group} of {channel}, {kinds[first]} and {kinds[second]}"
            yield Picture(file_name(name, channel, group), figure, words.capitalize())


def _sum(run: Run, kind: str, channel: str, samples: Sequence[str]) -> tuple[Any, Any, Any]:
    """Values, variances and one of the histograms (None without any) of the sum of the samples after the optimisation."""
    found = [h for sample in samples if (h := run.histogram("after", kind, channel, sample)) is not None]
    return sum(h.values for h in found), sum(h.variances for h in found), found[0] if found else None
