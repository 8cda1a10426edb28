"""The whole chain on invented NanoAOD-like events: corrections, systematic uncertainties, cuts and a network, folds, observed events.

notebook.ipynb goes through it step by step. One muon, at least three jets and missing momentum; fitted is the output of a small network.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import uproot
from coffea.nanoevents import NanoAODSchema

from diffea import Analysis, DifferentiableProcessor, Fill, Pretraining, Split, Variant, demo, objectives, soft

LUMINOSITY = 1_000.0  # 1/pb
SAMPLES = {"signal": 0.12, "ttbar": 9.0, "wjets": 16.0}  # cross-sections of the skim [pb]
FILES = 2  # of each sample
EDGES = (-0.25, 0.2, 0.4, 0.6, 0.8, 1.25)  # five bins of a score in (0, 1), which the kernel does not leave
MUON_PT, FACTORS, ERRORS = (
    (30.0, 60.0),
    (0.96, 0.98, 0.99),
    (0.02, 0.01, 0.01),
)  # borders [GeV]; scale factors and their errors
SHIFTS = {"nominal": 0.0, "jes_up": 1.0, "jes_down": -1.0}  # of the jet energy, in units of its uncertainty
HIDDEN = 8
UNSIMULATED = 1.0  # background events in every bin, into which no simulated one may have fallen
OBSERVED = "observed"


class Schema(NanoAODSchema):
    """NanoAOD, silent about the collections that these files leave out."""

    warn_missing_crossrefs = False


def muon_bins(pt: Any) -> np.ndarray:
    """Which of the scale factors is a muon's."""
    return np.digitize(np.asarray(pt), MUON_PT)


def inputs(columns: Mapping[str, Any], variation: str) -> Any:
    """What the network looks at, of order one; shape (events, 5)."""
    names = ("met", "mt", "m_eff", "leading")
    scaled = [jnp.log(columns[f"{name} {variation}"] / 150.0) for name in names]
    return jnp.stack([*scaled, 2 * columns["btag"] - 1], axis=-1)


def network(weights: Mapping[str, Any], x: Any) -> Any:
    """The logit of each event, shape (events,)."""
    hidden = jnp.tanh(x @ weights["in"] + weights["hidden"])
    return hidden @ weights["out"] + weights["bias"]


