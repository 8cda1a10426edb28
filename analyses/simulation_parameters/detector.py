"""The detector with the least uncertainty of the signal strength: by gradient descent through one sample, and on a grid of separately simulated ones.

    python analyses/simulation_parameters/detector.py [--events 20000] [--sets 10] [--out FOLDER]

All are judged by what infinitely many events would give (exact.py). Prints JSON, and draws the figure.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import analysis
import exact
from analysis import BOUNDS, GENERATED, START, WIDER, YIELDS
from coffea.nanoevents import BaseSchema

import diffea

mpl.use("agg")
import matplotlib.pyplot as plt

NAMES = tuple(BOUNDS)
GRID = {"thickness": 8, "shaping": 6}  # points, equidistant in the logarithm
STEPS = 20


def logarithms(phi: Mapping[str, Any]) -> np.ndarray:
    """A detector as a point of the plane in which the grid is even."""
    return np.log([float(phi[name]) for name in NAMES])


def lattice() -> np.ndarray:
    """All points of the grid, shape (points, 2)."""
    axes = [np.linspace(*np.log(BOUNDS[name]), GRID[name]) for name in NAMES]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(NAMES))


def descend(folder: Path, count: int, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """The optimum by gradient descent through one sample of each kind, and the steps that it took."""
    fileset = {}
    for number, sample in enumerate(YIELDS):
        fileset |= analysis.write(folder, sample, analysis.draw(sample, count, 2 * seed + number, **GENERATED))
    with diffea.distribute(analysis.Design(), fileset, schemaclass=BaseSchema) as templates:
        loss = diffea.Composite(templates, lambda found: analysis.sigma_mu(exact.MODEL(found)))
        result = diffea.optimise(loss, START, optimizer="l-bfgs-b", steps=steps, bounds=BOUNDS)
    return {"point": logarithms(result.params), "events": 2 * count, "passes": len(result.history)}


def simulated(point: np.ndarray, count: int, random: np.random.Generator) -> dict[Any, exact.Counts]:
    """Templates of a sample of its own: events, noise and losses drawn anew."""
    thickness, shaping = np.exp(point)
    made = {}
    for sample, expected in YIELDS.items():
        events = analysis.draw(sample, count, int(random.integers(2**31)), **GENERATED)
        seen = random.uniform(size=count) < np.exp(-analysis.LOSS * thickness * events["path"])
        measured = np.where(
            seen, events["mass"] + float(analysis.resolution(thickness, shaping)) * events["noise"], np.inf
        )
        scales = (
            {"nominal": 1.0, "width_up": WIDER, "width_down": 1 / WIDER} if sample == "signal" else {"nominal": 1.0}
        )
        for name, scale in scales.items():
            weight = np.asarray(analysis.line(events["mass"], GENERATED["mass"], GENERATED["width"] * scale))
            sums = [np.histogram(measured, exact.EDGES["mass"], weights=weight**power)[0] for power in (1, 2)]
            made["mass", sample, name] = exact.Counts(sums[0] * expected / count, sums[1] * (expected / count) ** 2)
    return made


@jax.jit
def uncertainties(made: Any) -> Any:
    """Of the signal strength, for many templates at once."""
    return jax.vmap(lambda one: analysis.sigma_mu(exact.MODEL(one)))(made)


def scan(count: int, seed: int) -> dict[str, Any]:
    """The lowest point of a grid of samples, and that of a quadratic surface: through its lower half, or else all, if that has a minimum."""
    random, points = np.random.default_rng([seed, count]), lattice()
    made = [simulated(point, count, random) for point in points]
    found = np.asarray(uncertainties(jax.tree.map(lambda *bins: jnp.stack(bins), *made)))
    order = np.argsort(found)
    surfaces = (lowest_of_surface(points[near], found[near]) for near in (order[: len(points) // 2], order))
    return {
        "lowest": points[order[0]],
        "surface": next((lowest for lowest in surfaces if lowest is not None), points[order[0]]),
        "events": 2 * count * len(points),
    }


def lowest_of_surface(points: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Where the quadratic surface of least squares is lowest within the bounds; None if it has no minimum."""
    x, y = points.T
    _, *slope, xx, xy, yy = np.linalg.lstsq(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1), values)[0]
    curvature = np.array([[2 * xx, xy], [xy, 2 * yy]])
    if np.linalg.eigvalsh(curvature)[0] <= 0:
        return None
    return np.clip(np.linalg.solve(curvature, -np.array(slope)), *np.log([BOUNDS[name] for name in NAMES]).T)


