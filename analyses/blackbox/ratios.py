"""The figure and the table of networks and boosted trees in README.md, from what `benchmarks/networks.py --out FILE` wrote.

python analyses/blackbox/ratios.py FILE [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

OURS = {"ten, limit": "#e42536", "one, limit": "#5790fc"}
BINS = {"equal": "bins of equal signal", "halving": "bins that halve"}


def draw(report: dict[str, Any], path: Path) -> None:
    """Every split's ratio of limits, and their mean with its error; a panel for each kind of bins."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    panels = figure.subplots(1, len(BINS), sharey=True)
    for axes, (kind, title) in zip(panels, BINS.items(), strict=True):
        ratios = {ours: report["bins"][kind][f"{ours} over"] for ours in OURS}
        others = list(dict.fromkeys(other for found in ratios.values() for other in found))
        for shift, (ours, colour) in zip((-0.15, 0.15), OURS.items(), strict=True):
            places = np.array([place for place, other in enumerate(others) if other in ratios[ours]])
            shown = [ratios[ours][others[place]] for place in places]
            for place in places:
                each = [
                    row["limits"][ours][kind]["limit"] / row["limits"][others[place]][kind]["limit"]
                    for row in report["splits"]
                ]
                axes.plot(each, np.full(len(each), place + shift), "o", color=colour, ms=3, alpha=0.35)
            axes.errorbar(
                [one["mean"] for one in shown], places + shift, xerr=[one["error"] for one in shown],
                fmt="D", color=colour, ms=5, capsize=3, label=ours.replace(", ", ", by the "),
            )  # fmt: skip
        axes.axvline(1.0, color="#9c9ca1", lw=1, zorder=0)
        axes.set_yticks(range(len(others)), others)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("limit over that of the other, test half")
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=110)


def table(report: dict[str, Any], kind: str) -> str:
    """Ratios of limits to those of the others, and mean limits."""
    found = report["bins"][kind]
    lines = [f"| against | {' | '.join(OURS)} | mean limit |", "|---" * (len(OURS) + 2) + "|"]
    for name, mean in found["mean limit"].items():
        ratios = [found[f"{ours} over"].get(name) for ours in OURS]
        cells = [f"{ratio['mean']:.3f} ± {ratio['error']:.3f}" if ratio else "" for ratio in ratios]
        lines.append(f"| {name} | {' | '.join(cells)} | {mean['mean']:.1f} ± {mean['error']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "figures")
    arguments = parser.parse_args()
    report = json.loads(arguments.file.read_text())
    arguments.folder.mkdir(exist_ok=True)
    draw(report, arguments.folder / "networks.png")
    click.echo("\n\n".join(table(report, kind) for kind in BINS))


if __name__ == "__main__":
    main()
