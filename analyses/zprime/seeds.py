"""How much the limits depend on which half of the events is trained on: both variants for several splits, over dask.

    python analyses/zprime/seeds.py DATA OUT [--seeds 0 1 2] [--variants cuts categories] [--workers 2]

Expected limits on the test half with hard cuts, by `objectives.upper_limit` (with which pyhf agrees), errors from 100 replicas of its
events. Writes seeds.json and seeds.png into OUT.
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

from diffea import Split, Variant, distribute, evaluate, objectives, optimise
from diffea.analysis import load_analysis
from diffea.cli import cluster
from diffea.optimise import Composite

analysis = load_analysis(Path(__file__).parent)
REPLICAS = 100


def limits(name: str, seed: int, data: Path, client: Any) -> dict[str, Any]:
    """Of one variant and its baseline, for one split."""
    began, variant = time.perf_counter(), analysis.variants[name]
    split = Split(train=0.5, seed=seed)
    assert variant.baseline is not None
    fileset, options = analysis.fileset(data), {"client": client, "schemaclass": analysis.schemaclass}

    def judged(of: Variant, params: Any) -> Any:
        return evaluate(of.processor, fileset, params, of.model, split=split, replicas=REPLICAS, **options)

    with distribute(variant.processor, fileset, split=split.of("train"), **options) as train:
        found = optimise(
            Composite(train, lambda templates: variant.objective(variant.model(templates))),
            variant.params,
            optimizer=variant.optimizer,
            steps=variant.steps,
            bounds=variant.bounds,
            schedules=variant.schedules,
        )
        hard = jax.tree.map(np.asarray, train.hard(found.params))
    before, after = judged(variant.baseline, variant.baseline.params), judged(variant, found.params)
    numbers = {
        "baseline": before.measured(objectives.upper_limit),
        "test": after.measured(objectives.upper_limit),
        "gain": after.gain_over(before, objectives.upper_limit),
    }
    return {
        "variant": name,
        "seed": seed,
        "train": float(variant.objective(variant.model(hard))),
        **{what: (number.value, number.error) for what, number in numbers.items()},
        "params": jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), found.params),
        "seconds": time.perf_counter() - began,
    }


def draw(found: list[dict[str, Any]], place: Path) -> None:
    """The test half's limit over the baseline's with its error, a point a split; a diamond is their mean."""
    figure, axes = plt.subplots(figsize=(5.5, 2.2), layout="constrained")
    names = list(dict.fromkeys(entry["variant"] for entry in found))
    for height, name in enumerate(names):
        ratios, errors = np.array([entry["gain"] for entry in found if entry["variant"] == name]).T
        places = height + np.linspace(-0.2, 0.2, ratios.size)
        axes.errorbar(ratios, places, xerr=errors, fmt="o", color="#9bb8d8", ms=6)
        axes.plot(ratios.mean(), height, "D", color="#1f4e8c", ms=8)
    axes.axvline(1.0, color="0.6", lw=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.5, len(names) - 0.5)
    axes.set_xlabel("expected limit, test half: optimised / baseline")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(place, dpi=130)


def main() -> None:
    """Run, print each result, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the split")
    parser.add_argument("--variants", nargs="+", choices=list(analysis.variants), default=list(analysis.variants))
    parser.add_argument("--workers", type=int, help="local dask workers; in process without")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    with cluster(arguments.workers, None) as client:
        for name in arguments.variants:
            for seed in arguments.seeds:
                found.append(limits(name, seed, arguments.data, client))
                sys.stdout.write(json.dumps(found[-1]) + "\n")
                sys.stdout.flush()
                (arguments.out / "seeds.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    draw(found, arguments.out / "seeds.png")


if __name__ == "__main__":
    main()
