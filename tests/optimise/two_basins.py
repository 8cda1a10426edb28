"""A search with two basins: signal at two places, of which gradients from the start see the poorer one only."""

from __future__ import annotations

import hist
import jax.numpy as jnp
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema

from diffea import Composite, DifferentiableProcessor, Fill, distribute, soft

START = {"center": 2.3, "quality": 0.5}
BOUNDS = {"center": (0.5, 9.5), "quality": (0.0, 1.0)}
SIGMA = 0.25


def events(seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Signal at 2 and twice as much at 7.5, with a quality near 1; a flat background, with one near 0."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(2.0, SIGMA, 700), rng.normal(7.5, SIGMA, 1400)])
    signal = {"x": x, "quality": rng.beta(4, 2, x.size)}
    return {"signal": signal, "background": {"x": rng.uniform(0, 10, 6000), "quality": rng.beta(2, 4, 6000)}}


class TwoBasins(DifferentiableProcessor):
    """A window in x, and a cut on the quality."""

    channels = {"all": hist.axis.Regular(1, -1, 11, name="x")}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "quality": events.quality}

    def fill(self, params, columns):
        center = params["center"]
        window = soft.between(columns["x"], center - 0.5, center + 0.5, width=0.15)
        yield Fill("all", columns["x"], window * soft.above(columns["quality"], params["quality"], width=0.08))


def objective(templates):
    """Minus the significance of a counting experiment, with an uncertainty of a tenth of the background."""
    signal, background = (jnp.sum(templates["all", name].values) for name in ("signal", "background"))
    return 100.0 - signal / jnp.sqrt(background + (0.1 * background) ** 2 + 1.0)


def exact(center, quality, found=None) -> float:
    """The same with cuts in plain NumPy."""
    found = found or events()
    counts = [
        np.sum((x["x"] > center - 0.5) & (x["x"] < center + 0.5) & (x["quality"] > quality))
        for x in (found["signal"], found["background"])
    ]
    return 100.0 - counts[0] / np.sqrt(counts[1] + (0.1 * counts[1]) ** 2 + 1.0)


def write(folder):
    """The events in ROOT files, as coffea's fileset."""
    fileset = {}
    for name, columns in events().items():
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("Events", {key: column.dtype for key, column in columns.items()})
            file["Events"].extend(columns)
        fileset[name] = {"files": {str(folder / f"{name}.root"): "Events"}}
    return fileset


def composite(fileset, client=None):
    """Templates, and the loss."""
    templates = distribute(TwoBasins(), fileset, schemaclass=BaseSchema, chunksize=1000, client=client)
    return templates, Composite(templates, objective)
