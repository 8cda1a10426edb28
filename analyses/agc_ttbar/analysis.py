"""The tt̄ cross-section of the Analysis Grand Challenge: one lepton and four jets of CMS open data of 2015, its thresholds tuned.

Selection, observables and systematic uncertainties are those of IRIS-HEP's analysis-grand-challenge (cms-open-data-ttbar); which thresholds,
which trijet and which bins are parameters here. `README.md` tells what comes out.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
import hist
import jax.numpy as jnp
import numpy as np
from outcomes import JETS as REACH
from outcomes import LOOSE_TAG, RULES, outcomes, together

from diffea import Analysis, DifferentiableProcessor, Fill, Ragged, Split, Variant, objectives, soft
from diffea.histograms import edge_logits, ordered_edges

LUMINOSITY = 3378.0
"""Integrated luminosity, in 1/pb."""
CROSS_SECTIONS = {  # in pb, as the AGC takes them
    "ttbar": 396.87 + 332.97,
    "single_top_s_chan": 2.0268 + 1.2676,
    "single_top_t_chan": (36.993 + 22.175) / 0.252,
    "single_top_tW": 37.936 + 37.906,
    "wjets": 61_457 * 0.252,
}
ONE_SIDED = ("ME_var", "PS_var")  # of tt̄, in samples of their own
JETS = ("nominal", "pt_scale_up", "pt_res_up")
SCALE, RESOLUTION = 1.03, 0.05
TAGGED_JETS = 4  # whose momenta a b-tag variation goes with, each with its own
TAG_SLOPE = 0.075 / 50  # of the weight with that momentum in GeV
INPUTS = "nanoaod_inputs.json"

LOOSE_LEPTON = 22.0
WIDTHS = {"jet_pt": 4.0, "lepton_pt": 3.0, "tag": 0.05}
LIMITS = {"jet_pt": REACH, "lepton_pt": (LOOSE_LEPTON, np.inf), "tag": (LOOSE_TAG, np.inf)}
EDGES = {"4j1b": (110.0, 550.0), "4j2b": (110.0, 550.0)}
BINS, NARROWEST = 11, 15.0


def leptons(events: Any) -> ak.Array:
    """Transverse momenta of electrons and muons that are identified, isolated and central."""
    electron, muon = events.Electron, events.Muon
    electrons = (abs(electron.eta) < 2.1) & (electron.cutBased == 4) & (electron.sip3d < 4)
    muons = (abs(muon.eta) < 2.1) & muon.tightId & (muon.sip3d < 4) & (muon.pfRelIso04_all < 0.15)
    pt = ak.concatenate([electron.pt[electrons], muon.pt[muons]], axis=1)
    return pt[pt > LOOSE_LEPTON]


def jets_of(events: Any, tag: str, *, varied: bool) -> dict[str, dict[str, ak.Array]]:
    """Central jets that are no leptons, above the loosest threshold, as they are and, if varied, with their scale and resolution moved."""
    every = events.Jet
    good = (abs(every.eta) < 2.4) & (every.jetId & 4 != 0)
    factors: dict[str, Any] = {"nominal": 1.0}
    if varied:
        factors |= {"pt_scale_up": SCALE, "pt_res_up": 1.0 + RESOLUTION * normal(events.event, every.pt)}
    found = {}
    for name, factor in factors.items():
        pt = every.pt * factor
        kept = good & (pt > REACH[0])
        found[name] = {"pt": pt[kept], "tag": every[tag][kept], **{x: every[x][kept] for x in ("eta", "phi", "mass")}}
    return found


def normal(event: Any, like: ak.Array) -> ak.Array:
    """A normally distributed number for each jet, made of the event's number and the jet's place: the same whenever it is asked for."""
    places = ak.local_index(like, axis=1)
    jets = np.repeat(np.asarray(event, np.uint64), ak.to_numpy(ak.num(like))) * np.uint64(64)
    jets += ak.to_numpy(ak.flatten(places)).astype(np.uint64)
    one, other = (_uniform(2 * jets + np.uint64(side)) for side in (0, 1))
    return ak.unflatten(np.sqrt(-2 * np.log1p(-one)) * np.cos(2 * np.pi * other), ak.num(like))


def _uniform(key: np.ndarray) -> np.ndarray:
    """In [0, 1), by the finaliser of splitmix64."""
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) / 2.0**64


def leading(column: ak.Array, number: int) -> np.ndarray:
    """The largest numbers of each event, zeros where there are none; shape (events, number)."""
    ordered = ak.pad_none(ak.sort(column, ascending=False), number, clip=True)
    return ak.to_numpy(ak.fill_none(ordered, 0.0)).astype(float)


class TTbar(DifferentiableProcessor):
    """H_T with one tagged jet, the mass of a trijet with two or more."""

    channels: ClassVar[Mapping[str, Any]] = {
        "4j1b": hist.axis.Regular(BINS, *EDGES["4j1b"], name="ht", label=r"$H_T$ [GeV]"),
        "4j2b": hist.axis.Regular(BINS, *EDGES["4j2b"], name="mass", label=r"$m_{bjj}$ [GeV]"),
    }

    def columns(self, events: Any) -> dict[str, Any]:
        """The range of lepton thresholds that one lepton passes and, for each variation of the jets, what an event comes to at which thresholds."""
        dataset = events.metadata
        tag, varied = dataset.get("tag", "btagCSVV2"), dataset["variation"] == "nominal"
        found = jets_of(events, tag, varied=varied)
        several = functools.reduce(np.logical_or, (ak.num(jets["pt"]) >= 4 for jets in found.values()))
        tagged = ak.any(events.Jet[tag] > LOOSE_TAG, axis=1)
        events = events[several & tagged & (ak.num(leptons(events)) > 0)]
        high, low = leading(leptons(events), 2).T
        columns: dict[str, Any] = {
            "lepton_low": low,
            "lepton_high": high,
            "weight": np.full(len(events), dataset["scale"]),
        }
        jets = jets_of(events, tag, varied=varied)
        if varied:
            columns["leading"] = leading(jets["nominal"]["pt"], TAGGED_JETS)
        tables = {
            f"{region} {variation}": table
            for variation, moved in jets.items()
            for region, table in zip(self.channels, outcomes(moved), strict=True)
        }
        return columns | together(tables)

    def fill(self, params: Mapping[str, Any], columns: Mapping[str, Any]) -> Iterator[Fill]:
        """Each outcome of an event fills with the share of thresholds, about the one asked for, at which it is the outcome."""
        weight = columns["weight"] * share(params, "lepton_pt", columns["lepton_low"], columns["lepton_high"])
        weight = weight * in_reach(params)
        rules = soft.choice(params["rule"], jnp.eye(len(RULES)))
        varied = "leading" in columns
        for variation in JETS if varied else JETS[:1]:
            for region in self.channels:
                x, kept = outcome(params, rules, columns, f"{region} {variation}")
                yield Fill(region, x, kept * weight, variation=variation)
                if variation == "nominal" and varied:
                    for i in range(TAGGED_JETS):
                        moved = weight * (1.0 + TAG_SLOPE * columns["leading"][:, i])
                        yield Fill(region, x, kept * moved, variation=f"btag_var_{i}_up")


class Binned(TTbar):
    """The same, with bin edges that are parameters."""

    def edges(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Between the ends of the axes."""
        return {name: ordered_edges(params[f"edges_{name}"], *ends, smallest=NARROWEST) for name, ends in EDGES.items()}