class Search(DifferentiableProcessor):
    """The score in events that pass five cuts; and sums of cross-entropy and weight, to train on first."""

    channels: ClassVar[Mapping[str, Any]] = {
        "score": hist.axis.Variable(EDGES, name="score", label="network output"),
        "cross_entropy": hist.axis.Regular(2, 0, 2, name="sum", label="sums of cross-entropy and of weight"),
    }

    def columns(self, events: Any) -> dict[str, Any]:
        """One muon; corrections by weights, and what the jet energy scale moves, once for each shift."""
        events = events[ak.num(events.Muon) == 1]
        muon, sample = events.Muon[:, 0], events.metadata["sample"]
        columns = {"muon_pt": muon.pt, "muon_iso": muon.pfRelIso03_all, "btag": ak.max(events.Jet.btagDeepB, axis=1)}
        for variation, shift in SHIFTS.items():
            jets = events.Jet.pt * (1.0 + shift * (0.01 + 0.6 / events.Jet.pt))
            change = jets - events.Jet.pt
            met_x = events.MET.px - ak.sum(change * np.cos(events.Jet.phi), axis=1)
            met_y = events.MET.py - ak.sum(change * np.sin(events.Jet.phi), axis=1)
            met = np.hypot(met_x, met_y)
            angle = np.arctan2(met_y, met_x) - muon.phi
            columns |= {
                f"jet_pt {variation}": jets,
                f"met {variation}": met,
                f"mt {variation}": 1.0 + 2 * np.sqrt(muon.pt * met) * np.abs(np.sin(angle / 2)),
                f"m_eff {variation}": ak.sum(jets, axis=1) + met + muon.pt,
                f"leading {variation}": ak.max(jets, axis=1),
            }
        ones = np.ones(len(events))
        columns["sign"] = -ones if sample == "signal" else ones  # a column, so that all samples compile to one program
        if sample == OBSERVED:
            return {**columns, "weight": ones, "muon_up": ones, "muon_down": ones}
        simulated = (
            events.genWeight * events.puWeight * (LUMINOSITY * events.metadata["xsec"] / events.metadata["sumw"])
        )
        factor, error = (np.array(table)[muon_bins(muon.pt)] for table in (FACTORS, ERRORS))
        shifted = {"muon_up": 1 + error / factor, "muon_down": 1 - error / factor}
        return {**columns, **shifted, "weight": simulated * factor}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """Cut softly on muon, jets and missing momentum, and fill the network's output."""
        muon = soft.all_of(
            soft.above(columns["muon_pt"], params["muon_pt"], width=2.0),
            soft.below(columns["muon_iso"], params["muon_iso"], width=0.01),
        )
        for variation in SHIFTS:
            keep = soft.all_of(
                muon,
                soft.at_least(3, soft.above(columns[f"jet_pt {variation}"], params["jet_pt"], width=2.0)),
                soft.above(columns[f"met {variation}"], params["met"], width=5.0),
                soft.above(columns[f"mt {variation}"], params["mt"], width=4.0),
            )
            logit = network(params["network"], inputs(columns, variation))
            score, weight = jax.nn.sigmoid(logit), columns["weight"] * keep
            yield Fill("score", score, weight, variation=variation, bandwidth=0.07)
            if variation == "nominal":
                yield Fill("score", score, weight * columns["muon_up"], variation="muon_up", bandwidth=0.07)
                yield Fill("score", score, weight * columns["muon_down"], variation="muon_down", bandwidth=0.07)
                loss = jax.nn.softplus(columns["sign"] * logit)
                yield Fill("cross_entropy", jnp.full_like(logit, 0.5), weight * loss)
                yield Fill("cross_entropy", jnp.full_like(logit, 1.5), weight)


def cross_entropy(templates: Any) -> Any:
    """Mean cross-entropy of signal against the other samples, each with equal weight."""
    means = {name: sums[0] / sums[1] for name in SAMPLES for sums in [templates["cross_entropy", name].values]}
    return means["signal"] + (means["ttbar"] + means["wjets"]) / 2


def _normalisation(name: str, percent: float) -> dict[str, Any]:
    return {"name": name, "type": "normsys", "data": {"hi": 1 + percent / 100, "lo": 1 - percent / 100}}


def _sample(name: str, *modifiers: dict[str, Any]) -> dict[str, Any]:
    shapes = [
        {"name": what, "type": "histosys", "data": {"hi_data": f"{name}:{what}_up", "lo_data": f"{name}:{what}_down"}}
        for what in ("jes", "muon")
    ]
    return {"name": name, "data": name, "modifiers": [_normalisation("lumi", 2.0), *shapes, *modifiers]}


def _background(name: str, percent: float) -> dict[str, Any]:
    statistics = {"name": "mcstat_score", "type": "staterror", "data": name}
    return _sample(name, _normalisation(f"{name}_norm", percent), statistics)


SPEC = {
    "channels": [
        {
            "name": "score",
            "samples": [
                _sample("signal", {"name": "mu", "type": "normfactor", "data": None}),
                _background("ttbar", 6.0),
                _background("wjets", 15.0),
                {
                    "name": "unsimulated",
                    "data": [UNSIMULATED] * (len(EDGES) - 1),
                    "modifiers": [_normalisation("unsimulated", 90.0)],
                },
            ],
        }
    ],
    "measurements": [{"name": "search", "config": {"poi": "mu", "parameters": []}}],
    "parameters": [{"name": "mu", "bounds": [[0.0, 20.0]], "inits": [1.0]}],
}


