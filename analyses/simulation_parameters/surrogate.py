"""The same detector as a black box: its gradient by a local surrogate, after Shirobokov et al. (arXiv:2002.04632).

    python analyses/simulation_parameters/surrogate.py [--sets 10] [--out FOLDER]

The black box takes a detector and gives simulated events, no derivatives. A small network learns from events around one detector how far the mass is
smeared and how many events are lost; the gradient is that of the surrogate. It is compared with differences between samples and with the gradient
through the events, each against the true one (exact.py). Prints JSON, and draws the figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parent))

import analysis
import detector
import exact
from analysis import BOUNDS, GENERATED, YIELDS
from coffea.nanoevents import BaseSchema
from detector import NAMES, mean

import diffea

mpl.use("agg")
import matplotlib.pyplot as plt

PLACES = ((3.0, 3.0), (0.6, 0.6))  # thickness and shaping where gradients are compared
SIZES = (4_000, 16_000, 64_000)
RADIUS = 0.4  # of the neighbourhood, in logarithms
HIDDEN = 10
EPOCHS = 400  # of Adam, on all local events
TRUTHS = 20_000  # generated events of signal, and of background, that the surrogate smears; no detector is simulated for them
DESCENT = {"steps": 12, "events": 16_000, "length": 0.3}


def black_box(points: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """One simulated event of either kind for each row of detectors: the generated mass, whether it was seen, and the mass as seen."""
    thickness, shaping = np.exp(points.T)
    signal = random.uniform(size=len(points)) < 0.5
    kinds = [analysis.draw(kind, len(points), int(random.integers(2**31)), **GENERATED) for kind in YIELDS]
    mass, path, noise = (np.where(signal, *(kind[name] for kind in kinds)) for name in ("mass", "path", "noise"))
    seen = random.uniform(size=len(points)) < np.exp(-analysis.LOSS * thickness * path)
    measured = mass + np.asarray(analysis.resolution(thickness, shaping)) * noise
    return {"points": points, "mass": mass, "seen": seen, "measured": np.where(seen, measured, mass)}


def untrained(seed: int) -> dict[str, Any]:
    """Weights of a network of detector and mass: 3–HIDDEN–3."""
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "in": jax.random.normal(first, (3, HIDDEN)) / 2, "hidden": jnp.zeros(HIDDEN),
        "out": jax.random.normal(second, (HIDDEN, 3)) / 10, "bias": jnp.array([0.0, 1.5, 1.0]),
    }  # fmt: skip


def response(network: Mapping[str, Any], offsets: Any, mass: Any) -> tuple[Any, Any, Any]:
    """Shift of the mass [GeV], logarithm of its resolution, and logit of the survival.

    Args:
        network: weights.
        offsets: of the detector from the centre in units of RADIUS, shape (…, 2).
        mass: generated [GeV], shape (events,).
    """
    scaled = (mass[:, None] - 125.0) / 20.0
    inputs = jnp.concatenate([jnp.broadcast_to(offsets, (len(mass), 2)), scaled], axis=1)
    out = jnp.tanh(inputs @ network["in"] + network["hidden"]) @ network["out"] + network["bias"]
    return out[:, 0], out[:, 1], out[:, 2]


def surprise(network: Mapping[str, Any], offsets: Any, events: Mapping[str, Any]) -> Any:
    """Mean −ln L of what the black box gave: seen or not, and a normal distribution of what was seen."""
    shift, width, logit = response(network, offsets, events["mass"])
    pull = (events["measured"] - events["mass"] - shift) * jnp.exp(-width)
    return jnp.mean(
        jax.nn.softplus(jnp.where(events["seen"], -logit, logit)) + jnp.where(events["seen"], width + pull**2 / 2, 0.0)
    )


OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.02, EPOCHS))


@jax.jit
def trained(network: Any, offsets: Any, events: Any) -> Any:
    """The network after EPOCHS steps of Adam."""

    def step(carry: Any, _: None) -> tuple[Any, None]:
        network, state = carry
        updates, state = OPTIMIZER.update(jax.grad(surprise)(network, offsets, events), state)
        return (optax.apply_updates(network, updates), state), None

    return jax.lax.scan(step, (network, OPTIMIZER.init(network)), None, EPOCHS)[0][0]


def local(centre: np.ndarray, count: int, seed: int) -> dict[str, Any]:
    """A surrogate of the detectors within RADIUS of one, from as many simulated events."""
    random = np.random.default_rng(seed)
    offsets = random.uniform(-1, 1, (count, 2))
    events = black_box(centre + RADIUS * offsets, random)
    del events["points"]
    return trained(untrained(seed), jnp.asarray(offsets), jax.tree.map(jnp.asarray, events))


class Surrogate(analysis.Design):
    """The design study with a network in place of the detector; ``point`` and ``centre`` are logarithms of detectors."""

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[diffea.Fill]:
        offsets = (params["point"] - params["centre"]) / RADIUS
        shift, width, logit = response(params["network"], offsets, columns["mass"])
        weight = columns["weight"] * self.simulated(GENERATED, columns) * jax.nn.sigmoid(logit)
        yield diffea.Fill("mass", columns["mass"] + shift + jnp.exp(width) * columns["noise"], weight)


def events_of(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Generated events of signal and background, as many of each."""
    made = {}
    for number, sample in enumerate(YIELDS):
        made |= analysis.write(folder, sample, analysis.draw(sample, count, 2 * seed + number, **GENERATED))
    return made


def logarithm(made: Any) -> Any:
    """ln σ_μ, whose gradient is of order one."""
    return jnp.log(analysis.sigma_mu(exact.MODEL(made)))


