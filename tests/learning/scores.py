"""Signal and background with a score made of two parameters, in files, and as arrays for oracles."""

from __future__ import annotations

import hist
import jax
import numpy as np
import uproot

from diffea import DifferentiableProcessor, Fill, soft

PARAMS = {"slope": 1.3, "offset": -0.2, "cut": -1.0}


class Scored(DifferentiableProcessor):
    """A logistic score behind one soft cut, a second channel, and a variation."""

    channels = {  # noqa: RUF012
        "score": hist.axis.Regular(5, 0, 1, name="score"),
        "rest": hist.axis.Regular(4, -3, 3, name="x"),
    }
    variations = {"shift": lambda columns, sign: {"x": columns["x"] + 0.1 * sign}}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "y": events.y, "weight": events.weight}

    def fill(self, params, columns):
        keep = columns["weight"] * soft.above(columns["y"], params["cut"], width=0.3)
        yield Fill("score", jax.nn.sigmoid(params["slope"] * columns["x"] + params["offset"]), keep)
        yield Fill("rest", columns["x"], columns["weight"] * (1.0 - keep))


def arrays(sample: str) -> dict[str, np.ndarray]:
    """Of one sample."""
    random = np.random.default_rng(["signal", "top", "multijet"].index(sample))
    events = {"signal": 900, "top": 1500, "multijet": 700}[sample]
    weight = random.uniform(0.5, 1.5, events) * (0.1 if sample == "signal" else 1.0)
    if sample == "multijet":
        weight *= np.where(random.random(events) < 0.2, -1.0, 1.0)
    return {
        "x": random.normal(0.8 * (sample == "signal"), 1.0, events),
        "y": random.normal(size=events),
        "weight": weight,
    }


def write(folder) -> dict:
    """A file for each sample."""
    fileset = {}
    for sample in ("signal", "top", "multijet"):
        with uproot.recreate(folder / f"{sample}.root") as file:
            columns = arrays(sample)
            file.mktree("Events", {name: column.dtype for name, column in columns.items()})
            file["Events"].extend(columns)
        fileset[sample] = {"files": {str(folder / f"{sample}.root"): "Events"}}
    return fileset
