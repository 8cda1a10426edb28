"""What infinitely many events would give: the expected bins by quadrature and in closed form, which judge all studies of this folder."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import analysis
from analysis import GENERATED, INTERFERENCE, LOSS, SPEC, WIDER, YIELDS

from diffea import HistFactory

EDGES = {name: np.array(axis.edges) for name, axis in analysis.Experiment.channels.items()}
MODEL = HistFactory(SPEC)
NODES = 400


class Counts(NamedTuple):
    """What the model reads of a template."""

    values: Any
    variances: Any


def nodes(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of Gauss and Legendre."""
    place, weight = np.polynomial.legendre.leggauss(NODES)
    return low + (high - low) * (place + 1) / 2, (high - low) / 2 * weight


def masses(sample: str, mass: Any = GENERATED["mass"], width: Any = GENERATED["width"]) -> tuple[Any, Any]:
    """Masses and how likely they are."""
    if sample == "signal":
        m, weight = nodes(*analysis.LINE)
        return m, weight * analysis.breit_wigner(m, mass, width)
    m, weight = nodes(*analysis.RANGE)
    density = weight * np.exp(-m / analysis.FALL)
    return m, density / density.sum()


def survival(thickness: Any) -> Any:
    """Mean over paths, which are uniform in [1, 2]."""
    loss = LOSS * thickness
    return (jnp.exp(-loss) - jnp.exp(-2 * loss)) / loss


def spectrum(sample: str, thickness: Any, shaping: Any, **line: Any) -> Any:
    """Expected events in bins of the mass, at a coefficient of 0."""
    m, probability = masses(sample, **line)
    steps = jax.scipy.special.ndtr((EDGES["mass"][:, None] - m) / analysis.resolution(thickness, shaping))
    return YIELDS[sample] * survival(thickness) * jnp.diff(steps, axis=0) @ probability


def hardness(coefficient: Any) -> Any:
    """Signal events in bins of the hardness without a detector: ∫ (1 + 2rcx + c²x²) e^{−x} dx."""
    x = EDGES["hardness"]
    first, second = 2 * INTERFERENCE * coefficient, coefficient**2
    return YIELDS["signal"] * jnp.diff(-jnp.exp(-x) * (1 + first * (1 + x) + second * (2 + 2 * x + x**2)))


def templates(phi: Mapping[str, Any]) -> dict[Any, Counts]:
    """Of the model, at a detector's parameters; no event is simulated."""
    width = {"nominal": 1.0, "width_up": WIDER, "width_down": 1 / WIDER}
    made = {
        ("mass", "signal", name): spectrum("signal", **phi, width=GENERATED["width"] * scale)
        for name, scale in width.items()
    }
    made["mass", "background", "nominal"] = spectrum("background", **phi)
    return {key: Counts(values, jnp.zeros_like(values)) for key, values in made.items()}


@functools.partial(jax.jit)
def figure_of_merit(phi: Mapping[str, Any]) -> Any:
    """The true expected uncertainty of the signal strength."""
    return analysis.sigma_mu(MODEL(templates(phi)))


def both(theta: Mapping[str, Any]) -> dict[str, Any]:
    """Signal events in the bins of both channels, at the simulation's parameters and a fixed detector."""
    line = {name: theta[name] for name in ("mass", "width")}
    spectra = spectrum("signal", **analysis.DETECTOR, **line) * analysis.rate(theta["coefficient"])
    return {"mass": spectra, "hardness": hardness(theta["coefficient"]) * survival(analysis.DETECTOR["thickness"])}
