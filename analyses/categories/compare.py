"""Categories learned by diffea beside those of gato-hep, on the events that `gato.py` kept: OUT/comparison.json.

    python analyses/categories/compare.py OUT [--inputs "log ratios"]

Both have the same events, ten Gaussians, 250 steps and the loss of gato-hep's example, the geometric mean of the Asimov significances of two
signals, each with the other one as background, and penalties below 5 background events and above an MC error of 20 %; both are judged with hard assignment, on the events trained on and on others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import uproot
from coffea.nanoevents import BaseSchema

import diffea
from diffea import learning

CATEGORIES, STEPS = 10, 250
SIGNALS = ("signal1", "signal2")
INPUTS = {  # of the scores p of both signals
    "scores": lambda p: p,
    "log ratios": lambda p: (
        jnp.log(jnp.maximum(p, 1e-9)) - jnp.log(jnp.maximum(1.0 - p.sum(axis=1, keepdims=True), 1e-9))
    ),
}


class Gaussians(diffea.DifferentiableProcessor):
    """Ten categories in two dimensions."""

    channels: ClassVar[dict[str, Any]] = {"categories": hist.axis.IntCategory(range(CATEGORIES), name="category")}

    def __init__(self, inputs: str) -> None:
        self.inputs = inputs

    def columns(self, events: Any) -> dict[str, Any]:
        return {name: events[name] for name in ("p_1", "p_2", "weight")}

    def fill(self, params: Any, columns: Any) -> Any:
        x = INPUTS[self.inputs](jnp.stack([columns["p_1"], columns["p_2"]], axis=1))
        yield diffea.Fill("categories", learning.gaussian_regions(params, x), columns["weight"])


def significances(yields: Any) -> list[jax.Array]:
    """Asimov significance of each signal, over everything else; yields by process and category."""
    found = []
    for name in SIGNALS:
        signal = yields[name]
        background = jnp.maximum(sum(other for process, other in yields.items() if process != name), 1e-9)
        squares = 2.0 * ((signal + background) * jnp.log1p(signal / background) - signal)
        found.append(jnp.sqrt(jnp.maximum(squares, 1e-12).sum()))
    return found


def loss(templates: Any) -> jax.Array:
    """What is minimised: minus the geometric mean, with penalties at gato-hep's thresholds."""
    backgrounds = sorted({sample for _, sample, _ in templates} - set(SIGNALS))
    low = learning.low_yields(templates, "categories", backgrounds, at_least=5.0)
    return objective(templates) + low + learning.large_errors(templates, "categories", backgrounds, at_most=0.2)


def objective(templates: Any) -> jax.Array:
    """Minus the geometric mean."""
    first, second = significances({sample: templates["categories", sample].values for _, sample, _ in templates})
    return -jnp.sqrt(first * second)


def write(kept: Any, part: str, folder: Path) -> dict[str, Any]:
    """A file for each process, and coffea's fileset of them."""
    for name in map(str, kept["processes"]):
        scores, weight = kept[f"{part} {name} scores"], kept[f"{part} {name} weight"]
        with uproot.recreate(folder / f"{part}-{name}.root") as file:
            file["Events"] = {"p_1": scores[:, 0], "p_2": scores[:, 1], "weight": weight}
    return {name: {"files": {str(folder / f"{part}-{name}.root"): "Events"}} for name in map(str, kept["processes"])}


def box(kept: Any, inputs: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the middle 98 % of both signals' training events lie."""
    signal = np.concatenate([kept[f"train {name} scores"] for name in SIGNALS])
    return tuple(np.quantile(np.asarray(INPUTS[inputs](signal)), (0.01, 0.99), axis=0))


def run(kept: Any, inputs: str, seed: int) -> dict[str, float]:
    """Minus the loss with hard assignment, on both parts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processor = Gaussians(inputs)
        with diffea.distribute(processor, write(kept, "train", folder), schemaclass=BaseSchema) as train:
            began = time.perf_counter()
            found = diffea.optimise(
                diffea.Composite(train, loss),
                learning.gaussians(CATEGORIES, *box(kept, inputs), seed=seed),
                optimizer=optax.rmsprop(optax.cosine_decay_schedule(0.1, STEPS, 0.01)),
                steps=STEPS,
                widths=diffea.anneal(1.0, 0.05),
            )
            seconds, reached = time.perf_counter() - began, -float(objective(train.hard(found.params)))
        with diffea.distribute(processor, write(kept, "test", folder), schemaclass=BaseSchema) as test:
            return {"train": reached, "test": -float(objective(test.hard(found.params))), "seconds": seconds}


def of_gato(kept: Any) -> dict[str, float]:
    """The same numbers of what gato-hep learned."""
    found = {}
    for part in ("train", "test"):
        first, second = significances(dict(zip(map(str, kept["processes"]), kept[f"{part} yields"], strict=True)))
        found[part] = float(jnp.sqrt(first * second))
    return {**found, "seconds": float(kept["seconds"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--inputs", nargs="+", choices=INPUTS, default=list(INPUTS))
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {"gato-hep": [], **{inputs: [] for inputs in arguments.inputs}}
    for split, path in enumerate(sorted(arguments.out.glob("split-*.npz"))):
        with np.load(path) as kept:
            runs["gato-hep"].append(of_gato(kept))
            for inputs in arguments.inputs:
                runs[inputs].append(run(kept, inputs, split))
    table: dict[str, Any] = {}
    for name, found in runs.items():
        columns = {key: np.array([one[key] for one in found]) for key in found[0]}
        ratio = columns["test"] / np.array([one["test"] for one in runs["gato-hep"]])
        table[name] = {
            **{key: float(column.mean()) for key, column in columns.items()},
            "test over gato-hep's": float(ratio.mean()),
            "its error": float(ratio.std(ddof=1) / np.sqrt(ratio.size)) if ratio.size > 1 else None,
            "splits better": int(np.sum(ratio > 1)),
        }
    (arguments.out / "comparison.json").write_text(
        json.dumps({"splits": len(runs["gato-hep"]), "means": table}, indent=1)
    )


if __name__ == "__main__":
    main()
