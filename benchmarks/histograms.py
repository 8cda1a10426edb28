"""Kernel histograms beside boost-histogram and beside the kernel evaluated for every event at every edge.

    python benchmarks/histograms.py [--events 1000000] [--repeat 7] [--all]

prints ratios of the best times, measured in turns in this run, as JSON. `value_and_gradient` is of a histogram of weighted events, with
the gradient in every observable. The baseline of every edge is what gradhep/relaxed computes: the normal distribution function of each
event at each edge, without weights. `--all` measures 10, 20, 50 and 100 bins, even and uneven, in float64 and float32.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from typing import Any

import boost_histogram as bh
import jax
import jax.numpy as jnp
import numpy as np
from timing import best

from diffea import histograms


def uneven(bins: int) -> np.ndarray:
    """Edges from 20 to 200, the last bin three times as wide as the first."""
    widths = np.linspace(1.0, 3.0, bins)
    return 20.0 + 180.0 * np.concatenate([[0.0], np.cumsum(widths)]) / np.sum(widths)


def every_edge(x: jax.Array, edges: np.ndarray, bandwidth: float) -> jax.Array:
    """A Gaussian kernel histogram by its distribution function at every edge."""
    above = jax.scipy.stats.norm.cdf(jnp.asarray(edges)[:, None], loc=x, scale=bandwidth)
    return jnp.sum(above[1:] - above[:-1], axis=1)


def measure(events: int, bins: int, binning: str, dtype: str, repeat: int, baseline: bool) -> dict[str, Any]:
    """One row: times in milliseconds and their ratios."""
    random = np.random.default_rng(0)
    x, w = (random.normal(*pars, events).astype(dtype) for pars in ((100.0, 40.0), (1.0, 0.3)))
    edges = np.linspace(20.0, 200.0, bins + 1) if binning == "even" else uneven(bins)
    axis = bh.axis.Regular(bins, 20.0, 200.0) if binning == "even" else bh.axis.Variable(edges)
    device, weights = jnp.asarray(x), jnp.asarray(w)
    slope = jnp.cos(jnp.arange(bins))

    def boost() -> None:
        bh.Histogram(axis, storage=bh.storage.Weight()).fill(x, weight=w)

    value = jax.jit(lambda x, w: histograms.histogram(x, edges, w))
    both = jax.jit(jax.value_and_grad(lambda x, w: slope @ histograms.histogram(x, edges, w)))
    squares = jax.jit(lambda x, w: histograms.fill(x, edges, w))
    functions: dict[str, Callable[[], Any]] = {
        "boost_histogram": boost,
        "value": lambda: value(device, weights),
        "value_and_gradient": lambda: both(device, weights),
        "value_and_variances": lambda: squares(device, weights),
    }
    times = best(functions, repeat)
    if baseline:
        other = jax.jit(jax.value_and_grad(lambda x: slope @ every_edge(x, edges, 3.0)))
        times |= best({"every_edge_value_and_gradient": lambda: other(device)}, max(2, repeat // 3))
    row: dict[str, Any] = {"bins": bins, "binning": binning, "dtype": dtype}
    row |= {f"{name}_ms": round(1e3 * seconds, 2) for name, seconds in times.items()}
    row["gradient_over_boost"] = round(times["value_and_gradient"] / times["boost_histogram"], 2)
    if baseline:
        row["every_edge_over_gradient"] = round(times["every_edge_value_and_gradient"] / times["value_and_gradient"], 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    rows = [measure(options.events, 20, "even", "float64", options.repeat, baseline=True)]
    grid = itertools.product((10, 20, 50, 100), ("even", "uneven"), ("float64", "float32"))
    chosen = grid if options.all else [(100, "even", "float64"), (20, "uneven", "float64"), (20, "even", "float32")]
    rows += [measure(options.events, *settings, options.repeat, baseline=False) for settings in chosen]
    first, many = rows[0], rows[1] if not options.all else next(r for r in rows[1:] if r["bins"] == 100)
    bars = {
        "gradient_over_boost": (first["gradient_over_boost"], "<=", 2.0),
        "every_edge_over_gradient": (first["every_edge_over_gradient"], ">=", 50.0),
        "gradient_100_bins_over_20": (
            round(many["value_and_gradient_ms"] / first["value_and_gradient_ms"], 2),
            "<=",
            1.5,
        ),
    }
    report = {
        name: {"value": value, "bar": f"{sign} {bar}", "met": value <= bar if sign == "<=" else value >= bar}
        for name, (value, sign, bar) in bars.items()
    }
    print(json.dumps({"events": options.events, "rows": rows, "bars": report}, indent=2))


if __name__ == "__main__":
    main()
