"""How much the limits depend on which half of the events is trained on: both variants for several seeds of the split.

    python analyses/htautau/seeds.py --data DIR [--out DIR] [--variant NAME] [--seeds 0 1 2 3]

Prints a Markdown table: expected 95 % CL limits on the signal strength from pyhf with hard cuts, errors from replicas of the events.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from diffea import Split
from diffea.analysis import load_analysis
from diffea.run import run_variant


def row(*cells: Any) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def with_error(result: dict[str, Any], name: str) -> str:
    """A number of a result and its error, where it has one."""
    error = result[f"{name}_error"]
    return f"{result[name]:.2f}" + ("" if error is None else f" ± {error:.2f}")


def main() -> None:
    """Run every variant for every seed in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the skimmed files")
    parser.add_argument("--out", type=Path, default=None, help="folder for the results; a temporary one by default")
    parser.add_argument("--variant", default=None, help="only this one")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3], help="of the split")
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp())
    analysis = load_analysis(Path(__file__).parent)
    click.echo(row("variant", "split seed", "outreach, test", "train", "test", "test / outreach", "test / train"))
    click.echo(row(*["---"] * 7))
    for name in [arguments.variant] if arguments.variant else analysis.variants:
        ratios = []
        for seed in arguments.seeds:
            seeded = dataclasses.replace(analysis, split=Split(train=0.5, seed=seed))
            result = run_variant(seeded, name, data=arguments.data, out=out / f"seed{seed}" / name)
            train = result["after"]["hard_train"]
            ratios.append(result["gain"])
            numbers = [with_error(result, what) for what in ("limit_before", "limit_after", "gain")]
            click.echo(row(name, seed, numbers[0], train, *numbers[1:], result["limit_after"] / train))
        click.echo(row(name, "mean", "", "", "", statistics.mean(ratios), ""))


if __name__ == "__main__":
    main()
