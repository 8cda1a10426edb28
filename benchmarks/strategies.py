"""The three ways to the gradient, in units of filling the templates once, and residuals kept beside computed again. Prints JSON.

    python benchmarks/strategies.py [--events 196608] [--repeat 5]

One thread, columns in memory. ``per parameter``, ``per bin`` and ``second pass`` are what the constants of
``diffea.program.strategy`` stand for. Residuals are what reverse mode saves in the pass that fills the templates: kept for a
second pass that then needs not fill them again, they cost ``residuals over columns`` times the memory of the columns.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

os.environ.setdefault("NPROC", "1")

import hist
import jax
import jax.numpy as jnp
import numpy as np
from timing import best

import diffea
from diffea import soft
from diffea.events.blocks import SIZES, Blocks
from diffea.events.columns import Columns
from diffea.program import Program, Structure, kernels, structured

COLUMNS = 8


def cuts(number: int, bins: int) -> tuple[diffea.DifferentiableProcessor, Any]:
    """A product of soft cuts, and its parameters."""

    class Cuts(diffea.DifferentiableProcessor):
        channels = {"all": hist.axis.Regular(bins, 0, 1, name="x")}  # noqa: RUF012

        def fill(self, params, columns):
            keep = soft.all_of(*(soft.above(columns[f"c{i % COLUMNS}"], params[i], width=0.05) for i in range(number)))
            yield diffea.Fill("all", columns["x"], columns["weight"] * keep)

    return Cuts(), np.full(number, 0.2)


def network(width: int, bins: int) -> tuple[diffea.DifferentiableProcessor, Any]:
    """One hidden layer whose output is histogrammed, and its weights."""

    class Network(diffea.DifferentiableProcessor):
        channels = {"all": hist.axis.Regular(bins, 0, 1, name="x")}  # noqa: RUF012

        def fill(self, params, columns):
            inputs = jnp.stack([columns[f"c{i}"] for i in range(COLUMNS)], axis=1)
            yield diffea.Fill("all", jax.nn.sigmoid(jnp.tanh(inputs @ params["w"]) @ params["v"]), columns["weight"])

    rng = np.random.default_rng(1)
    return Network(), {"w": rng.normal(size=(COLUMNS, width)) / 3, "v": rng.normal(size=width) / np.sqrt(width)}


def block_of(program: Program, structure: Structure, params: Any) -> kernels.Block:
    """The sums over a block, of which every way to the gradient is made."""
    return kernels.block(program.traced(structure, params), program.processor, program.dtype)


def strategies(program: Program, structure: Structure, blocks: Blocks, params: Any, repeat: int) -> dict[str, float]:
    """Time of each pass over that of the values."""
    block = block_of(program, structure, params)
    values, vjp, jacobian, by_bin = (jax.jit(make(block)) for make in kernels.MODES.values())
    cotangents = jnp.ones_like(values(params, blocks, 1.0)[1])
    bins, parameters = cotangents.shape[1], sum(leaf.size for leaf in jax.tree.leaves(params))
    passes = {
        "values": lambda: values(params, blocks, 1.0),
        "vjp": lambda: vjp(params, blocks, 1.0, cotangents),
        "by-bin": lambda: by_bin(params, blocks, 1.0),
        **({"jacobian": lambda: jacobian(params, blocks, 1.0)} if parameters < 100 else {}),
    }
    took = best(passes, repeat)
    found = {
        "parameters": parameters,
        "bins": bins,
        "values ms": 1e3 * took["values"],
        "second pass": took["vjp"] / took["values"],
        "per bin": (took["by-bin"] / took["values"] - 1) / bins,
    }
    if "jacobian" in took:
        found["per parameter"] = (took["jacobian"] / took["values"] - 1) / parameters
    return found


def residuals(program: Program, structure: Structure, blocks: Blocks, params: Any, repeat: int) -> dict[str, float]:
    """A first pass that returns what reverse mode saves, block by block, and a second one that starts from it."""
    count, size = jax.tree.leaves(blocks.arrays)[0].shape[:2]
    block = block_of(program, structure, params)
    values, vjp = (jax.jit(make(block)) for make in (kernels.values, kernels.vjp))
    cotangents = jnp.ones_like(values(params, blocks, 1.0)[1])
    pullback: list[Any] = []

    @jax.jit
    def first(params: Any, blocks: Blocks) -> Any:
        def body(total: Any, index: Any) -> Any:
            arrays = jax.tree.map(lambda leaf: leaf[index], blocks.arrays)
            valid = index * size + jnp.arange(size) < blocks.rows
            sums, pull = jax.vjp(lambda params: block(1.0, params, arrays, valid), params)
            leaves, tree = jax.tree.flatten(pull)
            pullback.append(tree)
            return total + sums, leaves

        return jax.lax.scan(body, jnp.zeros_like(cotangents), jnp.arange(count))

    @jax.jit
    def second(saved: Any, cotangents: Any) -> Any:
        def body(total: Any, leaves: Any) -> Any:
            (gradient,) = jax.tree.unflatten(pullback[0], leaves)(cotangents)
            return jax.tree.map(jnp.add, total, gradient), None

        return jax.lax.scan(body, jax.tree.map(jnp.zeros_like, params), saved)[0]

    _, saved = first(params, blocks)
    _, expected = vjp(params, blocks, 1.0, cotangents)
    for got, leaf in zip(jax.tree.leaves(second(saved, cotangents)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, leaf, rtol=1e-8, atol=1e-8)
    passes = {
        "values": lambda: values(params, blocks, 1.0),
        "vjp": lambda: vjp(params, blocks, 1.0, cotangents),
        "first": lambda: first(params, blocks),
        "second": lambda: second(saved, cotangents),
    }
    took = best(passes, repeat)
    return {
        "kept over computed again": (took["first"] + took["second"]) / (took["values"] + took["vjp"]),
        "residuals over columns": sum(leaf.nbytes for leaf in saved) / blocks.nbytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=196_608)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    arrays = {name: rng.random(options.events) for name in ("x", "weight", *(f"c{i}" for i in range(COLUMNS)))}
    structure, blocks = structured(Columns(arrays, {}, options.events), np.dtype(float), max(SIZES))
    cases = [
        *(("cuts", cuts, number, bins) for number in (2, 8, 16) for bins in (3, 20)),
        *(("network", network, width, bins) for width in (2, 8, 64) for bins in (3, 20)),
    ]
    found = []
    for name, make, number, bins in cases:
        processor, params = make(number, bins)
        params = jax.tree.map(jnp.asarray, params)
        given = Program(processor), structure, blocks, params, options.repeat
        kept = residuals(*given) if bins == 20 else {}
        found.append({"case": name, **strategies(*given), **kept})
    print(json.dumps({"benchmark": "strategies", "events": options.events, "cases": found}, indent=1))


if __name__ == "__main__":
    main()
