"""Parameters of a simulation as parameters of the analysis: a resonance whose mass, width and coupling are event weights, seen by a detector to be built.

The events are generated once. Another mass or width is the ratio of two Breit–Wigner curves; a Wilson coefficient is a quadratic function of which
every event carries three values; the detector smears the mass by a number drawn once per event, and loses what the event's path in it makes it lose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax.numpy as jnp
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema

from diffea import Analysis, DifferentiableProcessor, Fill, Split, Variant, objectives

GENERATED = {"mass": 125.0, "width": 4.0, "coefficient": 0.0}  # of the signal's events; GeV, GeV, 1/TeV²
LINE = (105.0, 145.0)  # where signal is generated [GeV]
FALL, RANGE = 30.0, (80.0, 170.0)  # slope of the background, and where it is generated [GeV]
YIELDS = {"signal": 400.0, "background": 10_000.0}  # without a detector's losses
BASIS = (0.0, 1.0, -1.0)  # coefficients whose weights an event carries
INTERFERENCE = 0.8  # cosine of the phase between the two amplitudes
DETECTOR = {"thickness": 1.0, "shaping": 1.0}
SAMPLING, NOISE, PILE_UP, LOSS = (
    4.0,
    1.0,
    1.0,
    0.2,
)  # of the detector: three resolutions [GeV], and what is lost per thickness
WIDER = 1.25  # by how much the width is uncertain
EXACT = 1e-6  # bandwidth [GeV] of a histogram whose observable no fitted parameter moves


def breit_wigner(m: Any, mass: Any, width: Any) -> Any:
    """Density of the mass of signal events [1/GeV], 1 over LINE."""
    half = width / 2
    low, high = (jnp.arctan((end - mass) / half) for end in LINE)
    return half / ((m - mass) ** 2 + half**2) / (high - low)


def line(m: Any, mass: Any, width: Any) -> Any:
    """How much more often a signal event of this mass is generated with another resonance than it was."""
    return breit_wigner(m, mass, width) / breit_wigner(m, GENERATED["mass"], GENERATED["width"])


def amplitude(hardness: Any, coefficient: Any) -> Any:
    """|1 + c x e^{iδ}|² of the two amplitudes, in units of the one without a coefficient; x is the event's hardness."""
    return 1 + 2 * INTERFERENCE * coefficient * hardness + (coefficient * hardness) ** 2


def morphed(weights: Any, coefficient: Any) -> Any:
    """An event's weight at any coefficient, of its weights at the three of BASIS: the quadratic through them (Lagrange).

    Args:
        weights: shape (events, 3).
        coefficient: a scalar.

    Returns:
        shape (events,).
    """
    factors = [math.prod([(coefficient - other) / (own - other) for other in BASIS if other != own]) for own in BASIS]
    return weights @ jnp.stack([jnp.asarray(factor, float) for factor in factors])


def resolution(thickness: Any, shaping: Any) -> Any:
    """Of the mass [GeV]: sampling, electronic noise and pile-up. Least at a shaping of NOISE / PILE_UP, whatever the thickness."""
    return jnp.sqrt(SAMPLING**2 / thickness + NOISE**2 / shaping + PILE_UP**2 * shaping)


def draw(sample: str, count: int, seed: int, *, mass: float, width: float, coefficient: float) -> dict[str, Any]:
    """Events as a generator writes them, all alike in weight; ``coefficient`` and line shape are the signal's."""
    random = np.random.default_rng(seed)
    if sample == "signal":
        ends = np.arctan((np.array(LINE) - mass) / (width / 2))
        m, hardness = mass + width / 2 * np.tan(random.uniform(*ends, count)), hard(random, count, coefficient)
    else:
        ends = np.exp(-np.array(RANGE) / FALL)
        m, hardness = -FALL * np.log(random.uniform(*ends[::-1], count)), random.exponential(size=count)
    weights = [np.asarray(amplitude(hardness, c) / amplitude(hardness, coefficient)) for c in BASIS]
    number = np.arange(count)
    return {
        "mass": m, "hardness": hardness, "weight": np.full(count, YIELDS[sample] * rate(coefficient, sample) / count),
        **{f"weight_{place}": weight for place, weight in enumerate(weights)},
        "noise": random.normal(size=count), "path": random.uniform(1, 2, count),
        "run": np.full_like(number, seed), "luminosityBlock": np.ones_like(number), "event": number,
    }  # fmt: skip


def hard(random: np.random.Generator, count: int, coefficient: float) -> np.ndarray:
    """Hardness of signal events: density e^{−x} |1 + c x e^{iδ}|² by acceptance and rejection under e^{−x} (1 + x)²."""
    found = np.empty(0)
    while found.size < count:
        x = random.gamma(random.choice([1, 2, 3], 2 * count, p=[0.2, 0.4, 0.4]))
        most = max(1.0, coefficient**2) * (1 + x) ** 2
        found = np.concatenate([found, x[random.uniform(size=x.size) * most < amplitude(x, coefficient)]])
    return found[:count]


