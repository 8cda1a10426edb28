"""The study of the neos paper in memory, by mini-batches: every loss, several initialisations, real histograms of test points.

python analyses/gaussian_blobs/study.py --out out/blobs.json --figure out/study.png
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
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parent))

import figure3
from analysis import BANDWIDTH, EDGES, KEYS, MODEL, YIELDS, draw, inferno, initial, log_cls, network
from figure3 import plot, table

import diffea
from diffea import objectives, soft
from diffea.judge import Judge

BATCH = 2000
COLUMNS = figure3.COLUMNS | {"p₀ × 10³": ("discovery_p0", 1e3, ".2g"), "ms per step": ("ms_per_step", 1.0, ".1f")}


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
    return {
        "cls": Judge(MODEL.workspace(made)).cls(),
        "sigma_mu": float(objectives.poi_uncertainty(MODEL(made), poi_true=1.0)),
        "constraint": float(np.sqrt(objectives.nuisance_penalty(MODEL(made), poi_true=1.0))),
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


def by_loss(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every loss."""
    return {name: [row for row in rows if row["loss"] == name] for name in dict.fromkeys(row["loss"] for row in rows)}


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
        args.figure.parent.mkdir(parents=True, exist_ok=True)
        plot(by_loss(rows), args.figure)
    print(table(by_loss(rows), COLUMNS))  # noqa: T201