def in_reach(params: Mapping[str, Any]) -> Any:
    """One, and not a number where a threshold lies where outcomes were left out."""
    inside = [
        (params[name] - WIDTHS[name] > low - 1e-9) & (params[name] + WIDTHS[name] < high + 1e-9)
        for name, (low, high) in LIMITS.items()
    ]
    return jnp.where(functools.reduce(jnp.logical_and, inside), 1.0, jnp.nan)


def outcome(params: Mapping[str, Any], rules: Any, columns: Mapping[str, Any], table: str) -> tuple[Ragged, Ragged]:
    """The observable of each outcome in a table, and how much the rules and thresholds are those that it is the outcome of.

    Args:
        params: the parameters.
        rules: the share of each.
        columns: of all tables.
        table: one of them.
    """
    of = {name.removeprefix(f"{table} "): column for name, column in columns.items() if name.startswith(f"{table} ")}
    kept = share(params, "jet_pt", of["pt_low"], of["pt_high"]) * share(params, "tag", of["tag_low"], of["tag_high"])
    if "rules" in of:
        kept = kept * sum(((of["rules"] & 2**number) != 0) * rule for number, rule in enumerate(rules))
    return of["x"], kept


def share(params: Mapping[str, Any], name: str, low: Any, high: Any) -> Any:
    """Of the thresholds about a parameter, those within a range; over all outcomes of an event that is one at most."""
    above_low, above_high = (
        soft.above(end, params[name], width=WIDTHS[name], shape="polynomial") for end in (low, high)
    )
    return above_high - above_low


