"""Tune on one generated data set, judge on another one, for several pairs of them, beside the AGC's own thresholds.

    python analyses/agc_ttbar/sets.py OUT [--events 200000] [--sets 10] [--variants thresholds bins] [--steps 400]

OUT keeps the data sets (`data/SEED`), sets.json (a line a pair, what was there before is not done again) and sets.png. Both selections of a pair are
judged with exact cuts on the same events, which neither has seen, so the ratio of the two uncertainties has its own, small error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from analysis import AGC, INPUTS, analysis
from generate import generate

from diffea import distribute, optimise
from diffea.optimise import Composite


def pair(name: str, number: int, out: Path, events: int, steps: int | None) -> dict[str, Any]:
    """Tune a variant on the data set of one seed, and judge it, and the AGC's thresholds, on that of the next."""
    began, variant = time.perf_counter(), analysis.variants[name]
    seeds = 2 * number, 2 * number + 1
    for seed in seeds:
        if not (out / "data" / str(seed) / INPUTS).is_file():
            generate(out / "data" / str(seed), events=events, seed=seed)
    train, test = (analysis.fileset(out / "data" / str(seed)) for seed in seeds)
    with distribute(variant.processor, train) as templates:
        objective = Composite(templates, lambda made: variant.objective(variant.model(made)))
        found = optimise(objective, variant.params, optimizer=variant.optimizer, steps=steps, bounds=variant.bounds)
    with distribute(variant.processor, test) as templates:

        def judged(params: Any) -> float:
            return float(variant.objective(variant.model(jax.tree.map(np.asarray, templates.hard(params)))))

        before, after = judged(variant.params), judged(found.params)
    return {
        "variant": name,
        "pair": number,
        "events": events,
        "before": before,
        "after": after,
        "ratio": after / before,
        "params": jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), found.params),
        "message": found.message,
        "seconds": time.perf_counter() - began,
    }


def summary(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the pairs, with their errors."""
    result = {}
    for name in dict.fromkeys(entry["variant"] for entry in found):
        of = [entry for entry in found if entry["variant"] == name]
        result[name] = {"pairs": len(of)}
        for what in ("before", "after", "ratio"):
            numbers = np.array([entry[what] for entry in of])
            result[name][what] = float(numbers.mean())
            if len(of) > 1:
                result[name][f"error of {what}"] = float(numbers.std(ddof=1) / np.sqrt(len(of)))
    return result


def draw(found: list[dict[str, Any]], place: Path) -> None:
    """The ratio of the uncertainties of each pair, and the thresholds found."""
    thresholds = [name for name in AGC if name != "rule"]
    figure, axes = plt.subplots(1, 1 + len(thresholds), figsize=(11, 2.6), layout="constrained")
    names = list(dict.fromkeys(entry["variant"] for entry in found))
    labels = ["uncertainty / that with AGC's", "jets' $p_T$ [GeV]", "lepton's $p_T$ [GeV]", "b tag"]
    for column, (axis, label) in enumerate(zip(axes, labels, strict=True)):
        for height, name in enumerate(names):
            of = [entry for entry in found if entry["variant"] == name]
            numbers = np.array([entry["params"][thresholds[column - 1]] if column else entry["ratio"] for entry in of])
            axis.plot(numbers, np.full(numbers.size, height), "o", color="#9bb8d8", ms=6)
            axis.plot(numbers.mean(), height, "D", color="#1f4e8c", ms=7)
        axis.axvline(AGC[thresholds[column - 1]] if column else 1.0, color="0.6", lw=1)
        axis.set_xlabel(label)
        axis.set_yticks(range(len(names)), names if not column else [""] * len(names))
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(place, dpi=130)


def main() -> None:
    """Run what is not there yet, print each result, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--events", type=int, default=200_000, help="of a data set")
    parser.add_argument("--sets", type=int, default=10, help="pairs of data sets")
    parser.add_argument("--variants", nargs="+", choices=list(analysis.variants), default=list(analysis.variants))
    parser.add_argument("--steps", type=int, help="passes over the data at most")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    place = arguments.out / "sets.json"
    found = [json.loads(line) for line in place.read_text().splitlines()] if place.is_file() else []
    done = {(entry["variant"], entry["pair"]) for entry in found}
    for number in range(arguments.sets):
        for name in arguments.variants:
            if (name, number) in done:
                continue
            found.append(pair(name, number, arguments.out, arguments.events, arguments.steps))
            with place.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps(found[-1]) + "\n")
    sys.stdout.write(json.dumps(summary(found), indent=1) + "\n")
    draw(found, arguments.out / "sets.png")


if __name__ == "__main__":
    main()
