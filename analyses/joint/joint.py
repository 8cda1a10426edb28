"""Cuts, a network and bin edges optimised together, and one after the other in every order, on equal budgets.

    python analyses/joint/joint.py PROBLEM --data FOLDER --out FILE.json [--splits 10] [--first 0] [--steps 60]
    python analyses/joint/joint.py PROBLEM --out FILE.json --draw FIGURE.png

PROBLEM is `demo` (FOLDER is made if it is not there) or `htautau` (the skimmed files). FILE is written after every split.

All trainings of a split start from the same point: cuts and edges as in the analysis, the network after cross-entropy. Each takes as many steps, and
every step is one value and gradient of the expected limit on all training events, so that the fills are equal; a block that is not its turn stays. The order
that is best on the training events is also given three times the steps, so that each block has as many as all have together. Limits are pyhf's, with hard cuts, on the other half of the events.
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
from problems import BLOCKS, ENTROPY, ENTROPY_RATE, PROBLEMS, Problem, make_demo

import diffea
from diffea import HistFactory, Split
from diffea.distributed import Templates
from diffea.errors import YieldError
from diffea.evaluate import evaluation_of

mpl.use("agg")
import matplotlib.pyplot as plt

TOGETHER = "together"
ORDERS = {TOGETHER: (BLOCKS,)} | {
    ", ".join(order): tuple((block,) for block in order) for order in itertools.permutations(BLOCKS)
}
"""The blocks of each stage."""
RATIOS = {"limit over together": "test", "objective over together, training events": "train, soft"}
THRICE = "best order, three times the steps"


@dataclasses.dataclass(frozen=True)
class Descent:
    """Adam on the objective, compiled once for all orders.

    Args:
        problem: whose objective it is.
        templates: of the training events.
        model: of the statistics.
    """

    problem: Problem
    templates: Templates
    model: HistFactory

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", jax.jit(self._step))

    def loss(self, params: Any) -> jax.Array:
        """The objective with soft cuts."""
        return self.problem.objective(self.model(self.templates(params)))

    def _step(self, params: Any, state: Any, rates: Mapping[str, Any]) -> tuple[Any, Any]:
        updates, state = optax.scale_by_adam().update(jax.grad(self.loss)(params), state)
        new = {
            block: jax.tree.map(
                lambda now, update, rate=rates[block]: now - rate * update, params[block], updates[block]
            )
            for block in BLOCKS
        }
        for name, (low, high) in self.problem.bounds()["cuts"].items():
            stepped = params["cuts"][name] - rates["cuts"] * (high - low) * updates["cuts"][name]
            new["cuts"][name] = jnp.clip(stepped, low, high)
        return new, state

    def __call__(self, params: Any, stages: Sequence[Sequence[str]], steps: int) -> Any:
        """The last parameters of all stages, which share the steps."""
        each = steps // len(stages)
        for blocks in stages:
            state = optax.scale_by_adam().init(params)
            for number in range(each):
                share = 0.5 * (1.0 + np.cos(np.pi * number / each))
                rates = {block: share * self.problem.rates[block] * (block in blocks) for block in BLOCKS}
                params, state = self.step(params, state, rates)  # type: ignore[attr-defined]
        return params


def pretrained(problem: Problem, data: Path, split: Split) -> Any:
    """The start, its network after cross-entropy; cuts and edges stay."""
    start = problem.params()
    with problem.read(data, split, problem.entropy.of(problem.processor)) as sums:

        def loss(network: Any) -> jax.Array:
            return problem.entropy(sums({**start, "network": network}))

        found = diffea.optimise(loss, start["network"], optimizer=optax.adam(ENTROPY_RATE), steps=ENTROPY)
    return {**start, "network": found.params}


def compared(problem: Problem, data: Path, split: Split, steps: int) -> dict[str, dict[str, Any]]:
    """Of every order, and of the start: what was minimised, and pyhf's limit on the other half of the events."""
    start, model = pretrained(problem, data, split), HistFactory(problem.spec)
    with problem.read(data, split) as train, problem.read(data, split.of("test")) as test:
        descent = Descent(problem, train, model)

        def judged(point: Any) -> dict[str, Any]:
            return {"train, soft": float(descent.loss(point)), "test": limit(test, point, model)}

        found = {"start": judged(start)}
        for order, stages in ORDERS.items():
            before = train.passes
            point = descent(start, stages, steps)
            found[order] = {**judged(point), "passes": train.passes - before}
        best = best_order(found)
        found[THRICE] = {**judged(descent(start, ORDERS[best], 3 * steps)), "order": best}
    return found


