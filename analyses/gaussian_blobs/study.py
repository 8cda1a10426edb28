"""The study of the neos paper in memory, by mini-batches: every loss, several initialisations, real histograms of test points.

python analyses/gaussian_blobs/study.py --out out/blobs.json --figure analyses/gaussian_blobs/figure3.png
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parent))

from analysis import BANDWIDTH, EDGES, KEYS, MODEL, YIELDS, draw, inferno, initial, log_cls, network

import diffea
from diffea import objectives, soft
from diffea.judge import Judge

BATCH = 2000


class Counts(NamedTuple):
    """What the model reads of a template."""

    values: Any
    variances: Any


def templates(layers: Any, batch: Mapping[str, Any]) -> dict[Any, Counts]:
    """Histograms of the scores of all blobs, scaled to the expected yields; exact ones inside of ``soft.hard()``."""
    n = batch["signal"].shape[0]
    scores = jax.nn.sigmoid(network(layers, jnp.concatenate([batch[blob] for blob in KEYS])))
    weights = np.array([YIELDS[sample] / n for sample, _ in KEYS.values()])
    fill = functools.partial(diffea.histogram, edges=np.array(EDGES), bandwidth=BANDWIDTH)
    sums = jax.vmap(lambda part, weight: fill(part, weights=weight))(scores.reshape(len(KEYS), n), weights)
    return {
        ("score", *key): Counts(values, values * weight)
        for key, values, weight in zip(KEYS.values(), sums, weights, strict=True)
    }


def physics(objective: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The loss of a mini-batch that is an objective of the model."""
    return lambda layers, batch: objective(MODEL(templates(layers, batch)))


def cross_entropy(layers: Any, batch: Mapping[str, Any], blobs: tuple[str, ...]) -> Any:
    """Mean cross-entropy of the classifier of signal against the other blobs."""
    logits = network(layers, jnp.concatenate([batch[blob] for blob in blobs]))
    sign = jnp.where(jnp.arange(logits.size) < batch["signal"].shape[0], -1.0, 1.0)
    return jnp.mean(jax.nn.softplus(sign * logits))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "CLs (neos)": physics(objectives.cls),
    "log CLs": physics(log_cls),
    "σ_μ² (INFERNO)": physics(inferno),
    "cross-entropy": functools.partial(cross_entropy, blobs=("signal", "background")),
    "cross-entropy, variations": functools.partial(cross_entropy, blobs=tuple(KEYS)),
}