def by_point(point: Any) -> dict[str, Any]:
    """Parameters of a detector."""
    return dict(zip(NAMES, jnp.exp(jnp.asarray(point)), strict=True))


@jax.jit
@jax.grad
def true_gradient(point: Any) -> Any:
    """Of ln σ_μ, in the logarithms of the detector's parameters; no event is simulated."""
    return jnp.log(exact.figure_of_merit(by_point(point)))


def surrogate_gradient(templates: Any, centre: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At a detector, by a surrogate of as many events."""
    fixed = {"network": local(centre, count, seed), "centre": centre}
    return np.asarray(jax.grad(lambda point: logarithm(templates({**fixed, "point": point})))(jnp.asarray(centre)))


def gradients_through_events(folder: Path, count: int, seed: int) -> list[np.ndarray]:
    """At all PLACES, through as many events."""
    with diffea.distribute(analysis.Design(), events_of(folder, count // 2, seed), schemaclass=BaseSchema) as templates:
        gradient = jax.grad(lambda point: logarithm(templates(by_point(point))))
        return [np.asarray(gradient(jnp.log(jnp.asarray(place)))) for place in PLACES]


def by_differences(centre: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At a detector, by separately simulated samples at RADIUS to both sides of each parameter."""
    random, slopes = np.random.default_rng([seed, count]), []
    for direction in RADIUS * np.eye(len(NAMES)):
        up, down = (
            float(logarithm(detector.simulated(centre + sign * direction, count // 8, random))) for sign in (1, -1)
        )
        slopes.append((up - down) / (2 * RADIUS))
    return np.array(slopes)


def compared(templates: Any, seed: int) -> dict[str, np.ndarray]:
    """Relative errors of all gradients: by way, shape (places, sizes)."""
    true = [np.asarray(true_gradient(np.log(place))) for place in PLACES]
    made: dict[str, list[list[np.ndarray]]] = {"surrogate": [], "differences": [], "through the events": []}
    for size in SIZES:
        made["surrogate"].append([surrogate_gradient(templates, np.log(place), size, seed) for place in PLACES])
        made["differences"].append([by_differences(np.log(place), size, seed) for place in PLACES])
        with tempfile.TemporaryDirectory() as folder:
            made["through the events"].append(gradients_through_events(Path(folder), size, 1000 + seed))
    return {
        name: np.linalg.norm(np.array(rows) - true, axis=2).T / np.linalg.norm(true, axis=1)[:, None]
        for name, rows in made.items()
    }


def descended(templates: Any, seed: int) -> np.ndarray:
    """Points of a descent along surrogates' gradients, each from events of its own; steps get shorter."""
    low, high = np.log([BOUNDS[name] for name in NAMES]).T
    points = [detector.logarithms(analysis.START)]
    for number in range(DESCENT["steps"]):
        gradient = surrogate_gradient(templates, points[-1], DESCENT["events"], 100 * seed + number)
        length = DESCENT["length"] * (1 - number / DESCENT["steps"])
        points.append(np.clip(points[-1] - length * gradient / np.linalg.norm(gradient), low, high))
    return np.array(points)


def draw(errors: Mapping[str, np.ndarray], paths: list[np.ndarray], path: Path) -> None:
    """Errors of gradients against simulated events, and the descents."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for number, (name, values) in enumerate(errors.items()):
        for place, style in zip(range(len(PLACES)), ("o-", "s--"), strict=True):
            rows = values[:, place]
            error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
            label = f"{name}, at {PLACES[place]}"
            left.errorbar(SIZES, rows.mean(axis=0), error, fmt=style, color=f"C{number}", ms=4, capsize=2, label=label)
    left.set(xscale="log", yscale="log", xlabel="simulated events", ylabel="relative error of the gradient")
    left.set_ylim(bottom=1e-3)
    left.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    left.legend(frameon=False, fontsize=7, loc="lower left", ncols=2)
    for points in paths:
        right.plot(*np.exp(points.T), ".-", color="C0", lw=0.7, alpha=0.6)
    right.plot(*np.exp(detector.best()[0]), "k+", ms=12, mew=1.5)
    right.set(xscale="log", yscale="log", xlabel="thickness", ylabel="shaping time", title="descents along surrogates")
    detector.plain_ticks(right)
    figure.savefig(path, dpi=140)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=10, help="of events, independent of each other")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fileset = events_of(Path(folder), TRUTHS, 5000)
        with diffea.distribute(Surrogate(), fileset, schemaclass=BaseSchema) as templates:
            found = [compared(templates, seed) for seed in range(arguments.sets)]
            paths = [descended(templates, seed) for seed in range(arguments.sets)]
    errors = {name: np.array([one[name] for one in found]) for name in found[0]}
    report = {
        "true gradients of ln σ_μ": {str(place): np.asarray(true_gradient(np.log(place))).tolist() for place in PLACES},
        "relative error": {
            name: {
                str(place): {str(size): mean(values[:, p, s]) for s, size in enumerate(SIZES)}
                for p, place in enumerate(PLACES)
            }
            for name, values in errors.items()
        },
        "surrogate less differences, in pairs": {
            str(place): {
                str(size): mean((errors["surrogate"] - errors["differences"])[:, p, s]) for s, size in enumerate(SIZES)
            }
            for p, place in enumerate(PLACES)
        },
        "descent": {
            "simulated events": DESCENT["steps"] * DESCENT["events"],
            "uncertainty above the least": mean([detector.regret(points[-1]) for points in paths]),
        },
    }
    click.echo(json.dumps(report, indent=1, ensure_ascii=False))
    draw(errors, paths, arguments.out / "surrogate.png")


if __name__ == "__main__":
    main()