def regret(point: np.ndarray) -> float:
    """By how much the true uncertainty is above the least possible."""
    return true_uncertainty(point) / best()[1] - 1


def true_uncertainty(point: np.ndarray) -> float:
    """Of a detector, without a simulated event."""
    return float(exact.figure_of_merit(dict(zip(NAMES, np.exp(point), strict=True))))


@functools.cache
def best() -> tuple[np.ndarray, float]:
    """The true optimum, and the uncertainty there."""
    result = diffea.optimise(exact.figure_of_merit, START, optimizer="l-bfgs-b", steps=60, bounds=BOUNDS)
    point = logarithms(result.params)
    return point, true_uncertainty(point)


def study(seed: int, count: int) -> dict[str, dict[str, Any]]:
    """All three ways with events of their own."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"gradient": descend(Path(folder), count, seed)}
    for name, each in {
        "grid, as many events": max(count // len(lattice()), 1),
        "grid, as many at each point": count,
    }.items():
        scanned = scan(each, seed)
        found[name] = {"point": scanned["lowest"], "events": scanned["events"]}
        found[f"{name}, surface"] = {"point": scanned["surface"], "events": scanned["events"]}
    return found


def draw(found: list[dict[str, dict[str, Any]]], path: Path) -> None:
    """Where the three ways end, on the true uncertainty."""
    axes = [np.linspace(*np.log(BOUNDS[name]), 25) for name in NAMES]
    plane = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.array([[true_uncertainty(point) for point in row] for row in plane])
    kinds = {"gradient": "gradient, one sample", "grid, as many events, surface": "grid, as many events",
             "grid, as many at each point, surface": f"grid, {len(lattice())} times as many"}  # fmt: skip
    figure, panels = plt.subplots(1, len(kinds), figsize=(11, 3.7), sharey=True, layout="constrained")
    for panel, (kind, label) in zip(panels, kinds.items(), strict=True):
        levels = best()[1] * np.array([1.001, 1.003, 1.01, 1.03, 1.1, 1.3])
        lines = panel.contour(np.exp(plane[..., 0]), np.exp(plane[..., 1]), values, levels, colors="0.7", linewidths=1)
        panel.clabel(lines, fmt=lambda level: f"+{100 * (level / best()[1] - 1):.1f} %", fontsize=7)
        points = np.exp([one[kind]["point"] for one in found])
        panel.plot(*points.T, "o", color="C0", ms=5, alpha=0.7)
        panel.plot(*np.exp(best()[0]), "k+", ms=12, mew=1.5)
        panel.set(xscale="log", yscale="log", xlabel="thickness", title=label)
        plain_ticks(panel)
    panels[0].set_ylabel("shaping time")
    figure.savefig(path, dpi=140)
    plt.close(figure)


def plain_ticks(panel: Any) -> None:
    """A few numbers on logarithmic axes."""
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(mpl.ticker.FixedLocator([0.2, 0.5, 1, 2, 4]))
        axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(mpl.ticker.NullLocator())


def mean(values: Any) -> dict[str, float]:
    """With its error."""
    return {"mean": float(np.mean(values)), "error": float(np.std(values, ddof=1) / np.sqrt(len(values)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="of signal, and of background, for the gradient")
    parser.add_argument("--sets", type=int, default=10, help="of events, independent of each other")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    found = [study(seed, arguments.events) for seed in range(arguments.sets)]
    regrets = {kind: np.array([regret(one[kind]["point"]) for one in found]) for kind in found[0]}
    report = {
        "true optimum": {**dict(zip(NAMES, np.exp(best()[0]).tolist(), strict=True)), "uncertainty": best()[1]},
        "at the start": regret(logarithms(START)),
        "passes of the gradient": mean([one["gradient"]["passes"] for one in found]),
        "simulated events": {kind: one["events"] for kind, one in found[0].items()},
        "uncertainty above the least": {kind: mean(values) for kind, values in regrets.items()},
        "above that of the gradient, in pairs": {
            kind: mean(values - regrets["gradient"]) for kind, values in regrets.items() if kind != "gradient"
        },
        "distance from the optimum (logarithms)": {
            kind: mean([np.linalg.norm(one[kind]["point"] - best()[0]) for one in found]) for kind in regrets
        },
    }
    click.echo(json.dumps(report, indent=1))
    draw(found, arguments.out / "detector.png")


if __name__ == "__main__":
    main()
