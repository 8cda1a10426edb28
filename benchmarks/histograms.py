"""Kernel histograms beside boost-histogram and beside the kernel evaluated for every event at every edge.

    python benchmarks/histograms.py [--events 1000000] [--repeat 7] [--all] [--bandwidths]

prints ratios of the best times, measured in turns in this run, as JSON. `value_and_gradient` is of a histogram of weighted events, with
the gradient in every observable, `..._by_weights` in every weight too, and `fill_and_gradient_by_weights` also of the sums of squared weights.
`--bandwidths` measures only the default bandwidth and a quarter, a third and a half of a bin. The baseline of every edge is what gradhep/relaxed computes: the normal distribution function of each
event at each edge, without weights. `--all` measures 10, 20, 50 and 100 bins, even and uneven, in float64 and float32.
"""

from __future__ import annotations

import argparse
import functools
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


def measure_bandwidths(events: int, repeat: int) -> list[dict[str, Any]]:
    """What each bandwidth costs, in weighted fills of boost-histogram: 20 even bins, float64."""
    random = np.random.default_rng(0)
    x, w = random.normal(100.0, 40.0, events), random.normal(1.0, 0.3, events)
    edges, slopes = np.linspace(20.0, 200.0, 21), (jnp.cos(jnp.arange(20.0)), jnp.sin(jnp.arange(20.0)))
    device, weights = jnp.asarray(x), jnp.asarray(w)
    axis = bh.axis.Regular(20, 20.0, 200.0)
    shares = {"default": None, "1/4": 1 / 4, "1/3": 1 / 3, "1/2": 1 / 2}
    functions: dict[str, Callable[[], Any]] = {
        "boost": lambda: bh.Histogram(axis, storage=bh.storage.Weight()).fill(x, weight=w)
    }
    for name, share in shares.items():
        bandwidth = None if share is None else share * (edges[1] - edges[0])

        def value(x: jax.Array, w: jax.Array, bandwidth: float | None = bandwidth) -> jax.Array:
            return slopes[0] @ histograms.histogram(x, edges, w, bandwidth=bandwidth)

        def both(x: jax.Array, w: jax.Array, bandwidth: float | None = bandwidth) -> jax.Array:
            filled = histograms.fill(x, edges, w, bandwidth=bandwidth)
            return sum(slope @ sums[1:-1] for slope, sums in zip(slopes, filled, strict=True))

        for kind, function in {
            "value": value,
            "gradient": jax.value_and_grad(value),
            "gradient_by_weights": jax.value_and_grad(value, argnums=(0, 1)),
            "fill": both,
            "fill_gradient_by_weights": jax.value_and_grad(both, argnums=(0, 1)),
        }.items():
            functions[f"{name} {kind}"] = functools.partial(jax.jit(function), device, weights)
    times = best(functions, repeat)
    boost = times.pop("boost")
    rows: dict[str, dict[str, Any]] = {name: {"bandwidth_over_bin": name} for name in shares}
    for name, seconds in times.items():
        share, kind = name.split()
        rows[share][f"{kind}_over_boost"] = round(seconds / boost, 2)
    return list(rows.values())


def measure_bins(options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, tuple[float, str, float]]]:
    """Rows of numbers and kinds of bins at the default bandwidth, and what they should reach."""
    rows = [measure(options.events, 20, "even", "float64", options.repeat, baseline=True)]
    grid = itertools.product((10, 20, 50, 100), ("even", "uneven"), ("float64", "float32"))
    chosen = grid if options.all else [(100, "even", "float64"), (20, "uneven", "float64"), (20, "even", "float32")]
    rows += [measure(options.events, *settings, options.repeat, baseline=False) for settings in chosen]
    first, many = rows[0], rows[1] if not options.all else next(r for r in rows[1:] if r["bins"] == 100)
    return rows, {
        "gradient_over_boost": (first["gradient_over_boost"], "<=", 2.0),
        "every_edge_over_gradient": (first["every_edge_over_gradient"], ">=", 50.0),
        "gradient_100_bins_over_20": (
            round(many["value_and_gradient_ms"] / first["value_and_gradient_ms"], 2),
            "<=",
            1.5,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--bandwidths", action="store_true")
    options = parser.parse_args()
    bandwidths = measure_bandwidths(options.events, options.repeat)
    widest = max(row["gradient_by_weights_over_boost"] for row in bandwidths[1:])
    bars = {"gradient_by_weights_over_boost": (widest, "<=", 2.5)}
    report: dict[str, Any] = {"events": options.events, "bandwidths": bandwidths}
    if not options.bandwidths:
        rows, more = measure_bins(options)
        report["rows"], bars = rows, bars | more
    report["bars"] = {
        name: {"value": value, "bar": f"{sign} {bar}", "met": value <= bar if sign == "<=" else value >= bar}
        for name, (value, sign, bar) in bars.items()
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
