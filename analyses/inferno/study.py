"""Train for every benchmark from several first weights, and compare with the paper's table.

    python analyses/inferno/study.py DATA OUT [--benchmarks 0 1 2 3 4] [--seeds 3]
    python analyses/inferno/study.py DATA OUT --benchmarks shift-1 shift-2 shift-3 --seeds 1

The same as the variants of analysis.py, but the classifier of a seed is trained once: it does not depend on the benchmark.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from coffea.nanoevents import BaseSchema

sys.path.insert(0, str(Path(__file__).parent))

import analysis as inferno

from diffea import Variant, distribute, optimise
from diffea.distributed import Templates
from diffea.optimise import Composite

PAPER = {  # medians of the published table
    "cross-entropy": {"0": 14.99, "1": 18.94, "2": 23.94, "3": 21.54, "4": 26.71},
    "inferno": {"0": 15.51, "1": 16.79, "2": 16.95, "3": 16.89, "4": 18.68},
    "optimal": {"0": 14.97, "1": 19.12, "2": 24.93, "3": 22.13, "4": 27.98},
    "limit": {"0": 14.71, "1": 15.52, "2": 15.65, "3": 15.62, "4": 16.89},
}
COLOURS = {"cross-entropy": "#c2557a", "inferno": "#2b6cb0", "optimal": "0.5", "limit": "black"}


def limit(benchmark: str, events: int = 1_000_000) -> float:
    """Uncertainty from the likelihood of the events themselves, their densities known (Fisher information).

    There is none for `shift-3`: the density of x2 begins with a step, and a shift moves it.
    """
    random = np.random.default_rng(7)
    mean = np.array(inferno.SIGNAL_MEAN)
    signal = np.c_[random.normal(mean, 1.0, (events, 2)), random.exponential(0.5, events)]
    background = np.c_[
        random.normal((2.0, 0.0), np.sqrt((5.0, 9.0)), (events, 2)), random.exponential(1 / inferno.RATE, events)
    ]
    x = np.concatenate([signal, background])
    weight = np.repeat([inferno.SIGNAL / events, inferno.BACKGROUND / events], events)
    s = np.exp(-np.sum((x[:, :2] - mean) ** 2, axis=1) / 2 - 2 * x[:, 2]) * 2 / (2 * np.pi)
    b = np.exp(-((x[:, 0] - 2) ** 2) / 10 - x[:, 1] ** 2 / 18 - inferno.RATE * x[:, 2])
    b *= inferno.RATE / (2 * np.pi * np.sqrt(45))
    density = inferno.SIGNAL * s + inferno.BACKGROUND * b
    slopes = {
        "r": (x[:, 0] - 2) / 5,
        "rate": 1 / inferno.RATE - x[:, 2],
        "b": np.ones(len(x)),
        "x1": x[:, 1] / 9,
    }
    constraints = inferno.BENCHMARKS[benchmark]
    scores = np.stack([s, *(inferno.BACKGROUND * b * slopes[name] for name in constraints)]) / density
    information = (scores * weight) @ scores.T
    information += np.diag([0.0, *(1 / width**2 for width in constraints.values())])
    return float(np.sqrt(np.linalg.inv(information)[0, 0]))


def events(variant: Variant, data: Path, part: str) -> Templates:
    """The templates of a part of the events."""
    assert inferno.analysis.split is not None
    split = inferno.analysis.split.of(part)
    return distribute(variant.processor, inferno.fileset(data), schemaclass=BaseSchema, split=split)


def classifiers(seed: int, data: Path) -> tuple[Any, Any]:
    """A network after the few steps of cross-entropy that `inferno` starts from, and a trained classifier."""
    found = []
    for kind in ("inferno", "cross-entropy"):
        variant = inferno.variant(kind, "0", seed)
        assert variant.pretraining is not None
        stage = variant.pretraining
        with events(variant, data, "train") as train:
            found.append(
                optimise(
                    Composite(train, stage.objective), variant.params, optimizer=stage.optimizer, steps=stage.steps
                ).params
            )
    return found[0], found[1]


def benchmark_runs(
    benchmark: str, starts: Mapping[int, tuple[Any, Any]], data: Path
) -> Iterator[dict[str, float | str]]:
    """Every summary in one benchmark, judged in plain histograms of the test events."""
    optimal = inferno.variant("optimal", benchmark)
    if benchmark != "shift-3":
        yield {"kind": "limit", "benchmark": benchmark, "seed": 0, "test": limit(benchmark)}
    with events(optimal, data, "test") as test:
        value = float(optimal.objective(optimal.model(test.hard(optimal.params))))
        yield {"kind": "optimal", "benchmark": benchmark, "seed": 0, "test": value}
    variant = inferno.variant("inferno", benchmark)
    model = variant.model
    with events(variant, data, "train") as train, events(variant, data, "test") as test:
        for seed, (start, classifier) in starts.items():
            began = time.perf_counter()
            trained = optimise(
                Composite(train, lambda templates: variant.objective(model(templates))),
                start,
                optimizer=variant.optimizer,
                steps=variant.steps,
            ).params
            seconds = time.perf_counter() - began
            for kind, params in (("cross-entropy", classifier), ("inferno", trained)):
                values = {
                    part: float(variant.objective(model(made.hard(params))))
                    for part, made in (("train", train), ("test", test))
                }
                yield {"kind": kind, "benchmark": benchmark, "seed": seed, **values, "seconds": seconds}


def draw(found: list[dict[str, Any]], place: Path) -> None:
    """Every run as a point, the paper's medians as bars."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    benchmarks = sorted({entry["benchmark"] for entry in found})
    for shift, kind in zip((-0.24, -0.08, 0.08, 0.24), COLOURS, strict=True):
        for place_x, benchmark in enumerate(benchmarks):
            points = [e["test"] for e in found if e["kind"] == kind and e["benchmark"] == benchmark]
            first = benchmark == benchmarks[0]
            axes.plot(
                np.full(len(points), place_x + shift), points, "o", color=COLOURS[kind], mfc="none",
                label=f"{kind}, measured" if first else None,
            )  # fmt: skip
            if benchmark in PAPER[kind]:
                axes.hlines(
                    PAPER[kind][benchmark], place_x + shift - 0.07, place_x + shift + 0.07, color=COLOURS[kind], lw=3,
                    alpha=0.5, label=f"{kind}, paper" if first else None,
                )  # fmt: skip
    axes.set_xticks(range(len(benchmarks)), [name if "-" in name else f"benchmark {name}" for name in benchmarks])
    axes.set_ylabel("expected uncertainty of s")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    figure.savefig(place, dpi=130)


def main() -> None:
    """Run, print each result, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--benchmarks", nargs="+", choices=list(inferno.BENCHMARKS), default=list("01234"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if not (arguments.data / "signal.root").is_file():
        inferno.make_data(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    starts = {seed: classifiers(seed, arguments.data) for seed in range(arguments.seeds)}
    found: list[dict[str, Any]] = []
    for benchmark in arguments.benchmarks:
        for entry in benchmark_runs(benchmark, starts, arguments.data):
            print(json.dumps(entry), flush=True)  # noqa: T201
            found.append(entry)
            (arguments.out / "study.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    draw(found, arguments.out / "uncertainty.png")


if __name__ == "__main__":
    main()
