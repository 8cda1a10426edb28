"""The published limits again, by pyhf from plain histograms; and a picture of a run before and after.

diffea run analyses/zprime --data DATA --out OUT --variant categories
python analyses/zprime/figure.py DATA OUT/categories
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import matplotlib.pyplot as plt
import numpy as np
import pyhf
import uproot

sys.path.insert(0, str(Path(__file__).parent))

import analysis as zprime

COLOURS = ("#9ecae1", "#3182bd", "#756bb1", "#fdae6b")


def published(data: Path) -> tuple[float, float]:
    """Observed and expected limit of the baseline in pb: largest mass, no corrections, no MC-stat, backgrounds from the data."""

    def histogram(name: str) -> Any:
        events = uproot.open(data / f"{name}.root")["Events"].arrays(["mtt", "genWeight"])
        weight = np.ones(len(events)) if name == "collision" else np.asarray(events.genWeight, float)
        counts, _ = np.histogram(ak.to_numpy(ak.max(events.mtt, axis=1)), np.linspace(0, 4000, 21), weights=weight)
        return counts

    channel = zprime.channel("mtt", mc_stat=False, systematics=False)
    for sample in channel["samples"]:
        cross_section, generated = zprime.SAMPLES[sample["name"]]
        sample["data"] = (zprime.LUMINOSITY * cross_section / generated * histogram(sample["name"])).tolist()
    parameters = [{"name": "mu", "bounds": [[0.0, 10.0]], "inits": [1.0]}]
    workspace = pyhf.Workspace(
        {
            "version": "1.0.0",
            "channels": [channel],
            "observations": [{"name": "mtt", "data": histogram("collision").tolist()}],
            "measurements": [{"name": "zprime", "config": {"poi": "mu", "parameters": parameters}}],
        }
    )
    pyhf.set_backend("numpy", "minuit")
    model = workspace.model()
    observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(
        workspace.data(model), model, scan=None, level=0.05, rtol=1e-3
    )
    return float(observed), float(expected[2])


def draw(out: Path, place: Path) -> None:
    """Backgrounds and signal in the test half, with hard cuts: the baseline, then the channels of the result."""
    result = json.loads((out / "result.json").read_text())
    histograms = json.loads((out / "templates.json").read_text())
    panels = [
        (when, channel)
        for when in ("before", "after")
        for channel in sorted({key.split("/")[0] for key in histograms[when]["hard_test"]})
    ]
    figure, grid = plt.subplots(1, len(panels), figsize=(2.9 * len(panels), 3.4), sharey=True, layout="constrained")
    for axes, (when, channel) in zip(np.atleast_1d(grid), panels, strict=True):
        found = {
            key.split("/")[1]: histogram
            for key, histogram in histograms[when]["hard_test"].items()
            if key.startswith(f"{channel}/") and key.endswith("/nominal")
        }
        edges = np.array(found[zprime.SIGNAL]["edges"][0]) / 1000
        per_bin = 0.2 / np.diff(edges)
        below = np.zeros(len(edges) - 1)
        for name, colour in zip(reversed(zprime.BACKGROUNDS), COLOURS, strict=True):
            top = below + np.array(found[name]["values"]) * per_bin
            axes.stairs(top, edges, baseline=below, fill=True, color=colour, label=name)
            below = top
        signal = np.array(found[zprime.SIGNAL]["values"]) * per_bin
        axes.stairs(signal, edges, color="black", lw=1.5, label="Z' (2 TeV), 1 pb")
        limit = result[f"limit_{when}"]
        axes.set(title=f"{when}: {channel}\nlimit {limit:.4f} pb", xlabel=r"$m_{t\bar{t}}$ [TeV]")
        axes.set(yscale="log", ylim=(0.05, 1500))
        axes.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(grid)[0].set_ylabel("events / 0.2 TeV")
    np.atleast_1d(grid)[len(panels) // 2].legend(frameon=False, fontsize=7, loc="upper right")
    figure.savefig(place, dpi=120)


if __name__ == "__main__":
    observed, expected = published(Path(sys.argv[1]))
    print(f"baseline on the collision data: observed {observed:.4f} pb, expected {expected:.4f} pb")  # noqa: T201
    draw(Path(sys.argv[2]), Path(__file__).parent / "before_after.png")
