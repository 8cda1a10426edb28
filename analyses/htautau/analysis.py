"""CMS open data, 8 TeV: the search for H → ττ with one muon and one hadronic τ, tuned for its expected limit.

Simulated and same-charge events only: opposite-charge data are looked at with `--unblind`, not before. `README.md` tells what comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
from coffea.nanoevents import BaseSchema

from diffea import (
    Analysis,
    DifferentiableProcessor,
    Fill,
    Pretraining,
    Split,
    TemplateSet,
    Variant,
    objectives,
    soft,
    statistics,
)
from diffea.fetch import RemoteFile
from diffea.statistics import BoundModel

BRANCHING_FRACTION = 0.0632  # H → ττ, left out of the weights in the files
QCD_RATIO = 0.80  # opposite-charge over same-charge multijet events
TAU_ENERGY_SCALE = {"nominal": 1.0, "tes_up": 1.03, "tes_down": 0.97}
GENUINE_TAUS = ("ggH", "qqH", "ztt")  # what the τ energy scale moves
OBSERVED = "observed"  # opposite-charge data, left alone until `--unblind`
FEWEST = 10.0  # effective simulated events that a bin should have
OWN = "of the dataset"  # stands for its sample in columns, so that alike datasets compile to one program

# the skimmed files: sample, CERN Open Data record of the file that was skimmed, bytes, sha256
FILES = {
    "GluGluToHToTauTauSkim": ("ggH", 12351, 86185, "3f5c57620fc74302c47946168b419314831a52de72c44f618357404c20540481"),
    "VBF_HToTauTauSkim": ("qqH", 12352, 118724, "323dceab4ed7d28f4b26c149608cae3044274a657a1d1d2adfbe931d87e9970a"),
    "DYJetsToLLSkim": ("dy", 12353, 745253, "a82507a64c8abcc73dd55e02c39c378c3487f6a190c3b94b602bb852497e25e5"),
    "TTbarSkim": ("ttbar", 12354, 488648, "1caf22e7536de7c9f0a895c1fb165df2d55f128e583c527b9a83ea595cb1a911"),
    "W1JetsToLNuSkim": ("w", 12355, 363782, "9ec9818f9282f0b6869a6693b44ece4cd31b2c16d3aaa1de06104fcd5ae89e17"),
    "W2JetsToLNuSkim": ("w", 12356, 607373, "9de11d07c96e1e0245471289d6bafed54a27a6a1eba4e855f9bd65a94b17d5f9"),
    "W3JetsToLNuSkim": ("w", 12357, 355031, "2997e26e42de1ad6bcac0d8432c1a1ae20b45fc7c7414989b2274ca89c916604"),
    "Run2012B_TauPlusXSkim": (
        "data",
        12358,
        1343103,
        "9d93b9ed808e89d08c064847f6f37a9194714cebaa3d0d1b7c73eb4ea18ee04b",
    ),
    "Run2012C_TauPlusXSkim": (
        "data",
        12359,
        2045286,
        "3f85a6892341620d3d1109a0b43bc50a5472a42784186f4175c78d14dd8b0da3",
    ),
}
SKIMS = "https://raw.githubusercontent.com/arsahasransu/root-short-exercise/83924b4ef18ef815d3652d82d0a8d087a999f613"


def kinematics(events: Any, scale: float = 1.0) -> dict[str, Any]:
    """What depends on the momentum of the τ: everything is made anew after scaling it, the missing momentum included.

    Args:
        events: NanoEvents, or any mapping of the skim's branches.
        scale: of the τ's energy.

    Returns:
        masses and momenta in GeV, one number an event.
    """
    px_1, py_1, pz_1 = _momentum(events["pt_1"], events["eta_1"], events["phi_1"])
    px_2, py_2, pz_2 = _momentum(events["pt_2"] * scale, events["eta_2"], events["phi_2"])
    met_x = events["pt_met"] * np.cos(events["phi_met"]) - px_2 * (1 - 1 / scale)
    met_y = events["pt_met"] * np.sin(events["phi_met"]) - py_2 * (1 - 1 / scale)
    met, pt_1, pt_2 = np.hypot(met_x, met_y), np.hypot(px_1, py_1), np.hypot(px_2, py_2)
    energy = np.hypot(np.hypot(pt_1, pz_1), events["m_1"])
    energy = energy + np.hypot(np.hypot(pt_2, pz_2), np.maximum(events["m_2"], 0.0) * scale)
    px, py, pz = px_1 + px_2, py_1 + py_2, pz_1 + pz_2
    m_vis = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))
    pt_tautau = np.hypot(px + met_x, py + met_y)
    # the neutrinos along the visible decay products: shares 1/x - 1 of the muon's and the τ's momentum
    cross = px_1 * py_2 - py_1 * px_2
    cross = np.where(np.abs(cross) < 1e-3, 1e-3, cross)
    x_1 = np.clip(1 + (met_x * py_2 - met_y * px_2) / cross, 0.1, 10.0)
    x_2 = np.clip(1 + (px_1 * met_y - py_1 * met_x) / cross, 0.1, 10.0)
    bisector_x, bisector_y = px_1 / pt_1 + px_2 / pt_2, py_1 / pt_1 + py_2 / pt_2
    return {
        "pt_2": pt_2,
        "m_vis": m_vis,
        "pt_tautau": pt_tautau,
        "mt_1": np.sqrt(np.maximum(2 * (pt_1 * met - px_1 * met_x - py_1 * met_y), 0.0)),
        "mt_total": np.sqrt(np.maximum((pt_1 + pt_2 + met) ** 2 - pt_tautau**2, 0.0)),
        "m_collinear": m_vis * np.sqrt(x_1 * x_2),
        "met_zeta": (met_x * bisector_x + met_y * bisector_y) / np.maximum(np.hypot(bisector_x, bisector_y), 1e-6),
    }


def _momentum(pt: Any, eta: Any, phi: Any) -> tuple[Any, Any, Any]:
    pt, eta, phi = (np.asarray(x, dtype=float) for x in (pt, eta, phi))
    return pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)


class HiggsToTauTau(DifferentiableProcessor):
    """Columns of the skim, and the templates that all variants share; a variant says what it selects."""

    bandwidths: ClassVar[Mapping[str, float]] = {}  # of channels where a wider kernel is to smooth more than by default

    def columns(self, events: Any) -> dict[str, Any]:
        """Loosely selected events; a weight for each sample they belong to, and one for the multijet estimate."""
        sample = events.metadata["sample"]
        opposite = events.q_1 * events.q_2 < 0
        wanted = {"data": ~opposite, OBSERVED: opposite}.get(sample, np.ones(len(events), bool))
        events = events[(events.iso_1 < 0.2) & wanted]
        opposite = np.asarray(events.q_1 * events.q_2 < 0)
        weight = np.asarray(events.weight, dtype=float) * (BRANCHING_FRACTION if sample in ("ggH", "qqH") else 1.0)
        match sample:
            case "data":
                members = {}
            case "dy":
                members = {"ztt": np.asarray(events.gen_match), "zll": ~np.asarray(events.gen_match)}
            case _:
                members = {OWN: np.ones(len(events), bool)}
        if sample == OBSERVED:
            weight = np.ones(len(events))
        genuine = not {sample, *members}.isdisjoint(GENUINE_TAUS)
        dijet, deta = events.njets >= 2, np.asarray(events.eta_1 - events.eta_2)
        btag = [np.where(np.abs(events[f"jeta_{i}"]) < 2.4, events[f"jbtag_{i}"], 0.0) for i in (1, 2)]
        columns = {
            "iso_1": events.iso_1,
            "btag": np.clip(np.maximum(*btag), 0.0, 1.0),
            "mjj": np.where(dijet, events.mjj, 0.0),
            "jdeta": np.where(dijet, np.abs(events.jdeta), 0.0),
            "dr": np.hypot(deta, np.pi - np.abs(np.pi - np.abs(np.asarray(events.phi_1 - events.phi_2)))),
        }
        if sample != OBSERVED:
            columns["weight qcd"] = weight * ~opposite * (QCD_RATIO if sample == "data" else -QCD_RATIO)
        columns |= {f"weight {name}": weight * opposite * member for name, member in members.items()}
        for variation, scale in TAU_ENERGY_SCALE.items():
            if variation == "nominal" or genuine:
                columns |= {f"{name} {variation}": x for name, x in kinematics(events, scale).items()}
        return columns

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """Every selected region, for each sample and variation that the columns hold."""
        samples = [name.removeprefix("weight ") for name in columns if name.startswith("weight ")]
        for variation in TAU_ENERGY_SCALE:
            suffix = f" {variation}"
            x = {name.removesuffix(suffix): column for name, column in columns.items() if name.endswith(suffix)}
            moved = samples if variation == "nominal" else [name for name in samples if name in (OWN, *GENUINE_TAUS)]
            if x and moved:
                for channel, observable, keep in self.regions(params, {**columns, **x}):
                    for name in moved:
                        weight = columns[f"weight {name}"] * keep
                        sample, bandwidth = None if name == OWN else name, self.bandwidths.get(channel)
                        yield Fill(channel, observable, weight, sample=sample, variation=variation, bandwidth=bandwidth)

    def regions(self, params: Any, x: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        """Channel, observable, and how much of each event is kept."""
        raise NotImplementedError


def mass_axis(*edges: float) -> hist.axis.Variable:
    """Of the visible mass of muon and τ."""
    return hist.axis.Variable(edges, name="m_vis", label=r"$m_\mathrm{vis}$ [GeV]")


class Outreach(HiggsToTauTau):
    """The selection of the outreach analysis (CERN Open Data record 12350): one channel, fixed cuts."""

    channels: ClassVar[Mapping[str, Any]] = {"all": mass_axis(*range(20, 201, 15))}

    def regions(self, params: Any, x: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        keep = soft.all_of(
            soft.below(x["mt_1"], params["mt_1"], width=3.0), soft.below(x["iso_1"], params["iso_1"], width=0.01)
        )
        yield "all", x["m_vis"], keep


class Cuts(HiggsToTauTau):
    """Four categories by jets and by the momentum of the Higgs candidate, each with cuts of its own; and a W region."""

    channels: ClassVar[Mapping[str, Any]] = {
        "vbf": mass_axis(20, 75, 200),
        "boosted": mass_axis(20, 75, 200),
        "medium": mass_axis(20, 60, 75, 90, 200),
        "low": mass_axis(20, 50, 65, 80, 95, 200),
        "w_region": mass_axis(20, 80, 200),
    }

    def regions(self, params: Any, x: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        muon = soft.below(x["iso_1"], params["iso_1"], width=0.01)
        no_b = soft.below(x["btag"], params["btag"], width=0.04)
        vbf = soft.all_of(
            soft.above(x["mjj"], params["mjj"], width=30.0), soft.above(x["jdeta"], params["jdeta"], width=0.2)
        )
        boosted = soft.above(x["pt_tautau"], params["pt_boosted"], width=5.0)
        medium = soft.above(x["pt_tautau"], params["pt_medium"], width=4.0)
        categories = {
            "vbf": vbf,
            "boosted": soft.all_of(soft.not_(vbf), boosted),
            "medium": soft.all_of(soft.not_(vbf), soft.not_(boosted), medium),
            "low": soft.all_of(soft.not_(vbf), soft.not_(boosted), soft.not_(medium)),
        }
        for name, category in categories.items():
            keep = soft.all_of(
                muon,
                no_b,
                category,
                soft.below(x["mt_1"], params[name]["mt_1"], width=4.0),
                soft.above(x["pt_2"], params[name]["pt_2"], width=2.0),
                soft.above(x["m_collinear"], params[name]["m_collinear"], width=6.0),
            )
            yield name, x["m_vis"], keep
        yield "w_region", x["m_vis"], soft.all_of(muon, no_b, soft.above(x["mt_1"], 70.0, width=3.0))


# network input: logarithm taken first?, mean, width
INPUTS = {
    "mt_1": (False, 25.0, 25.0),
    "m_vis": (False, 70.0, 25.0),
    "pt_tautau": (True, 3.0, 1.0),
    "pt_2": (True, 3.4, 0.4),
    "dr": (False, 2.8, 1.0),
    "mjj": (True, 1.5, 3.0),
    "jdeta": (False, 0.6, 1.5),
    "met_zeta": (False, 0.0, 25.0),
    "mt_total": (False, 72.0, 40.0),
    "m_collinear": (True, 4.6, 0.62),
}
HIDDEN = 16


def network(weights: Mapping[str, Any], x: Mapping[str, Any]) -> Any:
    """The logit of an event being a Higgs boson: one hidden layer of hyperbolic tangents."""
    scaled = [((jnp.log1p(x[name]) if log else x[name]) - mean) / width for name, (log, mean, width) in INPUTS.items()]
    hidden = jnp.tanh(jnp.clip(jnp.stack(scaled, axis=1), -4.0, 4.0) @ weights["in"] + weights["bias"])
    return hidden @ weights["out"] + weights["threshold"]


def untrained(seed: int = 1) -> dict[str, Any]:
    """Random weights, always the same."""
    random = np.random.default_rng(seed)
    return {
        "in": random.normal(size=(len(INPUTS), HIDDEN)) / np.sqrt(len(INPUTS)),
        "bias": np.zeros(HIDDEN),
        "out": random.normal(size=HIDDEN) / np.sqrt(HIDDEN),
        "threshold": np.zeros(()),
    }


class Neural(HiggsToTauTau):
    """The output of a small network is fitted; a W region beside it, and sums from which a cross-entropy is made."""

    channels: ClassVar[Mapping[str, Any]] = {
        "score": hist.axis.Variable([0, 0.25, 0.5, 0.7, 0.85, 1], name="score", label="network output"),
        "w_region": mass_axis(20, 80, 200),
        "cross_entropy": hist.axis.Regular(3, 0, 3, name="sums", label="loss as background, as signal; weight"),
    }
    bandwidths: ClassVar[Mapping[str, float]] = {"score": 0.06}

    def selected(self, x: Mapping[str, Any]) -> tuple[Any, Any]:
        """How much of each event is in the signal region, and in the W region."""
        fitted = soft.all_of(
            soft.below(x["iso_1"], 0.1, width=0.01),
            soft.above(x["pt_2"], 20.6, width=0.5),
            soft.between(x["m_vis"], 20.0, 200.0, width=2.0),
        )
        return (
            soft.all_of(fitted, soft.below(x["mt_1"], 60.0, width=3.0)),
            soft.all_of(fitted, soft.above(x["mt_1"], 70.0, width=3.0)),
        )

    def regions(self, params: Any, x: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        logit = network(params, x)
        signal_region, w_region = self.selected(x)
        yield "score", jax.nn.sigmoid(logit), signal_region
        yield "w_region", x["m_vis"], w_region
        for position, summand in enumerate((jax.nn.softplus(logit), jax.nn.softplus(-logit), jnp.ones_like(logit))):
            yield "cross_entropy", jnp.full_like(logit, position + 0.5), signal_region * summand


def cross_entropy(templates: TemplateSet) -> Any:
    """Of signal against background, each of total weight one."""
    signal, background = (
        sum(templates["cross_entropy", name].values for name in names) for names in (SIGNALS, BACKGROUNDS)
    )
    return background[0] / background[2] + signal[1] / signal[2]


SIGNALS = ("ggH", "qqH")
NORMALISATIONS = {  # name of the nuisance parameter, percent
    "ztt": ("norm_z", 4.0),
    "zll": ("norm_z", 4.0),
    "ttbar": ("norm_ttbar", 7.0),
    "w": ("norm_w", 10.0),
    "qcd": ("norm_qcd", 15.0),
}
BACKGROUNDS = tuple(NORMALISATIONS)


def normalisation(name: str, percent: float) -> dict[str, Any]:
    """A log-normal uncertainty."""
    return {"name": name, "type": "normsys", "data": {"hi": 1 + percent / 100, "lo": 1 / (1 + percent / 100)}}


def channel(name: str, bins: int) -> dict[str, Any]:
    """The HistFactory channel of all samples.

    The sample ``unsimulated`` is one event with an uncertainty of one in every bin: what a bin may hold although no
    simulated event fell into it. Without it, both the optimiser and the limit believe in empty corners.
    """
    samples = []
    for sample in (*SIGNALS, *BACKGROUNDS):
        modifiers = [] if sample == "qcd" else [normalisation("lumi", 2.6)]
        if sample in GENUINE_TAUS:
            data = {"hi_data": f"{sample}:tes_up", "lo_data": f"{sample}:tes_down"}
            modifiers.append({"name": "tes", "type": "histosys", "data": data})
        if sample in SIGNALS:
            modifiers.append({"name": "mu", "type": "normfactor", "data": None})
        else:
            modifiers.append(normalisation(*NORMALISATIONS[sample]))
            modifiers.append({"name": f"mcstat_{name}", "type": "staterror", "data": sample})
        samples.append({"name": sample, "data": sample, "modifiers": modifiers})
    one = [1.0] * bins
    unsimulated = {"name": f"mcstat_{name}", "type": "staterror", "data": one}
    return {"name": name, "samples": [*samples, {"name": "unsimulated", "data": one, "modifiers": [unsimulated]}]}


def spec(processor: DifferentiableProcessor) -> dict[str, Any]:
    """The pyhf specification of a processor's channels, templates named in place of numbers."""
    names = [name for name in processor.channels if name != "cross_entropy"]
    return {
        "channels": [channel(name, processor.channels[name].size) for name in names],
        "measurements": [{"name": "htautau", "config": {"poi": "mu", "parameters": []}}],
        "parameters": [{"name": "mu", "bounds": [[0.0, 200.0]], "inits": [1.0]}],
    }


