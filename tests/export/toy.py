"""A small analysis with a bit of everything: objects, two channels, learned edges, weights, a variation of columns and one of weights."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import hist
import jax.numpy as jnp
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema
from jax.nn import softmax

from diffea import Analysis, DifferentiableProcessor, Fill, Split, Variant, objectives, soft

LUMI = 3.0
WEIGHTS = {}
WEIGHTS["signal"] = 0.011  # changed after the dict was made
WEIGHTS.update(background=0.037)


def make_data(folder: Path) -> None:
    """Signal, background and observed events, a file each."""
    for seed, (name, mean, events) in enumerate((("signal", 2.6, 3000), ("background", 1.2, 6000), ("seen", 1.2, 400))):
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 5, events)
        jets = ak.unflatten(rng.exponential(20 + 10 * mean, counts.sum()).astype(np.float32), counts)
        with uproot.recreate(folder / f"{name}.root") as file:
            file["Events"] = {
                "x": rng.normal(mean, 1.0, events).astype(np.float32),
                "q": rng.integers(0, 2, events).astype(np.uint8),
                "w": rng.uniform(0.5, 1.5, events),
                "jets": jets,
                **{key: np.full(events, seed) for key in ("run", "luminosityBlock")},
                "event": np.arange(events),
            }


def fileset(folder: Path) -> dict:
    """One dataset a file."""
    found = {name: {"files": {str(folder / f"{name}.root"): "Events"}} for name in ("signal", "background")}
    seen = {"files": {str(folder / "seen.root"): "Events"}, "metadata": {"is_data": True}}
    return {**found, "seen": seen}


def shifted(columns: dict, sign: int) -> dict:
    """The scale of x."""
    return {"x": columns["x"] * (1 + 0.05 * sign)}


class Base(DifferentiableProcessor):
    """What does not depend on the selection."""

    channels = {  # noqa: RUF012
        "low": hist.axis.Variable([0, 1, 2, 5], name="x", label="x [GeV]"),
        "high": hist.axis.Regular(3, 0, 5, name="x", overflow=False),
    }
    variations = {"scale": shifted}  # noqa: RUF012
    unused = jnp.zeros(3).at[0].set(1.0)

    def columns(self, events):
        name = events.metadata["dataset"]
        weight = np.ones(len(events)) if name == "seen" else events.w * WEIGHTS[name] * LUMI
        return {"x": events.x, "q": events.q, "jets": events.jets, "weight": weight, "name": name}

    def edges(self, params):
        inner = 5 * jnp.cumsum(softmax(params["bins"]))[:-1]
        return {"high": jnp.concatenate([jnp.zeros(1), inner, jnp.full(1, 5.0)])}


class Toy(Base):
    """Two channels by the number of jets."""

    def fill(self, params, columns):
        jets: jnp.ndarray = soft.above(columns["jets"], params["jet"], width=3.0)
        several = soft.at_least(2, jets)
        leading = soft.leading(1, columns["jets"], default=0.0)
        keep = soft.any_of(soft.above(columns["x"], params["x"], width=0.2), soft.above(leading, 55.0, width=4.0))
        observed = columns["name"] == "seen"
        weight = columns["weight"] * keep * (1.0 if observed else jnp.where(columns["q"] > 0, 1.1, 0.9))
        for channel, share in (("low", soft.not_(several)), ("high", several)):
            yield Fill(channel, columns["x"], weight * share, bandwidth=0.3)
            if not observed:
                yield Fill(channel, columns["x"], weight * share * 1.07, variation="heavy", bandwidth=0.3)


def sample(name: str, channel: str) -> dict:
    """A sample of the model."""
    shape = {"hi_data": f"{name}:scale_up", "lo_data": f"{name}:scale_down"}
    modifiers = [{"name": "scale", "type": "histosys", "data": shape}]
    if name == "signal":
        modifiers.append({"name": "mu", "type": "normfactor", "data": None})
    else:
        modifiers.append({"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.92}})
        modifiers.append({"name": f"mcstat_{channel}", "type": "staterror", "data": name})
    return {"name": name, "data": name, "modifiers": modifiers}


SPEC = {
    "channels": [
        {"name": name, "samples": [sample("signal", name), sample("background", name)], "data": "seen"}
        for name in ("low", "high")
    ],
    "measurements": [{"name": "toy", "config": {"poi": "mu", "parameters": []}}],
    "parameters": [{"name": "mu", "bounds": [[0.0, 20.0]], "inits": [1.0]}],
}
for one in SPEC["channels"]:
    del one["data"]

analysis = Analysis(
    name="toy",
    title="A small search",
    fileset=fileset,
    schemaclass=BaseSchema,
    split=Split(train=0.4),
    chunksize=2000,
    replicas=0,
    default_data=make_data,
    variants={
        "": Variant(
            processor=Toy(),
            spec=SPEC,
            params={"jet": 31.3, "x": 0.7, "bins": np.array([0.1, 0.3, 0.2])},
            objective=objectives.counting_significance,
            optimizer="l-bfgs-b",
            steps=1,
        )
    },
)
