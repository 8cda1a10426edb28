"""A step on a mini-batch against a step on all events, gradient and all, measured in turns. Prints JSON.

    python benchmarks/minibatches.py [--events 8000000] [--of 10]

Eight cuts and one template of 20 bins a sample, on generated events; another time for a network of 2,000 weights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema
from timing import best

import diffea
from diffea import soft

FILES = 8
CUTS = {f"cut_{number}": 0.3 for number in range(8)}


class Cuts(diffea.DifferentiableProcessor):
    """Eight cuts on eight uniform observables, and a ninth histogrammed."""

    channels: ClassVar[dict[str, Any]] = {"signal region": hist.axis.Regular(20, 0, 1, name="x")}

    def columns(self, events: Any) -> dict[str, Any]:
        return {name: events[name] for name in events.fields}

    def fill(self, params: Any, columns: Any) -> Any:
        keep = soft.all_of(*(soft.above(columns[name], params[name], width=0.05) for name in CUTS))
        yield diffea.Fill("signal region", columns["x"], keep)


class Network(Cuts):
    """The score of a network on the same nine observables."""

    def fill(self, params: Any, columns: Any) -> Any:
        x = jnp.stack([columns[name] for name in sorted(columns)], axis=1)
        score = jax.nn.sigmoid(jnp.tanh(jnp.tanh(x @ params["w_1"]) @ params["w_2"]) @ params["w_3"])
        yield diffea.Fill("signal region", score)


def write(folder: Path, events: int) -> dict[str, Any]:
    """Files of generated events in float32, half of them signal."""
    random = np.random.default_rng(0)
    for number in range(FILES):
        with uproot.recreate(folder / f"{number}.root", compression=None) as file:
            columns = {name: random.random(events // FILES, np.float32) for name in [*CUTS, "x"]}
            file.mktree("Events", {name: column.dtype for name, column in columns.items()})
            file["Events"].extend(columns)
    paths = [str(folder / f"{number}.root") for number in range(FILES)]
    halves = {"signal": paths[: FILES // 2], "background": paths[FILES // 2 :]}
    return {sample: {"files": dict.fromkeys(files, "Events")} for sample, files in halves.items()}


def measure(processor: Any, params: Any, fileset: Any, of: int) -> dict[str, float]:
    with diffea.distribute(processor, fileset, schemaclass=BaseSchema) as templates:

        def loss(some: Any, params: Any) -> jax.Array:
            return sum(jnp.sum(jnp.sqrt(1.0 + template.values)) for template in some(params).values())

        numbers = iter(range(1_000_000))
        whole = jax.jit(jax.value_and_grad(lambda params: loss(templates, params)))
        part = jax.jit(jax.value_and_grad(lambda params, number: loss(templates.batch(number, of=of), params)))
        seconds = best({"whole": lambda: whole(params), "part": lambda: part(params, next(numbers) % of)}, 2 * of)
        return {**seconds, "part_over_whole": seconds["part"] / seconds["whole"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=8_000_000)
    parser.add_argument("--of", type=int, default=10)
    arguments = parser.parse_args()
    random = np.random.default_rng(1)
    shapes = {"w_1": (9, 40), "w_2": (40, 40), "w_3": (40,)}
    weights = {name: random.normal(size=shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    with tempfile.TemporaryDirectory() as folder:
        fileset = write(Path(folder), arguments.events)
        found = {
            "cuts": measure(Cuts(), CUTS, fileset, arguments.of),
            "network": measure(Network(), weights, fileset, arguments.of),
        }
    print(json.dumps({"events": arguments.events, "of": arguments.of, **found}, indent=1))


if __name__ == "__main__":
    main()