def initial(seed: int = 0) -> dict[str, Any]:
    """Weights of a network 5–HIDDEN–1."""
    random = np.random.default_rng(seed)
    return {
        "in": random.normal(size=(5, HIDDEN)) / 2,
        "hidden": np.zeros(HIDDEN),
        "out": random.normal(size=HIDDEN) / 2,
        "bias": np.array(0.0),
    }


def make_data(folder: Path, events: int = 200_000, mu: float = 1.0) -> None:
    """Simulated files, and one of events as they would be observed with a signal of strength ``mu``: other events, each counting 1."""
    demo.make_data(folder, events=events)
    expected = {name: LUMINOSITY * section * (mu if name == "signal" else 1.0) for name, section in SAMPLES.items()}
    random = np.random.default_rng(5)
    counts = {name: int(random.poisson(number)) for name, number in expected.items()}
    others = folder / "others"
    demo.make_data(others, events=3 * sum(counts.values()), seed=1)
    parts = []
    for name, count in counts.items():
        found = ak.concatenate(
            [uproot.open(f"{others / name}_{part}.root")["Events"].arrays() for part in range(FILES)]
        )
        parts.append(found[random.permutation(len(found))[:count]])
    together = ak.concatenate(parts)
    together = together[random.permutation(len(together))]
    branches = {
        collection: ak.zip(
            {name.split("_", 1)[1]: together[name] for name in together.fields if name.startswith(f"{collection}_")}
        )
        for collection in ("Jet", "Muon")
    } | {name: together[name].to_numpy() for name in ("MET_pt", "MET_phi", "run", "luminosityBlock")}
    branches["event"] = np.arange(len(together), dtype=np.uint64)
    with uproot.recreate(folder / f"{OBSERVED}.root") as file:
        types = {name: x.type.content if isinstance(x, ak.Array) else x.dtype for name, x in branches.items()}
        file.mktree("Events", types).extend(branches)


def fileset(folder: Path) -> dict[str, Any]:
    """coffea's fileset: simulated samples with cross-section and sum of weights, and observed events, marked as such."""
    made = {}
    for name, section in SAMPLES.items():
        paths = [folder / f"{name}_{part}.root" for part in range(FILES)]
        sumw = sum(float(uproot.open(path)["Runs"]["genEventSumw"].array().to_numpy().sum()) for path in paths)
        made[name] = {
            "files": {str(path): "Events" for path in paths},
            "metadata": {"sample": name, "xsec": section, "sumw": sumw},
        }
    data = {"sample": OBSERVED, "is_data": True}
    return {**made, OBSERVED: {"files": {str(folder / f"{OBSERVED}.root"): "Events"}, "metadata": data}}


BOUNDS = {
    "muon_pt": (20.0, 60.0),
    "muon_iso": (0.03, 0.45),
    "jet_pt": (22.0, 60.0),
    "met": (20.0, 150.0),
    "mt": (20.0, 120.0),
}
START = {"muon_pt": 25.0, "muon_iso": 0.15, "jet_pt": 30.0, "met": 50.0, "mt": 50.0, "network": initial()}

analysis = Analysis(
    name="end_to_end",
    title="From NanoAOD-like files to an observed limit, an exported processor and a likelihood (invented data)",
    fileset=fileset,
    schemaclass=Schema,
    split=Split(folds=2),
    chunksize=50_000,
    replicas=50,
    default_data=make_data,
    variants={
        "": Variant(
            processor=Search(),
            spec=SPEC,
            params=START,
            bounds={
                **BOUNDS,
                "network": jax.tree.map(
                    lambda leaf: (np.full_like(leaf, -np.inf), np.full_like(leaf, np.inf)), initial()
                ),
            },
            pretraining=Pretraining(objective=cross_entropy, optimizer=optax.adam(0.03), steps=60),
            objective=functools.partial(objectives.log_cls, poi_test=1.0),
            optimizer=optax.adam(optax.cosine_decay_schedule(0.02, 40)),
            steps=40,
        )
    },
)
