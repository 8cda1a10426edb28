"""What the cuts select: N−1 distributions with thresholds, and the cutflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from diffea.report.contents import WHEN, Run
from diffea.report.pictures import INK, Picture, file_name, small, styled
from diffea.report.plots import SIGNAL
from diffea.types import JSONDict, JSONMapping

LINES = {"before": (":", "#777777"), "after": ("-", INK)}


def distributions(run: Run, colours: Mapping[str, str]) -> Iterator[Picture]:
    """Of each cut, the value cut on of the events that it decides on after the optimisation, with its threshold before and after."""
    selection = run.result["selection"] or {}
    earlier = {cut["name"]: cut for cut in selection.get("before", {}).get("cuts", [])}
    for number, cut in enumerate(selection.get("after", {}).get("cuts", [])):
        if any(np.any(sums["values"]) for sums in cut["decided"].values()):
            thresholds = {
                when: [[value for value in pair if value is not None] for pair in found]
                for when, found in (
                    ("before", earlier.get(cut["name"], {}).get("thresholds", [])),
                    ("after", cut["thresholds"]),
                )
            }
            yield _distribution(number, cut, thresholds, run.signals, colours)


def _distribution(
    number: int,
    cut: JSONMapping,
    thresholds: Mapping[str, Sequence[Sequence[float]]],
    signals: set[str],
    colours: Mapping[str, str],
) -> Picture:
    edges, sums = (
        np.asarray(cut["edges"]),
        {name: np.asarray(found["values"]) for name, found in cut["decided"].items()},
    )
    lines = [(when, value) for when in WHEN for pair in thresholds[when] for value in pair]
    shown = _shown(edges, list(sums.values()), [value for _, value in lines])
    edges, sums = edges[shown.start : shown.stop + 1], {name: values[shown] for name, values in sums.items()}
    backgrounds = sorted((name for name in sums if name not in signals), key=lambda name: sums[name].sum())
    with styled():
        (figure, axes), total = small(2.3, 0.17), np.zeros(len(edges) - 1)
        for name in backgrounds:
            axes.stairs(total + sums[name], edges, baseline=total, fill=True, color=colours.get(name), label=name)
            total = total + sums[name]
        for name in sorted(signals & sums.keys()):
            axes.stairs(sums[name], edges, baseline=None, color=SIGNAL, linewidth=1.6, label=name)
        for when, value in lines:
            form, colour = LINES[when]
            axes.axvline(value, ls=form, color=colour, linewidth=1.3, label=f"{when}: {value:.4g}")
        heights = np.concatenate([total, *[sums[name] for name in sums]])
        lowest, highest = heights[heights > 0].min(initial=np.inf), heights.max()
        bottom = max(lowest / 2, highest * 1e-4)
        axes.set_yscale("log")
        share = 0.08 + 0.075 * np.ceil((len(sums) + len(lines)) / 2)  # of the height, for the legend
        axes.set_ylim(bottom, highest * (highest / bottom) ** max(share / (1 - share), 0.5))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_xlabel(cut["on"])
        axes.set_ylabel("events decided on")
        axes.legend(loc="upper right", ncols=2, fontsize=6.5)
        return Picture(
            file_name("n-1", f"{number:02}", cut["on"]),
            figure,
            f"Events that the cut on {cut['on']} decides on, with its threshold before and after",
        )


def _shown(edges: np.ndarray, sums: Sequence[np.ndarray], thresholds: Sequence[float]) -> slice:
    """Bins from the first to the last that has events or a threshold."""
    filled = np.any([values != 0 for values in sums], axis=0)
    filled[
        [
            place
            for value in thresholds
            if 0 <= (place := int(np.searchsorted(edges, value, side="right")) - 1) < len(filled)
        ]
    ] = True
    places = np.flatnonzero(filled)
    return slice(int(places[0]), int(places[-1]) + 1)


def cutflows(run: Run) -> list[JSONDict]:
    """A table for each channel: rows of cuts with what is left of each sample before and after, and columns of samples."""
    selection = run.result["selection"] or {}
    found = (_cutflow(selection.get(when), channel, when) for channel in run.channels for when in WHEN)
    return [table for table in found if table is not None]


def _cutflow(selection: JSONMapping | None, channel: str, when: str) -> JSONDict | None:
    flow = (selection or {}).get("cutflow", {}).get(channel)
    if selection is None or flow is None:
        return None
    cuts = {cut["name"]: cut for cut in selection["cuts"]}
    names = [
        "before these cuts",
        *(
            _in_words(cuts[name], inverted)
            for name, inverted in zip(flow["cuts"], flow.get("inverted", []), strict=True)
        ),
    ]
    rows = [
        (name, [(found["yields"][number], found["errors"][number]) for found in flow["samples"].values()])
        for number, name in enumerate(names if flow["samples"] else [])
    ]
    return {
        "channel": channel,
        "when": when,
        "samples": list(flow["samples"]),
        "rows": rows,
        "not_judged": flow["not_judged"],
    }


def _in_words(cut: JSONMapping, inverted: bool) -> str:
    first = cut["thresholds"][0]
    values = " and ".join("…" if value is None else f"{value:.4g}" for value in first)
    return f"{'not ' if inverted else ''}{cut['on']} {cut['sign']} {values}"
