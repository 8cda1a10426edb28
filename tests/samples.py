"""A small jagged data set in ROOT files, and a processor on it, for the tests of all lanes."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import hist
import numpy as np
import uproot
from coffea.nanoevents import NanoAODSchema

from diffea import soft
from diffea.processor import DifferentiableProcessor, Fill


class QuietSchema(NanoAODSchema):
    """NanoAOD, silent about the collections that these files leave out."""

    warn_missing_crossrefs = False


MOST = 4  # jets of an event: so few that programs over them compile soon
PARAMS = {"mt": 45.0, "jet_pt": 32.0, "shift": 0.5}


def write(path: Path, events: int, seed: int, **replace) -> None:
    """A NanoAOD-like tree of events with jets."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2.0, events)
    jets = {
        "pt": rng.exponential(30.0, counts.sum()) + 15,
        **dict.fromkeys(("eta", "phi", "mass"), np.zeros(counts.sum())),
    }
    branches = {
        "run": np.ones(events, np.uint32),
        "luminosityBlock": np.full(events, seed, np.uint32),
        "event": np.arange(events, dtype=np.uint64),
        "genWeight": np.where(rng.random(events) < 0.1, -1.0, 1.0).astype(np.float32),
        "MET_phi": rng.uniform(-3, 3, events).astype(np.float32),
        "MET_pt": rng.exponential(40.0, events).astype(np.float32),
        "Jet": ak.zip(
            {name: ak.unflatten(values.astype(np.float32), counts)[:, :MOST] for name, values in jets.items()}
        ),
        **replace,
    }
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: _type(branch) for name, branch in branches.items()})
        file["Events"].extend(branches)


def _type(branch):
    return branch.type if isinstance(branch, ak.Array) else branch.dtype


def write_fileset(folder: Path) -> dict:
    """Signal in one file, background in two, one of them with a weight of its own."""
    for seed, (name, events) in enumerate([("signal", 900), ("background_0", 2500), ("background_1", 1700)]):
        write(folder / f"{name}.root", events, seed)
    return {
        "signal": {"files": {str(folder / "signal.root"): "Events"}},
        "background": {
            "files": {str(folder / f"background_{i}.root"): "Events" for i in (0, 1)},
            "metadata": {"sample": "bkg"},
        },
    }


class Search(DifferentiableProcessor):
    """Two cuts on jagged jets, two channels of unlike binning, a variation, and one smooth parameter."""

    channels = {  # noqa: RUF012
        "few": hist.axis.Regular(8, 0, 160, name="met"),
        "many": hist.axis.Variable([0, 20, 50, 120], name="met", overflow=False),
    }

    def columns(self, events):
        return {"met": events.MET.pt, "jet_pt": events.Jet.pt, "weight": events.genWeight}

    def fill(self, params, columns):
        keep = soft.above(columns["met"], params["mt"], width=5.0)
        many = soft.at_least(2, soft.above(columns["jet_pt"], params["jet_pt"], width=4.0))
        met = columns["met"] + params["shift"]
        yield Fill("few", met, columns["weight"] * keep * (1 - many))
        yield Fill("many", met, columns["weight"] * keep * many)
        yield Fill("many", 1.1 * met, columns["weight"] * keep * many, variation="met_up")
