"""The paper's figure 3 from what a run left: three metrics on the test points, a row a loss, a point an initialisation.

diffea run analyses/gaussian_blobs --all --out OUT        # ends with this
python analyses/gaussian_blobs/figure3.py OUT             # again
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter

from diffea import HistFactory, objectives
from diffea.analysis import load_analysis
from diffea.judge import Judge
from diffea.run import result_folders

COLUMNS = {"CLs × 10⁶": ("cls", 1e6, ".2f"), "σ_μ": ("sigma_mu", 1.0, ".3f"), "1 − σ_γ": ("constraint", 1.0, ".3f")}
METRICS = {"cls": "expected CLs", "sigma_mu": r"$\sigma_\mu$", "constraint": r"$1 - \sigma_\gamma$"}
Rows = Mapping[str, Sequence[Mapping[str, float]]]


def metrics(folder: Path) -> dict[str, float]:
    """Of one run, from its real histograms of the test points: CLs by pyhf, uncertainties from the Fisher information at μ = 1."""
    workspace = json.loads((folder / "workspace.json").read_text(encoding="utf-8"))
    bound = HistFactory.from_workspace(workspace)()
    return {
        "cls": Judge(workspace).cls(),
        "sigma_mu": float(objectives.poi_uncertainty(bound, poi_true=1.0)),
        "constraint": float(np.sqrt(objectives.nuisance_penalty(bound, poi_true=1.0))),
    }


def read(out: Path) -> Rows:
    """The metrics of every run, by variant."""
    names = load_analysis(Path(__file__).parent).variants
    folders = {name: result_folders(out, name) for name in names}
    return {name: [metrics(folder) for folder in found] for name, found in folders.items() if found}


def plot(rows: Rows, path: Path) -> Path:
    """A panel a metric; diamonds are means."""
    names = list(rows)[::-1]
    figure, panels = plt.subplots(
        1, len(METRICS), figsize=(11, 0.6 + 0.5 * len(names)), sharey=True, layout="constrained"
    )
    for panel, (metric, label) in zip(panels, METRICS.items(), strict=True):
        for height, name in enumerate(names):
            values = np.array([row[metric] for row in rows[name]])
            panel.plot(values, np.full(values.size, height), "o", color="#9bb8d8", ms=5, alpha=0.8)
            panel.plot(values.mean(), height, "D", color="#1f4e8c", ms=7)
        panel.set_xlabel(label)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="0.92")
    panels[0].set_xscale("log")
    panels[0].xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(-0.5, len(names) - 0.5)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def table(rows: Rows, columns: Mapping[str, tuple[str, float, str]] = COLUMNS) -> str:
    """Median and range of each metric, as Markdown.

    Args:
        rows: the metrics of every run, by what it was trained for.
        columns: by heading, a metric, what it is multiplied by, and its format.
    """
    lines = [f"| trained for | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, found in rows.items():
        cells = []
        for metric, factor, form in columns.values():
            values = [factor * row[metric] for row in found]
            cells.append(f"{np.median(values):{form}} ({min(values):{form}}–{max(values):{form}})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(out: Path) -> Path:
    """figure3.png and figure3.md in OUT."""
    rows = read(out)
    (out / "figure3.md").write_text(table(rows) + "\n", encoding="utf-8")
    return plot(rows, out / "figure3.png")


if __name__ == "__main__":
    sys.stdout.write(f"{draw(Path(sys.argv[1]))}\n")
