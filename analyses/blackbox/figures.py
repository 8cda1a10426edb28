"""The figure and the table of README.md, from what `benchmarks/optima.py --out FILE…` wrote.

python analyses/blackbox/figures.py FILE… [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

COLOURS = {
    "auto": "#e42536", "tpe": "#5790fc", "gp": "#964a8b", "cma": "#f89c20", "random": "#9c9ca1", "grid": "#7a21dd",
}  # fmt: skip
COLUMNS = 3
FILLS = np.geomspace(10, 1800, 200)


def course(splits: list[dict[str, Any]], name: str) -> np.ndarray:
    """The lowest training limit after so many fills over the lowest of all methods, the mean of the splits; NaN where one has ended."""
    curves = []
    for split in splits:
        best = min(row["train"] for row in split.values() if isinstance(row, dict) and "trace" in row)
        _, fills, lowest, _ = np.array(split[name]["trace"], float).T
        reached = np.searchsorted(fills, FILLS, side="right") - 1
        curves.append(np.where((reached < 0) | (fills[-1] < FILLS), np.nan, lowest[reached]) / best)
    return np.mean(curves, axis=0)


def draw(tasks: dict[str, Any], path: Path) -> None:
    """Limit against cost, a panel for each task."""
    columns = min(len(tasks), COLUMNS)
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(tasks) :]:
        axes.set_axis_off()
    for axes, (task, found) in zip(panels, tasks.items(), strict=False):
        for name, colour in COLOURS.items():
            if "trace" in found["splits"][0].get(name, {}):
                axes.plot(
                    FILLS, course(found["splits"], name), color=colour, label=name, lw=2.0 if name == "auto" else 1.2
                )
        axes.set_xscale("log")
        axes.set_xlabel("fills")
        number, _, filled = task.partition(" ")
        cuts = f"{number} cuts{', filled bins' if filled else ''}"
        axes.set_title(cuts if number.isdecimal() else task, loc="left", fontsize=10)
    figure.axes[0].set_ylabel("training objective over the lowest of all")
    labelled = dict(
        line for axes in figure.axes for line in zip(*reversed(axes.get_legend_handles_labels()), strict=True)
    )
    figure.legend(labelled.values(), labelled, frameon=False, fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=110)


def table(tasks: dict[str, Any]) -> str:
    """Ratios of auto's limit to those of the others, on both halves."""
    lines = ["| cuts | against | splits | training half | test half |", "|---|---|---|---|---|"]
    for task, found in tasks.items():
        for name, train in found["summary"]["train"].items():
            test = found["summary"]["test"][name]
            halves = " | ".join(
                f"{ratio['mean']:.3f} ± {ratio['error']:.3f}{_without(ratio)}" for ratio in (train, test)
            )
            lines.append(f"| {task} | {name} | {len(found['splits'])} | {halves} |")
    return "\n".join(lines)


def _without(ratio: dict[str, Any]) -> str:
    return f" ({ratio['left_out']} without analysis left out)" if ratio["left_out"] else ""


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "figures")
    arguments = parser.parse_args()
    tasks = {name: task for file in arguments.files for name, task in json.loads(file.read_text())["tasks"].items()}
    arguments.folder.mkdir(exist_ok=True)
    draw(tasks, arguments.folder / "course.png")
    click.echo(table(tasks))


if __name__ == "__main__":
    main()
