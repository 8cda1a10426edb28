"""Train for every benchmark from several first weights, and compare with the paper's table.

    python analyses/inferno/study.py DATA OUT [--benchmarks 0 1 2 3 4] [--seeds 5]
    python analyses/inferno/study.py DATA OUT --benchmarks shift-1 shift-2 shift-3 --seeds 1

The summaries and objectives of analysis.py, trained as in the paper on mini-batches: templates are functions of the parameters, so a
mini-batch is those of a part of the events. The classifier of a seed is trained once: it does not depend on the benchmark.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from coffea.nanoevents import BaseSchema

sys.path.insert(0, str(Path(__file__).parent))

import analysis as inferno

from diffea import TemplateSet, Variant, distribute
from diffea.distributed import Templates

PAPER = {  # medians of the published table
    "cross-entropy": {"0": 14.99, "1": 18.94, "2": 23.94, "3": 21.54, "4": 26.71},
    "inferno": {"0": 15.51, "1": 16.79, "2": 16.95, "3": 16.89, "4": 18.68},
    "optimal": {"0": 14.97, "1": 19.12, "2": 24.93, "3": 22.13, "4": 27.98},
    "limit": {"0": 14.71, "1": 15.52, "2": 15.65, "3": 15.62, "4": 16.89},
}
BATCHES = 10
START, STEPS = 50, 300
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


def mini_batches(constraints: Mapping[str, float], data: Path) -> list[Templates]:
    """The templates of each tenth of the training events: every one is a function of the same parameters."""
    assert inferno.analysis.split is not None
    size = inferno.EVENTS // BATCHES
    processor = inferno.Mixture(constraints, events=size)
    found = []
    for start in range(0, inferno.EVENTS, size):
        tenth = {
            name: {"files": {path: {"object_path": tree, "steps": [[start, start + size]]}}}
            for name, dataset in inferno.fileset(data).items()
            for path, tree in dataset["files"].items()
        }
        found.append(distribute(processor, tenth, schemaclass=BaseSchema, split=inferno.analysis.split.of("train")))
    return found


class Training:
    """Adam on one mini-batch after the other, each compiled once for all initialisations.

    Args:
        loss: of the templates of a mini-batch.
        batches: the mini-batches.
        steps: how many to take.
    """

    def __init__(self, loss: Callable[[TemplateSet], Any], batches: list[Templates], steps: int) -> None:
        self.optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))
        self.steps = steps
        self._take = [self._on(loss, batch) for batch in batches]

    def _on(self, loss: Callable[[TemplateSet], Any], batch: Templates) -> Callable[[Any, Any], tuple[Any, Any]]:
        @jax.jit
        def step(params: Any, state: Any) -> tuple[Any, Any]:
            gradient = jax.grad(lambda params: loss(batch(params)))(params)
            updates, state = self.optimizer.update(gradient, state)
            return optax.apply_updates(params, updates), state

        return step

    def __call__(self, params: Any, seed: int) -> Any:
        """Train from these first weights, the mini-batches in an order of this seed."""
        random = np.random.default_rng(seed)
        state = self.optimizer.init(params)
        for _ in range(self.steps // len(self._take)):
            for number in random.permutation(len(self._take)):
                params, state = self._take[number](params, state)
        return params


def classifiers(seeds: int, data: Path) -> dict[int, tuple[Any, Any]]:
    """For each seed a network after a few steps of cross-entropy, from which `inferno` starts, and a trained classifier."""
    batches = mini_batches({}, data)
    short, long = (Training(inferno.cross_entropy, batches, steps) for steps in (START, STEPS))
    first = {seed: inferno.untrained(seed) for seed in range(seeds)}
    return {seed: (short(params, seed), long(params, seed)) for seed, params in first.items()}


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
    batches = mini_batches(inferno.BENCHMARKS[benchmark], data)
    training = Training(lambda templates: variant.objective(model(templates)), batches, STEPS)
    with events(variant, data, "train") as train, events(variant, data, "test") as test:
        for seed, (start, classifier) in starts.items():
            began = time.perf_counter()
            trained = training(start, seed)
            seconds = time.perf_counter() - began
            for kind, params in (("cross-entropy", classifier), ("inferno", trained)):
                values = {
                    part: float(variant.objective(model(made.hard(params))))
                    for part, made in (("train", train), ("test", test))
                }
                yield {"kind": kind, "benchmark": benchmark, "seed": seed, **values, "seconds": seconds}
    for batch in batches:
        batch.close()


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
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if not (arguments.data / "signal.root").is_file():
        inferno.make_data(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    starts = classifiers(arguments.seeds, arguments.data)
    found: list[dict[str, Any]] = []
    for benchmark in arguments.benchmarks:
        for entry in benchmark_runs(benchmark, starts, arguments.data):
            print(json.dumps(entry), flush=True)  # noqa: T201
            found.append(entry)
            (arguments.out / "study.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    draw(found, arguments.out / "uncertainty.png")


if __name__ == "__main__":
    main()