def histosys(name: str, high: str, low: str | None = None) -> dict[str, Any]:
    """A shape variation between two templates, or of one that is mirrored at the nominal one."""
    return {"name": name, "type": "histosys", "data": {"hi_data": high, "lo_data": low or f"{high}:mirrored"}}


def normsys(name: str, percent: float) -> dict[str, Any]:
    """An uncertainty of a normalisation."""
    return {"name": name, "type": "normsys", "data": {"hi": 1 + percent / 100, "lo": 1 - percent / 100}}


def channel(name: str) -> dict[str, Any]:
    """The HistFactory channel of all processes."""
    samples = []
    for sample in CROSS_SECTIONS:
        modifiers: list[dict[str, Any]] = [
            normsys("luminosity", 3.0),
            *(histosys(varied.removesuffix("_up"), f"{sample}:{varied}") for varied in JETS[1:]),
            *(histosys(f"btag_var_{i}", f"{sample}:btag_var_{i}_up") for i in range(TAGGED_JETS)),
            {"name": f"mcstat_{name}", "type": "staterror", "data": sample},
        ]
        if sample == "ttbar":
            modifiers += [
                {"name": "ttbar_norm", "type": "normfactor", "data": None},
                histosys("ttbar_scale", "ttbar scaleup:nominal", "ttbar scaledown:nominal"),
                *(histosys(other, f"ttbar {other}:nominal") for other in ONE_SIDED),
            ]
        if sample == "wjets":
            modifiers.append(normsys("wjets_scale", 3.0))
        samples.append({"name": sample, "data": sample, "modifiers": modifiers})
    return {"name": name, "samples": samples}


SPEC = {
    "channels": [channel(name) for name in TTbar.channels],
    "measurements": [{"name": "CMS_ttbar", "config": {"poi": "ttbar_norm", "parameters": []}}],
    "parameters": [{"name": "ttbar_norm", "bounds": [[0.0, 10.0]], "inits": [1.0]}],
}


def fileset(data: Path) -> dict[str, Any]:
    """coffea's fileset of what `nanoaod_inputs.json` in a folder lists, in the AGC's own format.

    That is, by process and variation: ``files``, each with a ``path`` (relative to the folder, or an address) and ``nevts``, the events that it
    stands for, which all listed ones together are normalised to. ``tag`` may name another b tagger than ``btagCSVV2``.
    """
    listed = json.loads((data / INPUTS).read_text(encoding="utf-8"))
    found = {}
    for process, variations in listed.items():
        if process not in CROSS_SECTIONS:  # collision data, of which the AGC makes no use
            continue
        for variation, content in variations.items():
            paths = [file["path"] for file in content["files"]]
            generated = sum(file["nevts"] for file in content["files"])
            metadata = {
                "sample": process if variation == "nominal" else f"{process} {variation}",
                "variation": variation,
                "scale": CROSS_SECTIONS[process] * LUMINOSITY / generated,
                **({"tag": content["tag"]} if "tag" in content else {}),
            }
            files = {path if "://" in path else str(data / path): "Events" for path in paths}
            found[f"{process}__{variation}"] = {"files": files, "metadata": metadata}
    return found


UNCERTAINTY = functools.partial(objectives.poi_uncertainty, poi_true=1.0)
AGC = {"jet_pt": 30.0, "lepton_pt": 30.0, "tag": 0.5, "rule": np.array([1.0, 0.0, 0.0])}
BOUNDS = {"jet_pt": (25.0, 50.0), "lepton_pt": (25.0, 60.0), "tag": (0.4, 0.95), "rule": (-2.0, 2.0)}
THRESHOLDS = Variant(processor=TTbar(), spec=SPEC, params=AGC, bounds=BOUNDS, objective=UNCERTAINTY, limit=False)
EQUAL = {f"edges_{name}": edge_logits(np.linspace(*ends, BINS + 1), smallest=NARROWEST) for name, ends in EDGES.items()}
BINNED = Variant(
    processor=Binned(),
    spec=SPEC,
    params={**AGC, **EQUAL},
    bounds={**BOUNDS, **dict.fromkeys(EQUAL, (-6.0, 0.0))},
    objective=UNCERTAINTY,
    limit=False,
)

analysis = Analysis(
    name="agc_ttbar",
    title="tt̄ cross-section of the Analysis Grand Challenge, CMS open data of 2015 (13 TeV, 3.4/fb)",
    fileset=fileset,
    variants={"thresholds": THRESHOLDS, "bins": BINNED},
    split=Split(folds=2),
)
