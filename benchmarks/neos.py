"""A training step of the neos study: expected CLs beside cross-entropy, and beside everwillow where that is installed.

    python benchmarks/neos.py                  # steps, side by side, at widths 100 and 1024
    python benchmarks/neos.py --train 7        # and 60 steps at width 100 from 7 initialisations: CLs on test points

Every round takes each step once, in turn, of wall time and of processor time, which a busy machine disturbs less. A ratio is
given twice: the median over rounds of the ratio within a round, and that of the fastest steps of all rounds. The peer
(`pip install everwillow==0.1.2`) has a likelihood and a Gaussian KDE written here, since it brings none.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import ndtr, xlogy

sys.path.insert(0, str(Path(__file__).parents[1] / "analyses" / "gaussian_blobs"))

import study
from analysis import BANDWIDTH, KEYS, YIELDS, draw, initial, network

from diffea import objectives

EDGES = np.linspace(0, 1, 5)
PEER = "CLs with everwillow"


def peer_loss(our_histograms: bool) -> Callable[[Any, Any], Any]:
    """Expected CLs by everwillow's fits, one hypothesis test on Asimov data.

    Args:
        our_histograms: diffea's templates instead of a Gaussian KDE that looks at every edge.
    """
    import everwillow.statelib as sl
    from everwillow.hypotest.test_statistics import QMu

    def counts(layers: Any, batch: Any) -> list[Any]:
        if our_histograms:
            return [template.values for template in study.templates(layers, batch).values()]
        n = batch["signal"].shape[0]
        scores = jax.nn.sigmoid(network(layers, jnp.concatenate([batch[blob] for blob in KEYS])))
        below = ndtr((EDGES - scores[:, None]) / BANDWIDTH)
        bins = jnp.diff(below, axis=1).reshape(len(KEYS), n, -1).sum(axis=1) / n
        return [YIELDS[key[0]] * part for key, part in zip(KEYS.values(), bins, strict=True)]

    def loss(layers: Any, batch: Any) -> Any:
        signal, background, up, down = counts(layers, batch)
        background, up, down = background + 1e-3, up + 1e-3, down + 1e-3

        def rate(pars: Any) -> Any:
            high, low, g = up - background, down - background, pars["gamma"]
            inside = g * (0.5 * (high - low) + g * 0.0625 * (high + low) * (g**2 * (3 * g**2 - 10) + 15))
            shift = jnp.where(g > 1, g * high, jnp.where(g < -1, -g * low, inside))
            return jnp.maximum(pars["mu"] * signal + background + shift, 1e-9)

        def nll(pars: Any, data: Any) -> Any:
            nu = rate(pars)
            return jnp.sum(nu - xlogy(data, nu)) + 0.5 * pars["gamma"] ** 2

        start = sl.State.from_pytree({"mu": 1.0, "gamma": 0.0})
        q = QMu().compute(nll, start, background, "mu", 1.0).value
        return 2 * ndtr(-jnp.sqrt(jnp.where(q > 0, q, 1.0)) * (q > 0))

    return loss


def losses() -> dict[str, Callable[[Any, Any], Any]]:
    """What is compared."""
    found = {"CLs": study.LOSSES["CLs (neos)"], "cross-entropy": study.LOSSES["cross-entropy, variations"]}
    if importlib.util.find_spec("everwillow"):
        found |= {PEER: peer_loss(False), f"{PEER}, our histograms": peer_loss(True)}
    return found


def compare(width: int, rounds: int, precision: str) -> dict[str, Any]:
    """Milliseconds a step, and ratios, of all losses on one mini-batch of 2000 points a blob."""
    optimizer = optax.adam(1e-3)
    batch = {blob: jnp.asarray(x[: study.BATCH].astype(precision)) for blob, x in draw().items()}
    steps, states = {}, {}
    for name, loss in losses().items():
        layers = jax.tree.map(lambda leaf: leaf.astype(precision), initial(width, 0))
        steps[name] = study.make_step(loss, optimizer)
        states[name] = steps[name](layers, optimizer.init(layers), batch)
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    spent: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in steps} for clock in clocks}
    for _ in range(rounds):
        for name, step in steps.items():
            jax.block_until_ready(states)
            began = {clock: now() for clock, now in clocks.items()}
            states[name] = jax.block_until_ready(step(*states[name][:2], batch))
            for clock, now in clocks.items():
                spent[clock][name].append(now() - began[clock])
    return {
        "width": width,
        "precision": precision,
        "rounds": rounds,
        **{f"ms_per_step_{clock}": {name: ms(times) for name, times in spent[clock].items()} for clock in clocks},
        **{f"ratios_{clock}": ratios(spent[clock]) for clock in clocks},
    }


def ms(seconds: list[float]) -> dict[str, float]:
    """Median and fastest, in milliseconds."""
    return {"median": round(1e3 * float(np.median(seconds)), 2), "fastest": round(1e3 * min(seconds), 2)}


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of the CLs step to the others: the median over rounds, and of the fastest steps."""
    ours = seconds["CLs"]
    return {
        f"CLs / {name}": {
            "median": round(float(np.median(np.divide(ours, times))), 3),
            "fastest": round(min(ours) / min(times), 3),
        }
        for name, times in seconds.items()
        if name != "CLs"
    }


