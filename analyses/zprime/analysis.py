"""Z'(2 TeV) → tt̄ in a muon and jets, CMS open data of 2016: jagged candidates, cuts and the choice of candidate.

The signal is normalised to 1 pb, so the parameter of interest mu is the cross-section of pp → Z' → tt̄ in pb.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import correctionlib
import hist
import jax.numpy as jnp
import numpy as np
import optax
from coffea.nanoevents import BaseSchema

from diffea import Analysis, DifferentiableProcessor, Fill, Ragged, Split, Variant, anneal, objectives, soft

LUMINOSITY = 16_400.0
"""Integrated luminosity, in 1/pb."""

SAMPLES = {  # file: cross-section in pb, generated events
    "signal_M2000": (1.0, 527_218),
    "ttsemilep": (831.76 * 0.438, 143_553_998),
    "ttleptonic": (831.76 * 0.105, 41_777_512),
    "tthadronic": (831.76 * 0.457, 100_522_516),
    "Wjets": (61_526.7, 80_958_227),
}
SIGNAL = "signal_M2000"
BACKGROUNDS = tuple(name for name in SAMPLES if name != SIGNAL)
SYSTEMATICS = {"pileup": ("pileup_up", "pileup_down"), "muon_id": ("muon_id_up", "muon_id_down")}
CANDIDATES = ("largest", "first", "smallest", "mean")


def observed(events: Any) -> dict[str, np.ndarray]:
    """Weights of collision data."""
    names = ("nominal", *(name for pair in SYSTEMATICS.values() for name in pair))
    return {f"weight {name}": np.ones(len(events)) for name in names}


def simulated(events: Any, muon_pt: np.ndarray, muon_eta: np.ndarray) -> dict[str, np.ndarray]:
    """Weights of simulated events, with each correction up and down."""
    dataset = events.metadata
    folder = Path(dataset["corrections"])
    pileup_weights = correctionlib.CorrectionSet.from_file(str(folder / "puWeights.json.gz"))
    muon_weights = correctionlib.CorrectionSet.from_file(str(folder / "muon_Z.json.gz"))
    interactions = np.asarray(events.pileup)
    pileup = {
        shift: pileup_weights["Collisions16_UltraLegacy_goldenJSON"].evaluate(interactions, shift)
        for shift in ("nominal", "up", "down")
    }
    muon_id = {
        shift: muon_weights["NUM_TightID_DEN_TrackerMuons"].evaluate(muon_eta, muon_pt, shift)
        for shift in ("nominal", "systup", "systdown")
    }
    generated = np.asarray(events.genWeight, float) * dataset["scale"]
    return {
        "weight nominal": generated * pileup["nominal"] * muon_id["nominal"],
        "weight pileup_up": generated * pileup["up"] * muon_id["nominal"],
        "weight pileup_down": generated * pileup["down"] * muon_id["nominal"],
        "weight muon_id_up": generated * pileup["nominal"] * muon_id["systup"],
        "weight muon_id_down": generated * pileup["nominal"] * muon_id["systdown"],
    }


class ZPrime(DifferentiableProcessor):
    """One channel: the mass of one tt̄ candidate of each event, after cuts on the muon."""

    channels: ClassVar[Mapping[str, Any]] = {
        "mtt": hist.axis.Regular(20, 0, 4000, name="mtt", label=r"$m_{t\bar{t}}$ [GeV]")
    }

    def columns(self, events: Any) -> dict[str, Any]:
        """The candidates' masses, the muon, and the weight with each correction up and down."""
        muon_pt, muon_eta = (np.asarray(events[name]) for name in ("mu_pt", "mu_abseta"))
        weights = observed(events) if events.metadata.get("is_data") else simulated(events, muon_pt, muon_eta)
        return {"mtt": events.mtt, "mu_pt": muon_pt, "mu_abseta": muon_eta, **weights}

    def fill(self, params: Mapping[str, Any], columns: Mapping[str, Any]) -> Iterator[Fill]:
        """Every way to choose a candidate fills the channel with its share of the weight."""
        with soft.sharpened(params["softness"]):
            shares = soft.choice(params["candidate"], jnp.eye(len(CANDIDATES)))
            regions = self.regions(params, columns)
        masses = candidate_masses(columns["mtt"])
        options = Ragged(masses, jnp.ones(masses.shape, bool))
        for variation in ("nominal", *(name for pair in SYSTEMATICS.values() for name in pair)):
            weight = columns[f"weight {variation}"]
            for channel, keep in regions.items():
                shared = Ragged((weight * keep)[:, None] * shares, options.mask)
                yield Fill(channel, options, shared, variation=variation)

    def regions(self, params: Mapping[str, Any], x: Mapping[str, Any]) -> dict[str, Any]:
        """How much of each event every channel keeps."""
        return {"mtt": muon_cuts(params, x)}