def make_step(loss: Callable[[Any, Any], Any], optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """One update by one mini-batch."""

    @jax.jit
    def step(layers: Any, state: Any, batch: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(layers, batch)
        updates, state = optimizer.update(gradient, state, layers)
        return optax.apply_updates(layers, updates), state, value

    return step


def batches(train: Mapping[str, Any], seed: int, size: int) -> Iterator[dict[str, Any]]:
    """Mini-batches without end, the points shuffled at every epoch."""
    generator, points = np.random.default_rng(seed), len(train["signal"])
    while True:
        order = {blob: generator.permutation(points) for blob in train}
        for start in range(0, points - size + 1, size):
            yield {blob: jnp.asarray(train[blob][order[blob][start : start + size]]) for blob in train}


def judge(layers: Any, test: Mapping[str, Any]) -> dict[str, float]:
    """Expected CLs by pyhf on real histograms, and both uncertainties from the Fisher information at μ = 1."""
    with soft.hard():
        made = jax.tree.map(np.asarray, templates(layers, test))
    penalty = float(objectives.nuisance_penalty(MODEL(made), poi_true=1.0))
    return {
        "cls": Judge(MODEL.workspace(made)).cls(),
        "sigma_mu": float(objectives.poi_uncertainty(MODEL(made), poi_true=1.0)),
        "sigma_gamma": 1.0 - np.sqrt(penalty),
        "discovery_p0": float(objectives.discovery(MODEL(made))),
    }


def train(name: str, seed: int, args: argparse.Namespace, data: Mapping[str, Any], step: Any, optimizer: Any) -> Any:
    """One network: its metrics on the test points, and how long a step took."""
    split = round(0.75 * args.points)
    layers = jax.tree.map(lambda leaf: leaf.astype(args.precision), initial(args.width, seed))
    state, stream, seconds = (
        optimizer.init(layers),
        batches({b: x[:split] for b, x in data.items()}, seed, args.batch),
        [],
    )
    for _ in range(args.steps):
        batch = next(stream)
        began = time.perf_counter()
        layers, state, value = step(layers, state, batch)
        value.block_until_ready()
        seconds.append(time.perf_counter() - began)
    found = judge(layers, {blob: jnp.asarray(x[split:]) for blob, x in data.items()})
    return {"loss": name, "seed": seed, "final": float(value), "ms_per_step": 1e3 * float(np.median(seconds)), **found}


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All losses, all initialisations."""
    data = {blob: x.astype(args.precision) for blob, x in draw(args.means, args.points).items()}
    optimizer, rows = optax.adam(1e-3), []
    for name in args.losses:
        step = make_step(LOSSES[name], optimizer)
        for seed in range(args.seeds):
            rows.append(train(name, seed, args, data, step, optimizer))
            print(json.dumps(rows[-1], ensure_ascii=False), file=sys.stderr)  # noqa: T201
    return rows


METRICS = {"cls": "expected CLs", "sigma_mu": r"$\sigma_\mu$", "deviation": r"$1 - \sigma_\gamma$"}


def column(rows: list[dict[str, Any]], name: str, metric: str) -> np.ndarray:
    """A metric of one loss, over the initialisations."""
    chosen = [row for row in rows if row["loss"] == name]
    return np.array([1.0 - row["sigma_gamma"] if metric == "deviation" else row[metric] for row in chosen])


def draw_figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Figure 3 of the paper: a panel a metric, a row a loss, a point an initialisation."""
    names = list(dict.fromkeys(row["loss"] for row in rows))[::-1]
    figure, panels = plt.subplots(
        1, len(METRICS), figsize=(11, 0.6 + 0.5 * len(names)), sharey=True, layout="constrained"
    )
    for panel, (metric, label) in zip(panels, METRICS.items(), strict=True):
        for height, name in enumerate(names):
            values = column(rows, name, metric)
            panel.plot(values, np.full(values.size, height), "o", color="#9bb8d8", ms=5, alpha=0.8)
            panel.plot(values.mean(), height, "D", color="#1f4e8c", ms=7)
        panel.set_xlabel(label)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="0.92")
    panels[0].set_xscale("log")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(-0.5, len(names) - 0.5)
    figure.savefig(path, dpi=130)


def table(rows: list[dict[str, Any]]) -> str:
    """Median and range of each metric, as Markdown."""
    lines = [
        "| loss | CLs × 10⁶: median (range) | σ_μ | 1 − σ_γ | p₀ × 10³ | ms per step |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["loss"] for row in rows):
        cells = [
            f"{np.median(x):{form}} ({x.min():{form}}–{x.max():{form}})"
            for x, form in (
                (1e6 * column(rows, name, "cls"), ".2f"),
                (column(rows, name, "sigma_mu"), ".3f"),
                (column(rows, name, "deviation"), ".3f"),
                (1e3 * column(rows, name, "discovery_p0"), ".2g"),
            )
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {np.median(column(rows, name, 'ms_per_step')):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--means", choices=("demo", "paper"), default="demo")
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=7)
    parser.add_argument("--points", type=int, default=10_000, help="in each blob")
    parser.add_argument("--batch", type=int, default=BATCH, help="points of each blob in a mini-batch")
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--losses", nargs="+", choices=list(LOSSES), default=list(LOSSES))
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    rows = run(args)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(
            json.dumps({"settings": {**vars(args), "out": str(args.out), "figure": str(args.figure)}, "rows": rows})
        )
    if args.figure:
        draw_figure(rows, args.figure)
    print(table(rows))  # noqa: T201