def where_time_goes(width: int, precision: str, rounds: int) -> dict[str, float]:
    """Milliseconds for value and gradient of the parts of a CLs step, the fastest of some."""
    batch = {blob: jnp.asarray(x[: study.BATCH].astype(precision)) for blob, x in draw().items()}
    layers = jax.tree.map(lambda leaf: leaf.astype(precision), initial(width, 0))
    made = jax.jit(study.templates)(layers, batch)

    def squares(layers: Any) -> Any:
        return sum(jnp.sum(template.values**2) for template in study.templates(layers, batch).values())

    parts: dict[str, tuple[Any, Any]] = {
        "network": (lambda layers: jnp.sum(network(layers, jnp.concatenate(list(batch.values()))) ** 2), layers),
        "network and histograms": (squares, layers),
        "model, fit and CLs": (lambda templates: objectives.cls(study.MODEL(templates)), made),
    }
    functions = {name: (jax.jit(jax.value_and_grad(f)), argument) for name, (f, argument) in parts.items()}
    fastest = dict.fromkeys(functions, np.inf)
    for _ in range(rounds + 1):
        for name, (f, argument) in functions.items():
            began = time.perf_counter()
            jax.block_until_ready(f(argument))
            fastest[name] = min(fastest[name], time.perf_counter() - began)
    return {name: round(1e3 * spent, 3) for name, spent in fastest.items()}


def train(seeds: int, steps: int) -> dict[str, Any]:
    """CLs on test points, by pyhf on real histograms, after equal steps from equal networks."""
    args = argparse.Namespace(points=10_000, width=100, steps=steps, batch=study.BATCH, precision="float64")
    data, optimizer = draw(), optax.adam(1e-3)
    chosen = {"CLs": losses()["CLs"], "log CLs": study.LOSSES["log CLs"]}
    chosen |= {name: loss for name, loss in losses().items() if name == PEER}
    found = {}
    for name, loss in chosen.items():
        step = study.make_step(loss, optimizer)
        values = [study.train(name, seed, args, data, step, optimizer)["cls"] for seed in range(seeds)]
        found[name] = {"median": float(np.median(values)), "all": values}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[100, 1024])
    parser.add_argument("--rounds", type=int, default=40, help="at width 100; a tenth of them at larger ones")
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--train", type=int, default=0, metavar="SEEDS")
    args = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "neos", "steps": [], "where_time_goes_ms": {}}
    for width in args.widths:
        rounds = args.rounds if width <= 100 else max(args.rounds // 10, 1)
        result["steps"].append(compare(width, rounds, args.precision))
        result["where_time_goes_ms"][width] = where_time_goes(width, args.precision, rounds)
    if args.train:
        result["test_cls_after_60_steps"] = train(args.train, 60)
    print(json.dumps(result, indent=1))
