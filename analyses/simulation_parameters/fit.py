"""Mass, width and a Wilson coefficient fitted to data: by gradient descent through all simulated events, and by templates between which one interpolates.

    python analyses/simulation_parameters/fit.py [--toys 20] [--out FOLDER]

Every toy has its own true parameters and its own simulated events. The same toy is also fitted with what infinitely many events would give
(exact.py): how far the other fits are from that one, in its uncertainties, is what simulation costs. Prints JSON, and draws the figure.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
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
from analysis import DETECTOR, GENERATED
from coffea.nanoevents import BaseSchema
from detector import mean

import diffea
from diffea import statistics

mpl.use("agg")
import matplotlib.pyplot as plt

NAMES = tuple(GENERATED)
SPACING = {"mass": 1.0, "width": 1.0, "coefficient": 0.25}  # of the points between which templates are interpolated
BOUNDS = {"mass": (121.0, 129.0), "width": (1.5, 8.0), "coefficient": (-0.4, 0.8)}
LUMINOSITY = 2.5  # in units of that of the simulation
SIZES = (6_000, 20_000, 60_000, 200_000)
EQUAL = 0.1  # variance that simulation adds, in units of that of the data
FLOOR = 0.1  # events, below which an interpolation is bent so that none are negative

Theta = Mapping[str, Any]
Spectra = dict[str, Any]


def nll(spectra: Spectra, data: Spectra) -> Any:
    """−ln L of independent Poisson counts, up to a constant."""
    expected = {channel: FLOOR * jax.nn.softplus(LUMINOSITY * spectra[channel] / FLOOR) for channel in data}
    return sum(jnp.sum(expected[channel] - data[channel] * jnp.log(expected[channel])) for channel in data)


def interpolated(offsets: Any, points: Any, *, product: bool) -> Any:
    """What each template counts for: quadratic in every parameter, exact at the points.

    Args:
        offsets: from the centre in units of the spacing, shape (3,).
        points: of −1, 0 and 1, shape (templates, 3).
        product: of the three quadratics, or (as in HistFactory) the sum of their shifts.
    """
    quadratic = jnp.stack([offsets * (offsets - 1) / 2, 1 - offsets**2, offsets * (offsets + 1) / 2])
    if product:
        return jnp.prod(quadratic[points + 1, np.arange(3)], axis=1)
    moved = np.abs(points).sum(axis=1) == 1
    each = jnp.stack([quadratic[points[:, place] + 1, place] for place in range(3)], axis=1)
    shifts = jnp.where(moved, jnp.sum(jnp.where(points != 0, each, 0.0), axis=1), 0.0)
    return jnp.where(moved, shifts, 1 - jnp.sum(shifts))


STAR = np.array([point for point in itertools.product((-1, 0, 1), repeat=3) if np.abs(point).sum() <= 1])
CUBE = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


def at_point(point: np.ndarray) -> dict[str, float]:
    """Parameters of one of the points."""
    return {name: GENERATED[name] + SPACING[name] * step for name, step in zip(NAMES, point, strict=True)}


def between(made: Spectra, theta: Theta, points: np.ndarray, *, product: bool) -> Spectra:
    """Templates at any parameters; ``made`` has those of the points, shape (points, bins)."""
    offsets = jnp.stack([(theta[name] - GENERATED[name]) / SPACING[name] for name in NAMES])
    weights = interpolated(offsets, points, product=product)
    return {channel: weights @ bins for channel, bins in made.items()}


def by_likelihood(spectra: Callable[[Any, Theta], Spectra]) -> statistics.Likelihood:
    """A likelihood of one's own whose templates are a function of the parameters."""
    return statistics.Likelihood(
        lambda theta, given: nll(spectra(given["made"], theta), given["data"]), GENERATED, BOUNDS
    )


TRUTH = by_likelihood(lambda _, theta: exact.both(theta))
MORPHING = {
    "star": by_likelihood(functools.partial(between, points=STAR, product=False)),
    "cube": by_likelihood(functools.partial(between, points=CUBE, product=True)),
}
POINTS = {"star": STAR, "cube": CUBE}


def fitted(likelihood: statistics.Likelihood, made: Spectra, data: Spectra) -> np.ndarray:
    """Best fit, in the order of NAMES; not a number where no minimum is found."""
    try:
        found = likelihood({"made": made, "data": data}).fit(solver=statistics.Solver(max_iterations=300))
    except diffea.errors.FitError:
        return np.full(len(NAMES), np.nan)
    best = likelihood.parameters(found.pars)
    return np.array([float(best[name]) for name in NAMES])


def uncertainties(best: np.ndarray, data: Spectra) -> np.ndarray:
    """Of the data alone: from the curvature of −ln L at its minimum, with infinitely many simulated events."""
    curvature = jax.hessian(lambda flat: nll(exact.both(dict(zip(NAMES, flat, strict=True))), data))(jnp.asarray(best))
    return np.sqrt(np.diag(np.linalg.inv(curvature)))


def simulated(theta: Mapping[str, float], count: int, seed: int) -> Spectra:
    """Templates of events generated at these parameters."""
    events = analysis.draw("signal", count, seed, **theta)
    weight = events["weight"] * np.exp(-analysis.LOSS * DETECTOR["thickness"] * events["path"])
    seen = {"mass": events["mass"] + analysis.resolution(**DETECTOR) * events["noise"], "hardness": events["hardness"]}
    return {channel: np.histogram(x, exact.EDGES[channel], weights=weight)[0] for channel, x in seen.items()}


def stacked(made: list[Spectra]) -> Spectra:
    """Those of all points together."""
    return {channel: jnp.stack([jnp.asarray(one[channel]) for one in made]) for channel in exact.EDGES}