def fileset(data: Path) -> dict[str, Any]:
    """coffea's fileset of the nine skimmed files; data are in it twice: same charges estimate, opposite charges are observed."""
    found = {
        name: {"files": {str(data / f"{name}.root"): "Events"}, "metadata": {"sample": sample}}
        for name, (sample, *_) in FILES.items()
    }
    seen = {name: content for name, content in found.items() if content["metadata"]["sample"] == "data"}
    observed = {"sample": OBSERVED, "is_data": True}
    return found | {f"{name} observed": {**content, "metadata": observed} for name, content in seen.items()}


def limit_of_filled_bins(bound: BoundModel) -> Any:
    """The expected limit, times one more for each bin as empty of simulated events as can be, less as it comes up to ten effective ones.

    A search that looks at exact cuts finds bins where the background happens to be small; that is no result, and the verdict says so.
    """
    lacking = jnp.maximum(0.0, 1.0 - statistics.effective_events(bound) / FEWEST)
    return objectives.upper_limit(bound) * (1.0 + jnp.sum(lacking))


OUTREACH = Variant(
    processor=Outreach(),
    spec=spec(Outreach()),
    params={"mt_1": 30.0, "iso_1": 0.1},
    objective=objectives.upper_limit,
)
CATEGORIES = ("vbf", "boosted", "medium", "low")
CUTS = Variant(
    processor=Cuts(),
    spec=spec(Cuts()),
    params={
        "iso_1": 0.1, "btag": 0.68, "mjj": 300.0, "jdeta": 2.0, "pt_boosted": 100.0, "pt_medium": 50.0,
        **{name: {"mt_1": 40.0, "pt_2": 22.0, "m_collinear": 80.0} for name in CATEGORIES},
    },
    bounds={
        "iso_1": (0.02, 0.18), "btag": (0.2, 0.95), "mjj": (150.0, 500.0), "jdeta": (0.5, 3.0),
        "pt_boosted": (60.0, 120.0), "pt_medium": (20.0, 60.0),
        **{name: {"mt_1": (20.0, 68.0), "pt_2": (20.6, 40.0), "m_collinear": (20.0, 115.0)} for name in CATEGORIES},
    },
    objective=limit_of_filled_bins,
    baseline=OUTREACH,
)  # fmt: skip
NEURAL = Variant(
    processor=Neural(),
    spec=spec(Neural()),
    params=untrained(),
    pretraining=Pretraining(
        objective=cross_entropy, optimizer=optax.chain(optax.add_decayed_weights(0.02), optax.adam(0.02)), steps=100
    ),
    objective=objectives.upper_limit,
    optimizer=optax.chain(optax.add_decayed_weights(0.2), optax.adam(0.003)),
    steps=36,
    baseline=OUTREACH,
)

analysis = Analysis(
    name="htautau",
    title="H → ττ with a muon and a hadronic τ, CMS open data of 2012 (8 TeV, 11.5/fb)",
    fileset=fileset,
    variants={"cuts": CUTS, "neural": NEURAL},
    schemaclass=BaseSchema,
    split=Split(folds=2),
    fetch=[
        RemoteFile(name=f"{name}.root", url=f"{SKIMS}/{name}.root", record=record, size=size, sha256=sha256)
        for name, (_, record, size, sha256) in FILES.items()
    ],
)
