"""Networks trained in three ways from several first weights, judged with hard histograms by pyhf on events of another set; beside the limit.

    python analyses/many_systematics/study.py OUT [--events 250000] [--judges 250000] [--seeds 10] [--first 0] [--steps 100] [--nuisances 30]
    python analyses/many_systematics/study.py OUT --draw                            # the table and the figure of all OUT/seeds-*.json

Each seed has its own first weights and its own mini-batches of one training set. Writes OUT/seeds-FIRST.json after every seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
import optax
import pyhf
from coffea.nanoevents import BaseSchema

sys.path.insert(0, str(Path(__file__).parent))

import analysis as many

from diffea import HistFactory, distribute
from diffea.distributed import Templates
from diffea.templates import TemplateSet

mpl.use("agg")
import matplotlib.pyplot as plt

BATCH = 2_500  # events of each process
START, ENTROPY = 100, 200  # steps of cross-entropy: before the physics, and alone
BOTH = "both"
KINDS = ("cross-entropy", "augmentation", "uncertainty")
COLOURS = {"cross-entropy": "#c2557a", "augmentation": "#b7791f", "uncertainty": "#2b6cb0"}
NAMES = {"mu_a": r"$\sigma(\mu_a)$", "mu_b": r"$\sigma(\mu_b)$"}


def sigmas(model: HistFactory, templates: TemplateSet) -> dict[str, float]:
    """Expected uncertainty of each signal strength: Fisher information of pyhf's model at the Asimov data of both signals.

    All constraints of the model are normal, of width one.
    """
    judged = pyhf.Workspace(model.workspace(templates)).model()
    point = np.array(judged.config.suggested_init())
    names = judged.config.par_names
    rates = np.asarray(judged.expected_actualdata(point))
    steps = 1e-3 * np.eye(len(point))
    slopes = np.stack([np.asarray(judged.expected_actualdata(point + step)) for step in steps])
    slopes = (slopes - [np.asarray(judged.expected_actualdata(point - step)) for step in steps]) / 2e-3
    filled = rates > 0
    prior = np.diag([0.0 if name in many.SIGNALS.values() else 1.0 for name in names])
    covariance = np.linalg.inv(slopes[:, filled] / rates[filled] @ slopes[:, filled].T + prior)
    return {name: float(np.sqrt(covariance[names.index(name), names.index(name)])) for name in many.SIGNALS.values()}


def limit(nuisances: int, events: int = 100_000) -> dict[str, float]:
    """What no analysis of these events can do better, to first order in the nuisances: their densities known, nothing binned."""
    random, slopes, weights = np.random.default_rng(7), [], []
    for name, expected in many.YIELDS.items():
        x = random.normal(many.MEAN[name], many.WIDTH[name], (events, len(many.COLUMNS)))
        density = {of: expected_of * _density(x, of) for of, expected_of in many.YIELDS.items()}
        parts = [density[of] for of in many.SIGNALS]
        parts += [0.02 * sum(density.values()), *(np.log1p(many.FREE[of]) * density[of] for of in many.FREE)]
        parts += [sum(density[of] * _slope(x, of, number) for of in many.YIELDS) for number in range(nuisances)]
        slopes.append(np.stack(parts) / sum(density.values()))
        weights.append(np.full(events, expected / events))
    scores = np.concatenate(slopes, axis=1)
    prior = np.diag([float(place >= len(many.SIGNALS)) for place in range(len(scores))])
    covariance = np.linalg.inv(scores * np.concatenate(weights) @ scores.T + prior)
    return {name: float(np.sqrt(covariance[place, place])) for place, name in enumerate(many.SIGNALS.values())}


def _density(x: np.ndarray, of: str) -> np.ndarray:
    pull = (x - many.MEAN[of]) / many.WIDTH[of]
    return np.exp(-0.5 * np.sum(pull**2, axis=1)) / np.prod(many.WIDTH[of])


def _slope(x: np.ndarray, of: str, number: int) -> np.ndarray:
    """Derivative of the logarithm of the density of moved events by the nuisance."""
    kind, column, amount = many.nuisance(number)
    place = many.COLUMNS.index(column)
    far, slope = (np.asarray(function(x[:, place])) for function in many.KINDS[kind])
    return amount * (far * (x[:, place] - many.MEAN[of][place]) / many.WIDTH[of][place] ** 2 - slope)


class Training:
    """Adam on one mini-batch after the other, compiled once for all seeds.

    Args:
        templates: of all training events.
        loss: of the templates of a mini-batch.
        rate: of the first step; it falls as a cosine.
        events: of each process that there are.
    """

    def __init__(self, templates: Templates, loss: Callable[[TemplateSet], Any], rate: float, events: int) -> None:
        self.batches = max(events // BATCH, 1)
        self.optimizer = optax.adam(rate)

        @jax.jit
        def step(params: Any, state: Any, number: Any, seed: Any, draw: Any, scale: Any) -> tuple[Any, Any]:
            batch = templates.batch(number, of=self.batches, seed=seed)
            gradient = jax.grad(lambda network: loss(batch({"network": network, "draw": draw})))(params)
            updates, state = self.optimizer.update(gradient, state)
            return optax.apply_updates(params, jax.tree.map(lambda update: scale * update, updates)), state

        self._step = step

    def __call__(self, params: Any, steps: int, seed: int) -> Any:
        """Train from these first weights."""
        state = self.optimizer.init(params)
        for step in range(steps):
            division, number = divmod(step, self.batches)
            scale = 0.5 * (1 + np.cos(np.pi * step / steps))
            params, state = self._step(params, state, number, 1000 * seed + division, float(1000 * seed + step), scale)
        return params


def networks(seed: int, trainings: Mapping[str, Training], steps: int) -> dict[str, Any]:
    """The three trained networks of a seed."""
    start = many.untrained(seed)["network"]
    first = trainings["cross-entropy"](start, START, seed)
    return {
        "cross-entropy": trainings["cross-entropy"](start, ENTROPY, seed),
        "augmentation": trainings["augmentation"](start, ENTROPY, seed),
        "uncertainty": trainings["uncertainty"](first, steps, seed),
    }


def sigma(row: Mapping[str, Any], kind: str, name: str) -> float:
    """The uncertainty of one signal strength, or of both: the root of the sum of their variances."""
    found = row["sigma"][kind]
    return float(np.hypot(*found.values())) if name == BOTH else float(found[name])


def paired(rows: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[str, float]:
    """σ over that of cross-entropy with the same seed: mean and its standard error."""
    ratios = np.array([sigma(row, kind, name) / sigma(row, "cross-entropy", name) for row in rows])
    error = float(ratios.std(ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else float("nan")
    return {"mean": float(ratios.mean()), "error": error, "better": int(np.sum(ratios < 1))}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means of σ and paired ratios."""
    return {
        kind: {
            name: {
                "sigma": float(np.mean([sigma(row, kind, name) for row in rows])),
                "over cross-entropy": paired(rows, kind, name),
            }
            for name in (*many.SIGNALS.values(), BOTH)
        }
        for kind in KINDS
    }


