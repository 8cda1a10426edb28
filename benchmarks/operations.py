"""Soft operations beside the same exact operations in NumPy.

    python benchmarks/operations.py [--events 1048576] [--repeat 7]

prints ratios of the best times, measured in turns in this run, as JSON. A chunk is cut into blocks of 4096 rows, and value and
derivative are taken in the loop over blocks, as the workers do. The four variations of a processor run through the workers' own kernels;
written out one after the other, they would cost 5 × the nominal templates.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from typing import Any

import boost_histogram as bh
import hist
import jax
import jax.numpy as jnp
import numpy as np
from timing import best

from diffea import histograms, soft
from diffea.events.columns import check
from diffea.events.ragged import Ragged
from diffea.processor import DifferentiableProcessor, Fill
from diffea.program import Program, structured

BLOCK = 4096
EDGES = np.linspace(20.0, 200.0, 21)
CUTS = 8


def over_blocks(function: Callable[..., Any]) -> Callable[..., Any]:
    """The sum of ``function(params, rows)`` over blocks of rows."""

    @jax.jit
    def run(params: Any, blocks: Any) -> Any:
        def body(index: Any, total: Any) -> Any:
            rows = jax.tree.map(lambda leaf: leaf[index], blocks)
            return jax.tree.map(jnp.add, total, function(params, rows))

        first = jax.tree.map(lambda leaf: leaf[0], blocks)
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, params, first))
        return jax.lax.fori_loop(0, jax.tree.leaves(blocks)[0].shape[0], body, zero)

    return run


def chunk(events: int, repeat: int) -> dict[str, float]:
    """Eight cuts and a histogram of 20 bins with its variances: value, gradient, Jacobian; and the hard selection in NumPy."""
    random = np.random.default_rng(0)
    x, w = random.normal(100.0, 40.0, events), random.normal(1.0, 0.3, events)
    columns = [random.normal(size=events) for _ in range(CUTS)]
    blocks = jax.tree.map(lambda a: jnp.asarray(a.reshape(-1, BLOCK)), (x, w, columns))
    params, slope = jnp.full(CUTS, -1.0), jnp.cos(jnp.arange(2.0 * (len(EDGES) + 1))).reshape(2, -1)

    def value(params: Any, rows: Any) -> Any:
        x, w, columns = rows
        keep = soft.all_of(*(soft.above(c, p, width=0.3) for c, p in zip(columns, params, strict=True)))
        return jnp.stack(histograms.fill(x, EDGES, w * keep))

    def gradient(params: Any, rows: Any) -> Any:
        return jax.value_and_grad(lambda p: jnp.vdot(slope, value(p, rows)))(params)

    def jacobian(params: Any, rows: Any) -> Any:
        return jax.vmap(lambda t: jax.jvp(lambda p: value(p, rows), (params,), (t,)), out_axes=(None, -1))(
            jnp.eye(CUTS)
        )

    def numpy() -> None:
        keep = np.ones(events, bool)
        for column in columns:
            keep &= column > -1.0
        bh.Histogram(bh.axis.Regular(20, 20.0, 200.0), storage=bh.storage.Weight()).fill(x[keep], weight=w[keep])

    compiled = {name: over_blocks(f) for name, f in (("value", value), ("gradient", gradient), ("jacobian", jacobian))}
    functions: dict[str, Callable[[], Any]] = {name: (lambda f=f: f(params, blocks)) for name, f in compiled.items()}
    return best({**functions, "numpy": numpy}, repeat)


def counts(events: int, repeat: int) -> dict[str, float]:
    """A soft count of three objects an event; and ``np.add.reduceat`` on the exact cut."""
    random = np.random.default_rng(1)
    pt = random.exponential(30.0, 3 * events)
    offsets = np.arange(0, 3 * events, 3)
    jets = Ragged(jnp.asarray(pt.reshape(-1, 3)), jnp.ones((events, 3), bool))
    blocks = jax.tree.map(lambda a: a.reshape(-1, BLOCK, 3), jets)

    def one(threshold: Any, jets: Any) -> Any:
        return soft.count(soft.above(jets, threshold, width=3.0))

    soft_counts = jax.jit(lambda t: jax.lax.map(lambda jets: one(t, jets), blocks))
    gradient = over_blocks(lambda t, jets: jax.value_and_grad(lambda t: jnp.sum(one(t, jets) ** 2))(t))
    return best(
        {
            "soft": lambda: soft_counts(30.0),
            "gradient": lambda: gradient(30.0, blocks),
            "reduceat": lambda: np.add.reduceat((pt > 30.0).astype(float), offsets),
        },
        repeat,
    )


class Cuts(DifferentiableProcessor):
    """Eight cuts and a histogram of 20 bins."""

    channels = {"x": hist.axis.Regular(20, 20.0, 200.0, name="x")}  # noqa: RUF012

    def fill(self, params: Any, columns: Any) -> Any:
        cuts = [soft.above(columns[f"cut_{i}"], params[i], width=0.3) for i in range(CUTS)]
        yield Fill("x", columns["x"], columns["weight"] * soft.all_of(*cuts))


def scaled(column: str, by: float) -> Callable[..., Any]:
    """A shift of one column."""
    return lambda columns, direction: {column: columns[column] * (1.0 + by * direction)}


def variations(events: int, repeat: int) -> dict[str, float]:
    """Templates and gradients, with two shifts up and down of a column that is cut on, of the observable, of the weight."""
    random = np.random.default_rng(2)
    data = {"x": random.normal(100.0, 40.0, events), "weight": random.normal(1.0, 0.3, events)}
    data |= {f"cut_{i}": random.normal(size=events) for i in range(CUTS)}
    params = jnp.full(CUTS, -1.0)
    functions: dict[str, Callable[[], Any]] = {}
    for name, column in (("nominal", None), ("cut", "cut_0"), ("observable", "x"), ("weight", "weight")):
        shifts = {} if column is None else {"one": scaled(column, 0.01), "two": scaled(column, 0.02)}
        program = Program(type(name, (Cuts,), {"variations": shifts})())
        structure, blocks = structured(check(data, events, "benchmark"), program.dtype)
        layout = program.layout(structure, "sample", params)
        cotangents = np.cos(np.arange(2.0 * layout.size)).reshape(2, -1)
        for mode, more in (("values", ()), ("vjp", (cotangents,)), ("jacobian", ())):
            functions[f"{name}_{mode}"] = functools.partial(
                program.run, mode, structure, "sample", layout, params, blocks, 1.0, *more
            )
    return best(functions, repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=64 * BLOCK)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    events = options.events // BLOCK * BLOCK
    times, objects = chunk(events, options.repeat), counts(events, options.repeat)
    shifted = variations(events, options.repeat)
    bars = {
        "chunk_value_and_gradient_over_value": (times["gradient"] / times["value"], 4.0),
        "chunk_value_and_gradient_over_numpy": (times["gradient"] / times["numpy"], 3.0),
        "soft_count_over_reduceat": (objects["soft"] / objects["reduceat"], 5.0),
        **{
            f"four_{shift}_variations_{mode}_over_nominal": (
                shifted[f"{shift}_{mode}"] / shifted[f"nominal_{mode}"],
                4.0,
            )
            for shift in ("cut", "observable", "weight")
            for mode in ("values", "vjp", "jacobian")
        },
    }
    report = {
        "events": events,
        "chunk_ms": {name: round(1e3 * seconds, 2) for name, seconds in times.items()},
        "count_ms": {name: round(1e3 * seconds, 2) for name, seconds in objects.items()},
        "variations_ms": {name: round(1e3 * seconds, 2) for name, seconds in shifted.items()},
        "bars": {
            name: {"value": round(value, 2), "bar": f"<= {bar}", "met": value <= bar}
            for name, (value, bar) in bars.items()
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
