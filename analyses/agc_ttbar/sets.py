"""Tune on one generated data set, judge on another one, for several pairs of them, beside the AGC's own thresholds.

    python analyses/agc_ttbar/sets.py OUT [--events 200000] [--sets 10] [--variants thresholds bins] [--steps 400]
    python analyses/agc_ttbar/sets.py OUT --variants fixed      # no tuning: the AGC's thresholds but for one, on the sets that judge

OUT keeps the data sets (`data/SEED`), sets.json (a line a pair, what was there before is not done again) and a picture. All selections of a pair are
judged with exact cuts on the same events, which none has seen, so the ratio of the two uncertainties has its own, small error.
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

from analysis import INPUTS, analysis
from generate import generate

from diffea import Variant, distribute, optimise
from diffea.optimise import Composite

FIXED = {  # the AGC's thresholds but for one
    "jets above 25 GeV": {"jet_pt": 25.0},
    "jets above 35 GeV": {"jet_pt": 35.0},
    "jets above 40 GeV": {"jet_pt": 40.0},
    "lepton above 25 GeV": {"lepton_pt": 25.0},
    "lepton above 40 GeV": {"lepton_pt": 40.0},
    "b tag above 0.4": {"tag": 0.4},
    "b tag above 0.65": {"tag": 0.65},
    "b tag above 0.8": {"tag": 0.8},
    "trijet with one tag": {"rule": np.array([0.0, 1.0, 0.0])},
    "trijet near the W": {"rule": np.array([0.0, 0.0, 1.0])},
}


def data_set(seed: int, out: Path, events: int) -> dict[str, Any]:
    """The fileset of a generated data set, made if it is not there."""
    folder = out / "data" / str(seed)
    if not (folder / INPUTS).is_file():
        generate(folder, events=events, seed=seed)
    return analysis.fileset(folder)


def tuned(variant: Variant, fileset: dict[str, Any], steps: int | None) -> Any:
    """The parameters that are best on a data set."""
    with distribute(variant.processor, fileset) as templates:
        objective = Composite(templates, lambda made: variant.objective(variant.model(made)))
        return optimise(
            objective, variant.params, optimizer=variant.optimizer, steps=steps, bounds=variant.bounds
        ).params


def judged(variant: Variant, fileset: dict[str, Any], points: dict[str, Any]) -> dict[str, float]:
    """The uncertainty at some parameters, with exact cuts."""
    with distribute(variant.processor, fileset) as templates:
        return {
            name: float(variant.objective(variant.model(jax.tree.map(np.asarray, templates.hard(params)))))
            for name, params in points.items()
        }


def pair(name: str, number: int, out: Path, events: int, steps: int | None) -> dict[str, Any]:
    """Tune a variant on the data set of one seed, and judge it, and the AGC's thresholds, on that of the next."""
    began, variant = time.perf_counter(), analysis.variants["thresholds" if name == "fixed" else name]
    if name == "fixed":
        points = {point: {**variant.params, **change} for point, change in FIXED.items()}
    else:
        points = {"tuned": tuned(variant, data_set(2 * number, out, events), steps)}
    found = judged(variant, data_set(2 * number + 1, out, events), {"AGC": variant.params, **points})
    params = jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), points)
    return {
        "variant": name, "pair": number, "events": events, "uncertainty": found, "params": params,
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def summary(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By variant and selection, means over the pairs with their errors: of the uncertainty, and of its ratio to that with the AGC's thresholds."""
    result: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(entry["variant"] for entry in found):
        of = [entry["uncertainty"] for entry in found if entry["variant"] == name]
        result[name] = {"pairs": len(of)}
        for point in of[0]:
            numbers = np.array([[entry[point], entry[point] / entry["AGC"]] for entry in of])
            errors = numbers.std(axis=0, ddof=1) / np.sqrt(len(of)) if len(of) > 1 else np.full(2, np.nan)
            (value, ratio), (of_value, of_ratio) = numbers.mean(axis=0), errors
            result[name][point] = {
                "uncertainty": f"{value:.5f} ± {of_value:.5f}",
                "ratio": f"{ratio:.4f} ± {of_ratio:.4f}",
            }
    return result


def draw(found: list[dict[str, Any]], place: Path) -> None:
    """The ratio of the uncertainties, a point a pair, and its mean."""
    rows: dict[str, list[float]] = {}
    for entry in found:
        for point, value in entry["uncertainty"].items():
            if point != "AGC":
                name = f"tuned: {entry['variant']}" if point == "tuned" else point
                rows.setdefault(name, []).append(value / entry["uncertainty"]["AGC"])
    figure, axes = plt.subplots(figsize=(6.5, 0.9 + 0.28 * len(rows)), layout="constrained")
    for height, ratios in enumerate(rows.values()):
        axes.plot(ratios, np.full(len(ratios), height), "o", color="#9bb8d8", ms=4)
        axes.errorbar(
            np.mean(ratios),
            height,
            xerr=np.std(ratios) / max(len(ratios) - 1, 1) ** 0.5,
            fmt="D",
            color="#1f4e8c",
            ms=5,
        )
    axes.axvline(1.0, color="0.6", lw=1)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("uncertainty of the cross-section / that with the AGC's thresholds")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(place, dpi=130)


def main() -> None:
    """Run what is not there yet, print each result, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--events", type=int, default=200_000, help="of a data set")
    parser.add_argument("--sets", type=int, default=10, help="pairs of data sets")
    parser.add_argument("--variants", nargs="+", choices=[*analysis.variants, "fixed"], default=list(analysis.variants))
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
