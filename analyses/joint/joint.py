"""Cuts, a network and bin edges optimised together, and one after the other in every order, on equal budgets.

    python analyses/joint/joint.py PROBLEM --data FOLDER --out FILE.json [--splits 10] [--first 0] [--steps 60]
    python analyses/joint/joint.py PROBLEM --out FILE.json --draw FIGURE.png

PROBLEM is `demo` (FOLDER is made if it is not there) or `htautau` (the skimmed files). FILE is written after every split.

All trainings of a split start from the same point: cuts and edges as in the analysis, the network after cross-entropy. Each takes as many steps, and
every step is one value and gradient of the expected limit on all training events, so that the fills are equal; a block that is not its turn stays. Limits are
pyhf's, with hard cuts, on the other half of the events.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from problems import PROBLEMS, Problem, make_demo

import diffea
from diffea import HistFactory, Split, objectives
from diffea.distributed import Templates
from diffea.evaluate import evaluation_of

mpl.use("agg")
import matplotlib.pyplot as plt

BLOCKS = ("cuts", "network", "edges")
TOGETHER = "together"
ORDERS = {TOGETHER: (BLOCKS,)} | {
    ", ".join(order): tuple((block,) for block in order) for order in itertools.permutations(BLOCKS)
}
"""The blocks of each stage."""
RATES = {"cuts": 0.03, "network": 0.004, "edges": 0.05}  # cuts in units of their ranges, edges in logarithms of widths
ENTROPY = 60  # steps of cross-entropy before


@dataclasses.dataclass(frozen=True)
class Descent:
    """Adam on the expected limit, compiled once for all orders.

    Args:
        problem: whose limit it is.
        templates: of the training events.
        model: of the limit.
    """

    problem: Problem
    templates: Templates
    model: HistFactory

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", jax.jit(self._step))

    def loss(self, point: Any) -> jax.Array:
        """The expected limit with soft cuts."""
        return objectives.upper_limit(self.model(self.templates(self.problem.physical(point))))

    def _step(self, point: Any, state: Any, rates: Mapping[str, Any]) -> tuple[Any, Any]:
        updates, state = optax.scale_by_adam().update(jax.grad(self.loss)(point), state)
        new = {
            block: jax.tree.map(
                lambda now, update, block=block: now - rates[block] * update, point[block], updates[block]
            )
            for block in BLOCKS
        }
        return {**new, "cuts": jax.tree.map(lambda cut: jnp.clip(cut, 0.0, 1.0), new["cuts"])}, state

    def __call__(self, point: Any, stages: Sequence[Sequence[str]], steps: int) -> Any:
        """The last point of all stages, which share the steps."""
        each = steps // len(stages)
        for blocks in stages:
            state = optax.scale_by_adam().init(point)
            for number in range(each):
                share = 0.5 * (1.0 + np.cos(np.pi * number / each))
                rates = {block: share * RATES[block] * (block in blocks) for block in BLOCKS}
                point, state = self.step(point, state, rates)  # type: ignore[attr-defined]
        return point


def pretrained(problem: Problem, data: Path, split: Split) -> Any:
    """The start, its network after cross-entropy; cuts and edges stay."""
    start = problem.start()
    with problem.read(data, split, problem.entropy.of(problem.processor)) as sums:

        def loss(network: Any) -> jax.Array:
            return problem.entropy(sums(problem.physical({**start, "network": network})))

        found = diffea.optimise(loss, start["network"], optimizer=optax.adam(0.02), steps=ENTROPY)
    return {**start, "network": found.params}


def compared(problem: Problem, data: Path, split: Split, steps: int) -> dict[str, dict[str, float]]:
    """Of every order, and of the start: the limit that was minimised, and pyhf's on the other half of the events."""
    start, model = pretrained(problem, data, split), HistFactory(problem.spec)
    with problem.read(data, split) as train, problem.read(data, split.of("test")) as test:
        descent = Descent(problem, train, model)

        def judged(point: Any) -> dict[str, float]:
            limit = evaluation_of(test, problem.physical(point), model).limit
            return {"train, soft": float(descent.loss(point)), "test": limit}

        found = {"start": judged(start)}
        for order, stages in ORDERS.items():
            before = train.passes
            point = descent(start, stages, steps)
            passes = train.passes - before
            found[order] = {**judged(point), "passes": passes}
    return found


def paired(ratios: Sequence[float]) -> dict[str, float]:
    """The mean of ratios over splits, its standard error, and how many are above one."""
    error = float(np.std(ratios, ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else float("nan")
    return {"mean": float(np.mean(ratios)), "error": error, "above one": int(np.sum(np.array(ratios) > 1))}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each order: its limit over that of the optimisation together, by split; and of the best order, which nobody knows beforehand."""
    orders = [order for order in ORDERS if order != TOGETHER]
    ratios = {
        order: [row["limits"][order]["test"] / row["limits"][TOGETHER]["test"] for row in rows]
        for order in (*orders, "start")
    }
    means = [float(np.mean(column)) for column in zip(*(ratios[order] for order in orders), strict=True)]
    best = [
        row["limits"][min(orders, key=lambda order, row=row: row["limits"][order]["train, soft"])]["test"]
        / row["limits"][TOGETHER]["test"]
        for row in rows
    ]
    return {
        **{order: paired(column) for order, column in ratios.items()},
        "mean of the orders": paired(means),
        "order that is best on training events": paired(best),
    }


def draw(report: Mapping[str, Any], place: Path) -> None:
    """Every order's limit over that of the optimisation together: splits as points, means with their errors."""
    names = [order for order in ORDERS if order != TOGETHER]
    figure, axes = plt.subplots(figsize=(7.0, 3.4), layout="constrained")
    for number, order in enumerate(names):
        points = [row["limits"][order]["test"] / row["limits"][TOGETHER]["test"] for row in report["splits"]]
        axes.plot(points, np.full(len(points), number), "o", color="0.7", mfc="none", ms=4)
        mean = report["over together"][order]
        axes.errorbar(mean["mean"], number, xerr=mean["error"], fmt="o", color="#2b6cb0", capsize=3)
    axes.axvline(1.0, color="black", lw=1, ls="--")
    axes.set_yticks(range(len(names)), [name.replace(", ", " → ") for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("expected limit, one after the other over together")
    axes.set_title(report["problem"], loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(place, dpi=130)


def main() -> None:
    """All splits, one after the other; or the figure of what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=list(PROBLEMS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed of the first split")
    parser.add_argument("--steps", type=int, default=60, help="of each training, a multiple of three")
    parser.add_argument("--draw", type=Path, metavar="FIGURE")
    arguments = parser.parse_args()
    if arguments.draw:
        draw(json.loads(arguments.out.read_text()), arguments.draw)
        return
    if arguments.data is None or arguments.steps < 3 or arguments.steps % 3:
        parser.error("--data names the folder of the events, and --steps is a multiple of three")
    warnings.simplefilter("ignore")
    problem = PROBLEMS[arguments.problem]()
    if arguments.problem == "demo" and not arguments.data.exists():
        make_demo(arguments.data)
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.first, arguments.first + arguments.splits):
        began = time.process_time()
        limits = compared(problem, arguments.data, Split(train=0.5, seed=seed), arguments.steps)
        rows.append({"seed": seed, "limits": limits, "cpu_seconds": time.process_time() - began})
        report = {
            "problem": arguments.problem,
            "steps": arguments.steps,
            "over together": summary(rows),
            "splits": rows,
        }
        arguments.out.write_text(json.dumps(report, indent=1))
    print(arguments.out.read_text())  # noqa: T201


if __name__ == "__main__":
    main()