def draw(rows: Sequence[Mapping[str, Any]], bound: Mapping[str, float], place: Path) -> None:
    """Each seed a line from training to training, the means, and the limit."""
    figure, panels = plt.subplots(1, 2, figsize=(7.5, 3.6), layout="constrained")
    for axes, name in zip(panels, many.SIGNALS.values(), strict=True):
        for row in rows:
            axes.plot(range(len(KINDS)), [row["sigma"][kind][name] for kind in KINDS], color="0.8", lw=0.8, zorder=1)
        for number, kind in enumerate(KINDS):
            points = [row["sigma"][kind][name] for row in rows]
            axes.plot(np.full(len(points), number), points, "o", color=COLOURS[kind], mfc="none", ms=5)
            axes.hlines(np.mean(points), number - 0.2, number + 0.2, color=COLOURS[kind], lw=2.5)
        axes.axhline(bound[name], color="black", ls="--", lw=1, label="densities known, nothing binned")
        axes.set_xticks(range(len(KINDS)), ["cross-\nentropy", "augmented", "variances"])
        axes.set_xlim(-0.5, len(KINDS) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"expected {NAMES[name]}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(place, dpi=130)


def train_and_judge(arguments: argparse.Namespace, place: Path) -> None:
    """All seeds, one after the other."""
    folders = {}
    for part, events, seed in (("train", arguments.events, 1), ("judge", arguments.judges, 2)):
        folders[part] = arguments.out / f"{part}-{events}"
        if not (folders[part] / "background_b.root").is_file():
            many.make_data(folders[part], events, seed)
    model, rows = HistFactory(many.spec(arguments.nuisances)), []

    def read(processor: Any, part: str, **options: Any) -> Templates:
        return distribute(processor, many.fileset(folders[part]), schemaclass=BaseSchema, **options)

    whole = {"precision": "float32", "chunksize": arguments.events}  # a file is one turn of a GPU
    classes = many.Classes(arguments.nuisances)
    with (
        read(classes, "train", **whole) as physics,
        read(many.Entropy(), "train", **whole) as entropy,
        read(many.Augmented(), "train", **whole) as augmented,
        read(classes, "judge") as judge,
    ):
        trainings = {
            "cross-entropy": Training(entropy, many.cross_entropy, 0.02, arguments.events),
            "augmentation": Training(augmented, many.cross_entropy, 0.02, arguments.events),
            "uncertainty": Training(physics, lambda made: many.both_variances(model(made)), 0.01, arguments.events),
        }
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            began = time.process_time()
            found = networks(seed, trainings, arguments.steps)
            judged = {kind: sigmas(model, judge.hard({"network": network})) for kind, network in found.items()}
            rows.append({"seed": seed, "sigma": judged, "cpu_seconds": time.process_time() - began})
            print(json.dumps(rows[-1]), flush=True)  # noqa: T201
            place.write_text(json.dumps({**vars(arguments), "out": str(arguments.out), "rows": rows}, indent=1))


def main() -> None:
    """Train and judge, or draw what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--events", type=int, default=250_000, help="of each process to train on")
    parser.add_argument("--judges", type=int, default=250_000, help="of each process to judge with")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100, help="for the variances")
    parser.add_argument("--nuisances", type=int, default=many.NUISANCES)
    parser.add_argument("--draw", action="store_true", help="only the table and the figure of what is there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.draw:
        train_and_judge(arguments, arguments.out / f"seeds-{arguments.first}.json")
        return
    parts = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("seeds-*.json"))]
    rows = list({row["seed"]: row for part in parts for row in part["rows"]}.values())
    bound = limit(parts[0]["nuisances"])
    (arguments.out / "study.json").write_text(
        json.dumps({"limit": bound, "seeds": len(rows), **summary(rows)}, indent=1)
    )
    draw(rows, bound, arguments.out / "sigmas.png")


if __name__ == "__main__":
    main()
