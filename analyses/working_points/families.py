"""Cuts for every working point at once, which move smoothly from one to the next, after CABIN (Hance and Robles, arXiv:2502.08615).

    python analyses/working_points/families.py [--events 4000] [--sets 10] [--out FOLDER]

Three cuts on invented events are trained for nine signal efficiencies together, with and without a penalty on how they bend. On the same events and on
a million others, each working point is compared with the best of 64³ combinations of cuts. Prints JSON, and draws the figure.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import click
import hist
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema

import diffea
from diffea import soft

mpl.use("agg")
import matplotlib.pyplot as plt

EFFICIENCIES = np.linspace(0.1, 0.9, 9)
FINE = np.linspace(0.05, 0.95, 91)  # of what cuts are compared with
BOUNDS = {"met": (0.0, 400.0), "mt2": (0.0, 250.0), "pt_jet": (20.0, 300.0)}
WIDTHS = {"met": 12.0, "mt2": 8.0, "pt_jet": 8.0}
TICKS = 64  # of each cut in the search by brute force
JUDGES = 1_000_000
STEPS = 320
BENT = 0.3  # times the mean square of a cut's second difference, in units of its range, times 100


def events(seed: int, count: int) -> dict[str, dict[str, np.ndarray]]:
    """Missing momentum, transverse mass and jet momentum [GeV] of as many signal as background events; in the signal the first two go together."""
    random = np.random.default_rng(seed)
    common = random.normal(size=count)
    signal = {
        "met": 170.0 + 60.0 * (0.6 * common + 0.8 * random.normal(size=count)),
        "mt2": 110.0 + 40.0 * (0.6 * common + 0.8 * random.normal(size=count)),
        "pt_jet": 20.0 + random.gamma(2.0, 45.0, count),
    }
    background = {
        "met": random.exponential(75.0, count),
        "mt2": random.exponential(45.0, count),
        "pt_jet": 20.0 + random.exponential(50.0, count),
    }
    return {"signal": signal, "background": background}


class Counting(diffea.DifferentiableProcessor):
    """How many events pass three cuts, by sample."""

    channels: ClassVar[Mapping[str, Any]] = {"passed": hist.axis.IntCategory([0], name="passed")}

    def columns(self, events: Any) -> dict[str, Any]:
        return {name: events[name] for name in BOUNDS}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[diffea.Fill]:
        keep = soft.all_of(*(soft.above(columns[name], params[name], width=WIDTHS[name]) for name in BOUNDS))
        yield diffea.Fill("passed", jnp.zeros_like(keep), keep)


def written(folder: Path, made: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """coffea's fileset of the events."""
    for name, columns in made.items():
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("Events", {key: column.dtype for key, column in columns.items()})
            file["Events"].extend(columns)
    return {name: {"files": {str(folder / f"{name}.root"): "Events"}} for name in made}


def family(fileset: Mapping[str, Any], count: int, bent: float) -> dict[str, np.ndarray]:
    """Cuts at all efficiencies: the least background, each signal efficiency held, and ``bent`` times how much the cuts bend.

    Returns:
        a cut on each variable, shape (efficiencies,).
    """
    start = {
        name: np.linspace(low + 0.35 * (high - low), low, len(EFFICIENCIES)) for name, (low, high) in BOUNDS.items()
    }

    def yields(templates: Any, sample: str) -> jax.Array:
        return templates["passed", sample].values[:, 0] / count

    with diffea.distribute(Counting(), fileset, schemaclass=BaseSchema) as templates:

        def many(cuts: Mapping[str, jax.Array]) -> Any:
            return jax.vmap(templates)(cuts), cuts

        def objective(found: Any) -> jax.Array:
            sums, cuts = found
            lines = jnp.stack([(cuts[name] - low) / (high - low) for name, (low, high) in BOUNDS.items()])
            return jnp.mean(jnp.log(yields(sums, "background") + 1.0 / count)) + 100 * bent * jnp.mean(
                jnp.diff(lines, n=2) ** 2
            )

        held = [
            diffea.Constraint(
                lambda found, number=number: yields(found[0], "signal")[number], exactly=float(efficiency)
            )
            for number, efficiency in enumerate(EFFICIENCIES)
        ]
        bounds = {name: tuple(np.full(len(EFFICIENCIES), end) for end in ends) for name, ends in BOUNDS.items()}
        result = diffea.optimise(
            diffea.Composite(many, objective), start, bounds=bounds, optimizer="l-bfgs-b", steps=STEPS,
            widths=diffea.anneal(1.0, 0.1), constraint=held,
        )  # fmt: skip
    return {name: np.asarray(cut) for name, cut in result.params.items()}


