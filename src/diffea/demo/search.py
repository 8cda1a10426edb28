"""The demo's search: one muon, jets and missing momentum; six thresholds to optimise, two channels, three kinds of systematics."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import awkward as ak
import hist
import numpy as np
import optax
import uproot
from coffea.nanoevents import NanoAODSchema

from diffea import objectives, soft
from diffea.analysis import Analysis, Variant
from diffea.demo.data import FILES, SAMPLES, make_data
from diffea.events.kinds import EventArray
from diffea.events.splits import Split
from diffea.processor import DifferentiableProcessor, Fill
from diffea.types import Axis, Events, JSONDict, PyTree

__all__ = ["LUMINOSITY", "DemoSchema", "Search", "analysis", "fileset"]

LUMINOSITY = 5_000.0
"""Integrated luminosity, in 1/pb."""

JET_ENERGY_SHIFTS = {"nominal": 0.0, "jes_up": 1.0, "jes_down": -1.0}


class DemoSchema(NanoAODSchema):
    """NanoAOD, silent about the collections that the demo's files leave out."""

    warn_missing_crossrefs = False


class Search(DifferentiableProcessor):
    """Selects one muon, at least three jets and missing momentum; fits the effective mass with and without a b jet."""

    channels: ClassVar[Mapping[str, Axis]] = {
        "tagged": hist.axis.Variable([200, 450, 600, 750, 900, 1100, 1500], name="m_eff", label="$m_{eff}$ [GeV]"),
        "untagged": hist.axis.Variable([200, 500, 1500], name="m_eff", label="$m_{eff}$ [GeV]"),
    }

    def columns(self, events: Events) -> dict[str, EventArray]:
        """The leading muon, the jets' b scores, and what the jet energy scale moves, once for each shift."""
        events = events[ak.any((events.Muon.pt > 20.0) & (events.Muon.pfRelIso03_all < 0.5), axis=1)]
        muon, jets, met, dataset = events.Muon[:, 0], events.Jet, events.MET, events.metadata
        columns = {
            "muon_pt": muon.pt,
            "muon_iso": muon.pfRelIso03_all,
            "btag": jets.btagDeepB,
            "weight": events.genWeight * events.puWeight * (LUMINOSITY * dataset["xsec"] / dataset["sumw"]),
        }
        cos, sin = np.cos(jets.phi), np.sin(jets.phi)
        for variation, shift in JET_ENERGY_SHIFTS.items():
            shifted = jets.pt * (1.0 + shift * (0.01 + 0.6 / jets.pt))
            change = shifted - jets.pt
            met_x = met.px - ak.sum(change * cos, axis=1)
            met_y = met.py - ak.sum(change * sin, axis=1)
            met_pt = np.hypot(met_x, met_y)
            angle = np.arctan2(met_y, met_x) - muon.phi
            columns |= {
                f"jet_pt {variation}": shifted,
                f"met {variation}": met_pt,
                f"mt {variation}": 2 * np.sqrt(muon.pt * met_pt) * np.abs(np.sin(angle / 2)),
                f"m_eff {variation}": ak.sum(shifted, axis=1) + met_pt + muon.pt,
            }
        return columns

    def fill(self, params: Mapping[str, PyTree], columns: Mapping[str, PyTree]) -> Iterator[Fill]:
        """Cut softly on muon, jets and missing momentum, and share the events among the channels by their b score."""
        muon = soft.all_of(
            soft.above(columns["muon_pt"], params["muon_pt"], width=2.0),
            soft.below(columns["muon_iso"], params["muon_iso"], width=0.01),
        )
        tagged = soft.at_least(1, soft.above(columns["btag"], params["btag"], width=0.02))
        for variation in JET_ENERGY_SHIFTS:
            keep = soft.all_of(
                muon,
                soft.at_least(3, soft.above(columns[f"jet_pt {variation}"], params["jet_pt"], width=2.0)),
                soft.above(columns[f"met {variation}"], params["met"], width=5.0),
                soft.above(columns[f"mt {variation}"], params["mt"], width=4.0),
            )
            m_eff, weight = columns[f"m_eff {variation}"], columns["weight"] * keep
            yield Fill("tagged", m_eff, weight * tagged, variation=variation)
            yield Fill("untagged", m_eff, weight * soft.not_(tagged), variation=variation, bandwidth=50.0)


def fileset(data: Path) -> JSONDict:
    """coffea's fileset of what `make_data` wrote, with the cross-section and the sum of generator weights of each sample."""
    result = {}
    for name, sample in SAMPLES.items():
        paths = [data / f"{name}_{part}.root" for part in range(FILES)]
        sumw = sum(float(uproot.open(path)["Runs"]["genEventSumw"].array().to_numpy().sum()) for path in paths)
        metadata = {"sample": name, "xsec": sample.cross_section, "sumw": sumw}
        result[name] = {"files": {str(path): "Events" for path in paths}, "metadata": metadata}
    return result


def _normalisation(name: str, percent: float) -> JSONDict:
    return {"name": name, "type": "normsys", "data": {"hi": 1 + percent / 100, "lo": 1 - percent / 100}}


def _sample(name: str, *modifiers: JSONDict) -> JSONDict:
    jes = {"name": "jes", "type": "histosys", "data": {"hi_data": f"{name}:jes_up", "lo_data": f"{name}:jes_down"}}
    common = [_normalisation("lumi", 2.0), jes]
    return {"name": name, "data": name, "modifiers": [*common, *modifiers]}


def _channel(name: str) -> JSONDict:
    samples = [
        _sample("signal", {"name": "mu", "type": "normfactor", "data": None}),
        _sample("ttbar", _normalisation("ttbar_norm", 6.0)),
        _sample("wjets", _normalisation("wjets_norm", 15.0)),
    ]
    for sample in samples[1:]:
        sample["modifiers"].append({"name": f"mcstat_{name}", "type": "staterror", "data": sample["name"]})
    return {"name": name, "samples": samples}


SPEC = {
    "channels": [_channel(name) for name in Search.channels],
    "measurements": [{"name": "search", "config": {"poi": "mu", "parameters": []}}],
    "parameters": [{"name": "mu", "bounds": [[0.0, 20.0]], "inits": [1.0]}],
}

analysis = Analysis(
    name="demo",
    title="Search for a heavy particle in one muon, jets and missing momentum (invented data)",
    fileset=fileset,
    schemaclass=DemoSchema,
    split=Split(train=0.5),  # one training, which two folds would be two of
    chunksize=25_000,
    default_data=make_data,
    variants={
        "": Variant(
            processor=Search(),
            spec=SPEC,
            params={"muon_pt": 25.0, "muon_iso": 0.15, "jet_pt": 30.0, "met": 50.0, "mt": 50.0, "btag": 0.5},
            bounds={
                "muon_pt": (20.0, 80.0),
                "muon_iso": (0.03, 0.45),
                "jet_pt": (22.0, 80.0),
                "met": (20.0, 220.0),
                "mt": (20.0, 160.0),
                "btag": (0.1, 0.95),
            },
            objective=functools.partial(objectives.cls, poi_test=1.0),
            optimizer=optax.adam(optax.cosine_decay_schedule(0.05, 30)),
            steps=30,
        )
    },
)
"""What `diffea demo` runs; `diffea run` takes any Python file with such an object."""