def limit(test: Templates, params: Any, model: HistFactory) -> float | None:
    """pyhf's expected limit with hard cuts, or None where a bin of these events has signal and no background, so that there is none."""
    try:
        return evaluation_of(test, params, model).limit
    except YieldError:
        return None


def best_order(limits: Mapping[str, Mapping[str, Any]]) -> str:
    """That of one block after the other whose objective is lowest on training events."""
    return min((order for order in ORDERS if order != TOGETHER), key=lambda order: limits[order]["train, soft"])


def ratio(row: Mapping[str, Any], order: str, of: str = "test") -> float:
    """Of the limits of an order and of the optimisation together, on test events, or of their objectives; not a number where there is no such limit."""
    one, other = (row["limits"][name][of] for name in (order, TOGETHER))
    return one / other if one and other else float("nan")


def paired(ratios: Sequence[float]) -> dict[str, float]:
    """The mean of the ratios that are numbers, its standard error, how many are above one, and how many there are."""
    known = np.array([number for number in ratios if np.isfinite(number)])
    return {
        "mean": float(known.mean()),
        "error": float(known.std(ddof=1) / np.sqrt(known.size)),
        "above one": int(np.sum(known > 1)),
        "pairs": known.size,
    }


def summary(rows: Sequence[Mapping[str, Any]], of: str = "test") -> dict[str, Any]:
    """Of each order: its limit, or its objective, over that of the optimisation together, by split; and of the best order, which nobody knows beforehand."""
    orders = [order for order in ORDERS if order != TOGETHER]
    ratios = {order: [ratio(row, order, of) for row in rows] for order in (*orders, THRICE, "start")}
    means = np.mean([ratios[order] for order in orders], axis=0)
    best = [ratio(row, best_order(row["limits"]), of) for row in rows]
    return {
        **{order: paired(column) for order, column in ratios.items()},
        "mean of the orders": paired(means),
        "order that is best on training events": paired(best),
    }


def draw(report: Mapping[str, Any], place: Path) -> None:
    """Every order's limit over that of the optimisation together: splits as points, means with their errors."""
    names = [*(order for order in ORDERS if order != TOGETHER), THRICE]
    figure, axes = plt.subplots(figsize=(7.0, 3.4), layout="constrained")
    for number, order in enumerate(names):
        points = [ratio(row, order) for row in report["splits"]]
        axes.plot(points, np.full(len(points), number), "o", color="0.7", mfc="none", ms=4)
        mean = paired(points)
        axes.errorbar(mean["mean"], number, xerr=mean["error"], fmt="o", color="#2b6cb0", capsize=3)
    axes.axvline(1.0, color="black", lw=1, ls="--")
    axes.set_yticks(
        range(len(names)),
        [" → ".join(block for (block,) in ORDERS[name]) if name in ORDERS else name for name in names],
    )
    axes.invert_yaxis()
    axes.set_xlabel("expected limit, one after the other over together")
    axes.set_title(f"{report['problem']}, {len(report['splits'])} splits", loc="left", fontsize=10)
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
            **({name: summary(rows, of) for name, of in RATIOS.items()} if len(rows) > 1 else {}),
            "splits": rows,
        }
        arguments.out.write_text(json.dumps(report, indent=1))
    print(arguments.out.read_text())  # noqa: T201


if __name__ == "__main__":
    main()