def through_events(folder: Path, count: int, seed: int, data: Spectra) -> dict[str, np.ndarray]:
    """The fit by gradient descent through all events; and one by a star of templates, all of these same events by weights."""
    fileset = analysis.write(folder, "signal", analysis.draw("signal", count, seed, **GENERATED))
    with diffea.distribute(analysis.Experiment(), fileset, schemaclass=BaseSchema) as templates:

        def spectra(theta: Theta) -> Spectra:
            made = templates({**DETECTOR, **theta})
            return {channel: made[channel, "signal"].values for channel in exact.EDGES}

        result = diffea.optimise(
            lambda theta: nll(spectra(theta), data), GENERATED, optimizer="l-bfgs-b", steps=60, bounds=BOUNDS
        )
        star = stacked([spectra(at_point(point)) for point in STAR])
    best = np.array([float(result.params[name]) for name in NAMES])
    return {"gradient": best, "7 templates by weights": fitted(MORPHING["star"], star, data)}


def study(seed: int, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """One toy: how far each way with each number of simulated events is from the fit with infinitely many, in its uncertainties."""
    random = np.random.default_rng(seed)
    true = {name: GENERATED[name] + 0.75 * SPACING[name] * random.uniform(-1, 1) for name in NAMES}
    data = {name: random.poisson(LUMINOSITY * bins).astype(float) for name, bins in exact.both(true).items()}
    best = fitted(TRUTH, {}, data)
    sigma = uncertainties(best, data)
    found: dict[str, list[np.ndarray]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            ways = through_events(Path(folder), size, int(random.integers(2**31)), data)
        for kind, points in POINTS.items():
            each = max(size // len(points), 1)
            made = stacked([simulated(at_point(point), each, int(random.integers(2**31))) for point in points])
            ways[f"{len(points)} templates"] = fitted(MORPHING[kind], made, data)
        for name, pars in ways.items():
            found.setdefault(name, []).append((pars - best) / sigma)
    return {
        "pull": (best - np.array([true[name] for name in NAMES])) / sigma,
        "sigma": sigma,
        "off": {name: np.array(rows) for name, rows in found.items()},
    }


def variances(found: list[Mapping[str, Any]], name: str) -> np.ndarray:
    """What simulation adds to the variance, in units of that of the data, shape (toys, sizes); mean of the three parameters.

    A toy without a minimum counts as one that is an uncertainty off in every parameter.
    """
    return np.mean(np.nan_to_num(np.square([one["off"][name] for one in found]), nan=1.0), axis=2)


def enough(added: np.ndarray) -> float:
    """How many simulated events add EQUAL, by a straight line through the logarithms; inf if more would not do."""
    slope, level = np.polyfit(np.log(SIZES), np.log(added), 1)
    return float(np.exp((np.log(EQUAL) - level) / slope)) if slope < -0.3 else np.inf


def needed(found: list[Mapping[str, Any]], names: list[str]) -> dict[str, Any]:
    """Events for equal precision, and their ratio to those of the gradient, with errors from toys drawn again, the same for all."""
    added = {name: variances(found, name) for name in names}
    random = np.random.default_rng(0)
    again = [np.arange(len(found)), *random.integers(0, len(found), (200, len(found)))]
    events = {name: np.array([enough(values[toys].mean(axis=0)) for toys in again]) for name, values in added.items()}
    return {
        name: {"events": first_and_range(values), "over the gradient": first_and_range(values / events["gradient"])}
        for name, values in events.items()
    }


def first_and_range(values: np.ndarray) -> dict[str, float | None]:
    """Of all toys, and 16 and 84 % of the toys drawn again; None where no number of events is enough."""
    low, high = np.quantile(values[1:], [0.16, 0.84], method="nearest")
    found = {"all toys": values[0], "from": low, "to": high}
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def draw(found: list[Mapping[str, Any]], path: Path) -> None:
    """Added variance against simulated events."""
    figure, axis = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for number, name in enumerate(found[0]["off"]):
        values = variances(found, name)
        error = values.std(axis=0, ddof=1) / np.sqrt(len(found))
        axis.errorbar(np.array(SIZES) * 1.04**number, values.mean(axis=0), error, fmt="o-", ms=4, capsize=2, label=name)
    axis.axhline(EQUAL, color="0.7", lw=1)
    axis.set(
        xscale="log", yscale="log", xlabel="simulated events in all", ylabel="added variance / variance of the data"
    )
    axis.legend(frameon=False)
    figure.savefig(path, dpi=140)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    found = [study(seed) for seed in range(arguments.toys)]
    names = list(found[0]["off"])
    report = {
        "uncertainties of the data": dict(
            zip(NAMES, np.mean([one["sigma"] for one in found], axis=0).tolist(), strict=True)
        ),
        "pulls of the fits with infinitely many events": {
            name: {"mean": float(np.mean(pulls)), "width": float(np.std(pulls, ddof=1))}
            for name, pulls in zip(NAMES, np.transpose([one["pull"] for one in found]), strict=True)
        },
        "added variance": {
            name: {str(size): mean(values) for size, values in zip(SIZES, variances(found, name).T, strict=True)}
            for name in names
        },
        "less than that of the gradient, in pairs": {
            name: {
                str(size): mean(values)
                for size, values in zip(SIZES, (variances(found, name) - variances(found, "gradient")).T, strict=True)
            }
            for name in names
            if name != "gradient"
        },
        "fits without a minimum": {
            name: int(np.isnan([one["off"][name] for one in found]).any(axis=2).sum()) for name in names
        },
        f"simulated events for {EQUAL}": needed(found, names),
    }
    click.echo(json.dumps(report, indent=1))
    draw(found, arguments.out / "fit.png")


if __name__ == "__main__":
    main()
