"""The figures of README.md, from what `diffea run` left behind.

python analyses/htautau/figures.py OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SAMPLES = {  # from the bottom of the stack
    "zll": ("Z → ll", "#9c9ca1"),
    "ttbar": (r"$t\bar{t}$", "#964a8b"),
    "qcd": ("multijet (same charge)", "#f89c20"),
    "w": ("W + jets", "#7a21dd"),
    "ztt": ("Z → ττ", "#5790fc"),
}
SIGNALS = ("ggH", "qqH")
SIGNAL = "#e42536"


def stack(axes: Axes, templates: dict[str, Any], channel: str, limit: float, title: str) -> None:
    """Backgrounds stacked with their statistical error, and the signal as strong as the expected limit."""
    found = {name: templates[f"{channel}/{name}/nominal"] for name in (*SAMPLES, *SIGNALS)}
    edges = np.array(found["ztt"]["edges"][0])
    values = {name: np.array(template["values"]) for name, template in found.items()}
    labels, colours = zip(*SAMPLES.values(), strict=True)
    mplhep.histplot(
        [values[name] for name in SAMPLES],
        edges, stack=True, histtype="fill", ax=axes, label=list(labels), color=list(colours),
    )  # fmt: skip
    total = sum(values[name] for name in SAMPLES)
    error = np.sqrt(sum(np.array(found[name]["variances"]) for name in SAMPLES))
    axes.stairs(
        total + error, edges, baseline=total - error, fill=True, color="none", hatch="////", ec="#555555", lw=0,
        label="statistics of simulation",
    )  # fmt: skip
    signal = limit * sum(values[name] for name in SIGNALS)
    mplhep.histplot(signal, edges, ax=axes, color=SIGNAL, lw=1.8, label=f"H → ττ × {limit:.1f} (its limit)", yerr=False)
    axes.set_yscale("log")
    axes.set_ylim(max(1.0, 0.3 * signal[signal > 0].min()), 30 * total.max())
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(found["ztt"]["label"])
    axes.set_title(title, loc="left", fontsize=10)


def main(out: Path) -> None:
    """Draw the fitted distribution of the outreach analysis, and the network's."""
    result = json.loads((out / "neural" / "result.json").read_text())
    templates = json.loads((out / "neural" / "templates.json").read_text())
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    stack(left, templates["before"]["hard_test"], "all", result["limit_before"], "outreach cuts")
    stack(right, templates["after"]["hard_test"], "score", result["limit_after"], "network, in two folds")
    left.set_ylabel("events a bin")
    handles, names = left.get_legend_handles_labels()
    left.legend(handles[-1:], names[-1:], fontsize=8, loc="upper right", frameon=False)
    right.legend(fontsize=8, ncols=2, loc="upper center", frameon=False, reverse=True)
    figure.savefig(Path(__file__).parent / "figures" / "fitted.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