def rate(coefficient: Any, sample: str = "signal") -> Any:
    """Cross-section in units of that without a coefficient: ∫ e^{−x} |1 + c x e^{iδ}|² dx."""
    return 1 + 2 * INTERFERENCE * coefficient + 2 * coefficient**2 if sample == "signal" else 1.0


def write(folder: Path, name: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    """One dataset of coffea's fileset; its sample is its name up to a dash."""
    folder.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(folder / f"{name}.root") as file:
        file.mktree("Events", {key: column.dtype for key, column in columns.items()})
        file["Events"].extend(columns)
    return dataset(folder, name)


def dataset(folder: Path, name: str) -> dict[str, Any]:
    """What ``write`` wrote."""
    return {name: {"files": {str(folder / f"{name}.root"): "Events"}, "metadata": {"sample": name.split("-")[0]}}}


class Experiment(DifferentiableProcessor):
    """Mass and hardness of what a detector leaves; parameters are those of the simulation and of the detector."""

    channels: ClassVar[Mapping[str, Any]] = {
        "mass": hist.axis.Regular(25, 100, 150, name="mass", label="mass [GeV]"),
        "hardness": hist.axis.Variable([0, 0.5, 1, 1.5, 2, 3, 4, 6, 30], name="hardness"),
    }

    def columns(self, events: Any) -> dict[str, Any]:
        basis = np.stack([np.asarray(events[f"weight_{place}"]) for place in range(len(BASIS))], axis=-1)
        flat = {name: events[name] for name in ("mass", "hardness", "weight", "noise", "path")}
        return {**flat, "basis": basis, "scale": np.ones(len(events)), "sample": events.metadata["sample"]}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        weight = columns["weight"] * self.simulated(params, columns) * self.survival(params, columns)
        yield Fill("mass", self.measured(params, columns), weight, bandwidth=EXACT)
        yield Fill("hardness", columns["hardness"], weight, bandwidth=EXACT)

    def simulated(self, params: Any, columns: Mapping[str, Any]) -> Any:
        """How much more often the event would be generated with these parameters than it was."""
        if columns["sample"] != "signal":
            return 1.0
        shape = line(columns["mass"], params["mass"], params["width"] * columns["scale"])
        return shape * morphed(columns["basis"], params["coefficient"])

    def measured(self, params: Any, columns: Mapping[str, Any]) -> Any:
        """The mass as the detector sees it [GeV]; the noise was drawn once."""
        return columns["mass"] + resolution(params["thickness"], params["shaping"]) * columns["noise"]

    def survival(self, params: Any, columns: Mapping[str, Any]) -> Any:
        """Probability of the event to come through the detector."""
        return jnp.exp(-LOSS * params["thickness"] * columns["path"])


def wider(columns: Mapping[str, Any], direction: int) -> dict[str, Any] | None:
    """The width of the signal, up and down, by weights."""
    return {"scale": columns["scale"] * WIDER**direction} if columns["sample"] == "signal" else None


class Design(Experiment):
    """The mass spectrum alone, with a smooth histogram, for the detector's parameters; the width is uncertain."""

    channels: ClassVar[Mapping[str, Any]] = {"mass": Experiment.channels["mass"]}
    variations: ClassVar[Mapping[str, Any]] = {"width": wider}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        weight = columns["weight"] * self.simulated(GENERATED, columns) * self.survival(params, columns)
        yield Fill("mass", self.measured(params, columns), weight)


SPEC = {
    "channels": [
        {
            "name": "mass",
            "samples": [
                {
                    "name": "signal",
                    "data": "signal",
                    "modifiers": [
                        {"name": "mu", "type": "normfactor", "data": None},
                        {
                            "name": "width",
                            "type": "histosys",
                            "data": {"hi_data": "signal:width_up", "lo_data": "signal:width_down"},
                        },
                    ],
                },
                {
                    "name": "background",
                    "data": "background",
                    "modifiers": [{"name": "background", "type": "normsys", "data": {"hi": 1.05, "lo": 0.95}}],
                },
            ],
        }
    ]
}
BOUNDS = {"thickness": (0.3, 4.0), "shaping": (0.2, 4.0)}
START = {"thickness": 3.0, "shaping": 3.0}


def sigma_mu(bound: Any) -> Any:
    """Expected uncertainty of the signal strength, at 1."""
    return objectives.poi_uncertainty(bound, poi_true=1.0)


def make_data(folder: Path, count: int = 50_000) -> None:
    """As many events of signal as of background."""
    for seed, sample in enumerate(YIELDS):
        write(folder, sample, draw(sample, count, seed, **GENERATED))


def fileset(folder: Path) -> dict[str, Any]:
    """Signal and background."""
    return {name: entry for sample in YIELDS for name, entry in dataset(folder, sample).items()}


analysis = Analysis(
    name="simulation_parameters",
    title="A detector's thickness and shaping time, for the uncertainty of a signal strength",
    fileset=fileset,
    schemaclass=BaseSchema,
    split=Split(train=0.5),
    default_data=make_data,
    variants={
        "": Variant(
            processor=Design(),
            spec=SPEC,
            params=START,
            objective=sigma_mu,
            optimizer="l-bfgs-b",
            steps=20,
            bounds=BOUNDS,
        )
    },
)
