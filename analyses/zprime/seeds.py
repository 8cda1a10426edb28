"""How much the limits depend on which half of the events is trained on: both variants for several splits, over dask.

    python analyses/zprime/seeds.py DATA OUT [--seeds 0 1 2] [--variants cuts categories] [--workers 2]

Expected limits on the test half with hard cuts, by `objectives.upper_limit` (`diffea run` asks pyhf, which takes minutes a
split and agrees). Writes seeds.json and seeds.png into OUT.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np

from diffea import Split, Variant, distribute, optimise
from diffea.analysis import load_analysis
from diffea.cli import cluster
from diffea.optimise import Composite

analysis = load_analysis(Path(__file__).parent)


def limits(name: str, seed: int, data: Path, client: Any) -> dict[str, Any]:
    """Of one variant and its baseline, for one split."""
    began, variant = time.perf_counter(), analysis.variants[name]
    split = Split(train=0.5, seed=seed)
    assert variant.baseline is not None
    with contextlib.ExitStack() as stack:

        def events(of: Variant, part: str) -> Any:
            return stack.enter_context(
                distribute(
                    of.processor,
                    analysis.fileset(data),
                    client=client,
                    schemaclass=analysis.schemaclass,
                    split=split.of(part),
                )
            )

        def limit(of: Variant, templates: Any, params: Any) -> float:
            hard = jax.tree.map(np.asarray, templates.hard(params))
            return float(of.objective(of.model(hard)))

        train = events(variant, "train")
        found = optimise(
            Composite(train, lambda templates: variant.objective(variant.model(templates))),
            variant.params,
            optimizer=variant.optimizer,
            steps=variant.steps,
            bounds=variant.bounds,
            schedules=variant.schedules,
        )
        return {
            "variant": name,
            "seed": seed,
            "train": limit(variant, train, found.params),
            "baseline": limit(variant.baseline, events(variant.baseline, "test"), variant.baseline.params),
            "test": limit(variant, events(variant, "test"), found.params),
            "params": jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), found.params),
            "seconds": time.perf_counter() - began,
        }


def draw(found: list[dict[str, Any]], place: Path) -> None:
    """The test half's limit over the baseline's, a point a split."""
    figure, axes = plt.subplots(figsize=(5.5, 2.2), layout="constrained")
    names = list(dict.fromkeys(entry["variant"] for entry in found))
    for height, name in enumerate(names):
        ratios = np.array([entry["test"] / entry["baseline"] for entry in found if entry["variant"] == name])
        axes.plot(ratios, np.full(ratios.size, height), "o", color="#9bb8d8", ms=6)
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