class Categories(ZPrime):
    """Four channels: one candidate above a threshold or several, each below and above a muon momentum of its own."""

    channels: ClassVar[Mapping[str, Any]] = {
        f"{number}_{muon}": hist.axis.Variable(
            [0, 1000, 1400, 1700, 2000, 2400, 4000], name="mtt", label=r"$m_{t\bar{t}}$ [GeV]"
        )
        for number in ("one", "several")
        for muon in ("soft", "hard")
    }

    def regions(self, params: Mapping[str, Any], x: Mapping[str, Any]) -> dict[str, Any]:
        """Split, rather than cut away, what is less like signal."""
        several = soft.at_least(2, soft.above(x["mtt"], params["mtt_counted"], width=50.0))
        kept = muon_cuts(params, x)
        result = {}
        for number, share in (("one", soft.not_(several)), ("several", several)):
            hard = soft.above(x["mu_pt"], params[f"mu_pt_{number}"], width=8.0)
            result[f"{number}_soft"] = soft.all_of(kept, share, soft.not_(hard))
            result[f"{number}_hard"] = soft.all_of(kept, share, hard)
        return result


def muon_cuts(params: Mapping[str, Any], x: Mapping[str, Any]) -> Any:
    """Transverse momentum and pseudorapidity of the muon."""
    return soft.all_of(
        soft.above(x["mu_pt"], params["mu_pt"], width=3.0), soft.below(x["mu_abseta"], params["mu_abseta"], width=0.1)
    )


def candidate_masses(mtt: Ragged) -> Any:
    """Mass of each of ``CANDIDATES``, shape (events, 4)."""
    largest, smallest = soft.max(mtt), soft.min(mtt)
    return jnp.stack([largest, jnp.asarray(mtt.values)[:, 0], smallest, mtt.sum() / mtt.num()], axis=1)


def channel(name: str, *, mc_stat: bool = True, systematics: bool = True) -> dict[str, Any]:
    """The HistFactory channel of all samples."""
    samples = []
    for sample in SAMPLES:
        modifiers: list[dict[str, Any]] = [
            {"name": nuisance, "type": "histosys", "data": {"hi_data": f"{sample}:{up}", "lo_data": f"{sample}:{down}"}}
            for nuisance, (up, down) in SYSTEMATICS.items()
            if systematics
        ]
        if sample == SIGNAL:
            modifiers.append({"name": "mu", "type": "normfactor", "data": None})
        else:
            modifiers.append({"name": f"norm_{sample}", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}})
            if mc_stat:
                modifiers.append({"name": f"mcstat_{name}", "type": "staterror", "data": sample})
        samples.append({"name": sample, "data": sample, "modifiers": modifiers})
    return {"name": name, "samples": samples}


def spec(processor: DifferentiableProcessor, **options: bool) -> dict[str, Any]:
    """The pyhf specification of a processor's channels, templates named in place of numbers."""
    return {
        "channels": [channel(name, **options) for name in processor.channels],
        "measurements": [{"name": "zprime", "config": {"poi": "mu", "parameters": []}}],
        "parameters": [{"name": "mu", "bounds": [[0.0, 10.0]], "inits": [1.0]}],
    }


def fileset(data: Path) -> dict[str, Any]:
    """coffea's fileset of the simulated samples, with the weight of one generated event, and of the collision data."""
    simulated = {
        name: {
            "files": {str(data / f"{name}.root"): "Events"},
            "metadata": {"corrections": str(data), "scale": LUMINOSITY * cross_section / generated},
        }
        for name, (cross_section, generated) in SAMPLES.items()
    }
    collision = {"files": {str(data / "collision.root"): "Events"}, "metadata": {"is_data": True}}
    return {**simulated, "collision": collision}


BASELINE = Variant(
    processor=ZPrime(),
    spec=spec(ZPrime()),
    params={"mu_pt": 55.0, "mu_abseta": 2.4, "candidate": np.array([8.0, 0.0, 0.0, 0.0]), "softness": 0.02},
    objective=objectives.upper_limit,
)
START = {"mu_pt": 62.0, "mu_abseta": 2.2, "candidate": np.zeros(len(CANDIDATES)), "softness": 1.0}
BOUNDS = {"mu_pt": (55.0, 150.0), "mu_abseta": (0.8, 2.4), "candidate": (-4.0, 4.0)}
CUTS = Variant(
    processor=ZPrime(),
    spec=spec(ZPrime()),
    params=START,
    bounds=BOUNDS,
    objective=objectives.upper_limit,
    optimizer=optax.adam(0.05),
    schedules={"softness": anneal(1.0, 0.2)},
    steps=30,
    baseline=BASELINE,
)
CATEGORIES = Variant(
    processor=Categories(),
    spec=spec(Categories()),
    params={**START, "mtt_counted": 300.0, "mu_pt_one": 120.0, "mu_pt_several": 120.0},
    bounds={**BOUNDS, "mtt_counted": (150.0, 1500.0), "mu_pt_one": (65.0, 400.0), "mu_pt_several": (65.0, 400.0)},
    objective=objectives.upper_limit,
    optimizer=optax.adam(0.05),
    schedules={"softness": anneal(1.0, 0.2)},
    steps=30,
    baseline=BASELINE,
)

analysis = Analysis(
    name="zprime",
    title="Z' → tt̄ with a muon and jets, CMS open data of 2016 (13 TeV, 16.4/fb)",
    fileset=fileset,
    variants={"cuts": CUTS, "categories": CATEGORIES},
    schemaclass=BaseSchema,
    split=Split(folds=2),
)