def passing(made: Mapping[str, Mapping[str, np.ndarray]], cuts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The share of each sample that passes exact cuts, shape (efficiencies,)."""
    return {
        sample: np.mean(np.all([columns[key] > cut[:, None] for key, cut in cuts.items()], axis=0), axis=1)
        for sample, columns in made.items()
    }


def brute_force(made: Mapping[str, Mapping[str, np.ndarray]], efficiencies: np.ndarray) -> dict[str, np.ndarray]:
    """Of all combinations of cuts on a lattice, for each efficiency that with the least background; shapes as of ``family``."""
    ticks = [np.linspace(low, high, TICKS + 1) for low, high in BOUNDS.values()]
    shares = {}
    for sample, columns in made.items():
        inside = [np.clip(columns[name], tick[0], tick[-1]) for name, tick in zip(BOUNDS, ticks, strict=True)]
        counts, _ = np.histogramdd(inside, ticks)
        for axis in range(3):
            counts = np.flip(np.cumsum(np.flip(counts, axis), axis), axis)
        shares[sample] = counts / len(columns["met"])
    found = []
    for efficiency in efficiencies:
        background = np.where(shares["signal"] >= efficiency, shares["background"], np.inf)
        found.append(np.unravel_index(np.argmin(background), background.shape))
    return {name: tick[places] for name, tick, places in zip(BOUNDS, ticks, np.transpose(found), strict=True)}


def roughness(cuts: Mapping[str, np.ndarray]) -> float:
    """The root mean square of second differences, in units of each cut's range."""
    lines = [np.diff(cuts[name], n=2) / (high - low) for name, (low, high) in BOUNDS.items()]
    return float(np.sqrt(np.mean(np.square(lines))))


def study(seed: int, count: int, judges: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Three families from one set of events, judged on many others."""
    made = events(seed, count)
    halves = {"same": made, "others": judges}
    with tempfile.TemporaryDirectory() as folder:
        fileset = written(Path(folder), made)
        families = {"free": family(fileset, count, 0.0), "smooth": family(fileset, count, BENT)}
    families["brute force"] = brute_force(made, EFFICIENCIES)
    return {
        name: {
            "cuts": cuts,
            "roughness": roughness(cuts),
            **{
                f"{sample}, {when}": share for when, of in halves.items() for sample, share in passing(of, cuts).items()
            },
        }
        for name, cuts in families.items()
    }


def excess(found: Mapping[str, Any], ideal: Mapping[str, np.ndarray]) -> np.ndarray:
    """Background on other events over the least that any cuts of the lattice leave there, at the same signal efficiency."""
    at = np.interp(found["signal, others"], ideal["signal"], np.log(ideal["background"]))
    return found["background, others"] / np.exp(at)


def draw(found: Mapping[str, Any], ideal: Mapping[str, np.ndarray], path: Path) -> None:
    """Cuts against efficiency, without and with the penalty."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    labels = {"met": "missing momentum", "mt2": "transverse mass", "pt_jet": "jet momentum"}
    for axis, (name, label) in zip(axes, labels.items(), strict=True):
        for kind, style in {"brute force": "C7:", "free": "C1.-", "smooth": "C0.-"}.items():
            axis.plot(EFFICIENCIES, found[kind]["cuts"][name], style, label=kind)
        axis.plot(EFFICIENCIES, ideal[name], "k--", lw=1, label="brute force, 10⁶ events")
        axis.set(xlabel="signal efficiency", ylabel=f"cut on {label} [GeV]")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000, help="of signal, and of background, to train on")
    parser.add_argument("--sets", type=int, default=10, help="of events, independent of each other")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    judges = events(10_000, JUDGES)
    ideal = passing(judges, brute_force(judges, FINE))
    found = [study(seed, arguments.events, judges) for seed in range(arguments.sets)]
    kinds = list(found[0])
    mean = {kind: np.array([np.mean(np.log(excess(one[kind], ideal))) for one in found]) for kind in kinds}
    report = {
        "background over the least possible, other events": {
            kind: _mean(np.exp(values)) for kind, values in mean.items()
        },
        "smooth over free, in pairs": _mean(np.exp(mean["smooth"] - mean["free"])),
        "smooth over brute force, in pairs": _mean(np.exp(mean["smooth"] - mean["brute force"])),
        "roughness": {kind: _mean([one[kind]["roughness"] for one in found]) for kind in kinds},
        "efficiency missed, other events": {
            kind: _mean([np.sqrt(np.mean((one[kind]["signal, others"] - EFFICIENCIES) ** 2)) for one in found])
            for kind in kinds
        },
    }
    click.echo(json.dumps(report, indent=1))
    draw(found[0], brute_force(judges, EFFICIENCIES), arguments.out / "cuts.png")


def _mean(values: Any) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "error": float(np.std(values, ddof=1) / np.sqrt(len(values)))}


if __name__ == "__main__":
    main()
