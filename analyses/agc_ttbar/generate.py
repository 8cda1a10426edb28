"""Make events with the branches of NanoAOD that analysis.py reads, of all processes and of the variations of tt̄, and the list of their files.

    python analyses/agc_ttbar/generate.py --events 2000000 --out DIR [--seed 0]

They are invented, not simulated: decays of top quarks and W bosons by their kinematics, jets radiated by a falling spectrum, a detector of
resolutions, efficiencies and a b tagger of roughly the right size. Written is what has a lepton above 20 GeV and four jets above 19 GeV;
`nevts` in the list counts all that was made, with the branching fractions of what was not.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import awkward as ak
import numpy as np
import uproot
from analysis import INPUTS
from outcomes import four_momenta, invariant_mass

Array: TypeAlias = np.ndarray
Random: TypeAlias = np.random.Generator

TOP, W_MASS, BOTTOM = 172.5, 80.4, 4.8
BATCH = 50_000  # events that are made at once
LIGHT, CHARM, BEAUTY = 0, 4, 5
TAGS = {LIGHT: (1.1, 4.6), CHARM: (1.5, 2.1), BEAUTY: (3.6, 0.95)}  # beta distributions of the b tag
UNTAGGED = 0.03  # of the jets, to which the tagger gives -10


@dataclass(frozen=True, kw_only=True)
class Process:
    """How events of a process look.

    Attributes:
        share: of all events that are written.
        tops: how many top quarks.
        associated: W bosons beside them.
        flavours: of the quarks beside them.
        hardness: mean transverse momentum of a top quark, or of the W boson, in GeV.
        radiated: mean number of further jets.
        falling: mean transverse momentum of these above 15 GeV, in GeV.
        heavy: probability that two of these are b quarks, and that one is a c quark.
        fraction: of the process's cross-section, that has a lepton from a W boson, times the probability of so many jets.
        smeared: what jet resolutions are multiplied by.
    """

    share: float
    tops: int
    associated: int = 0
    flavours: tuple[int, ...] = ()
    hardness: float
    radiated: float
    falling: float
    heavy: tuple[float, float] = (0.01, 0.04)
    fraction: float
    smeared: float = 1.0


TTBAR = Process(share=0.34, tops=2, hardness=115.0, radiated=1.3, falling=30.0, fraction=0.51)
PROCESSES = {
    ("ttbar", "nominal"): TTBAR,
    ("ttbar", "scaledown"): replace(TTBAR, share=0.08, radiated=1.45, falling=31.5),
    ("ttbar", "scaleup"): replace(TTBAR, share=0.08, radiated=1.17, falling=28.5),
    ("ttbar", "ME_var"): replace(TTBAR, share=0.08, hardness=122.0, radiated=1.25),
    ("ttbar", "PS_var"): replace(TTBAR, share=0.08, falling=32.0, smeared=1.1),
    ("wjets", "nominal"): Process(
        share=0.18, tops=0, associated=1, hardness=60.0, radiated=3.4, falling=26.0, heavy=(0.035, 0.12), fraction=0.028
    ),
    ("single_top_s_chan", "nominal"): Process(
        share=0.03, tops=1, flavours=(BEAUTY,), hardness=70.0, radiated=1.2, falling=27.0, fraction=0.33
    ),
    ("single_top_t_chan", "nominal"): Process(
        share=0.06,
        tops=1,
        flavours=(LIGHT,),
        hardness=65.0,
        radiated=1.2,
        falling=27.0,
        heavy=(0.0, 0.04),
        fraction=0.33,
    ),
    ("single_top_tW", "nominal"): Process(
        share=0.07, tops=1, associated=1, hardness=85.0, radiated=1.2, falling=28.0, fraction=0.54
    ),
}


def generate(folder: Path, *, events: int, seed: int = 0) -> Path:
    """Write a ROOT file for each process and variation, and the list of them in the AGC's own format.

    Args:
        folder: made if it is not there.
        events: that are written, of all processes.
        seed: same seed, same events.

    Returns:
        The list's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed: dict[str, dict[str, object]] = {}
    for number, ((name, variation), process) in enumerate(PROCESSES.items()):
        path = folder / f"{name}__{variation}.root"
        made = write(path, process, np.random.default_rng([seed, number]), max(1, round(events * process.share)))
        content = {"nevts_total": made, "files": [{"path": path.name, "nevts": made}]}
        listed.setdefault(name, {})[variation] = content
    place = folder / INPUTS
    place.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return place


def write(path: Path, process: Process, random: Random, count: int) -> float:
    """Write a file; returns the number of events of the process that it stands for."""
    made, written = 0, 0
    with uproot.recreate(path) as file:
        while written < count:
            events = detected(random, process, BATCH)
            made += BATCH
            if len(events["genWeight"]) > count - written:  # the last batch, of which a part is as good
                made -= round(BATCH * (1 - (count - written) / len(events["genWeight"])))
                events = {branch: array[: count - written] for branch, array in events.items()}
            size = len(events["genWeight"])
            number = np.arange(written + 1, written + size + 1, dtype=np.uint64)
            block = (number // 1000 + 1).astype(np.uint32)
            events |= {"run": np.ones(size, np.uint32), "luminosityBlock": block, "event": number}
            if not written:
                types = {name: x.type.content if isinstance(x, ak.Array) else x.dtype for name, x in events.items()}
                file.mktree("Events", types)
            file["Events"].extend(events)
            written += size
    return made / process.fraction


def detected(random: Random, process: Process, count: int) -> dict[str, ak.Array | Array]:
    """The branches of those of so many events that have a lepton and four jets."""
    leptons, quarks, flavours = hard_process(random, process, count)
    jets = seen_jets(random, process, quarks, flavours)
    lepton_pt, lepton_eta, lepton_phi = directions(leptons)
    seen = (lepton_pt > 10.0) & (abs(lepton_eta) < 2.4) & (random.random(lepton_pt.shape) < 0.95)
    kept = (seen & (lepton_pt > 20.0)).any(axis=1) & ((jets["pt"] > 19.0) & (abs(jets["eta"]) < 2.4)).sum(
        axis=1
    ).__ge__(4)
    is_muon = random.random(lepton_pt.shape) < 0.5
    pt = lepton_pt * (1.0 + 0.015 * random.normal(size=lepton_pt.shape))
    good = random.random(lepton_pt.shape) < np.where(is_muon, 0.93, 0.75)
    impact = random.exponential(0.9, lepton_pt.shape)
    charge = random.choice(np.array([-1, 1], np.int32), lepton_pt.shape)
    mass = np.where(is_muon, 0.10566, 0.000511)
    common = {"pt": pt, "eta": lepton_eta, "phi": lepton_phi, "mass": mass, "charge": charge, "sip3d": impact}
    muons = {**common, "tightId": good, "pfRelIso04_all": random.exponential(0.04, lepton_pt.shape)}
    electrons = {**common, "cutBased": np.where(good, 4, 2).astype(np.int32)}
    present = jets["pt"] > 15.0
    order = np.argsort(np.where(present, -jets["pt"], 0.0), axis=1)
    jets = {name: np.take_along_axis(column, order, axis=1) for name, column in jets.items()}
    return {
        "Jet": jagged(jets, np.take_along_axis(present, order, axis=1), kept),
        "Muon": jagged(muons, seen & is_muon, kept),
        "Electron": jagged(electrons, seen & ~is_muon, kept),
        "genWeight": np.ones(int(kept.sum()), np.float32),
    }


def jagged(columns: dict[str, Array], present: Array, kept: Array) -> ak.Array:
    """Records of the objects that are there, of the events that are kept, in single precision."""
    counts, mask = present[kept].sum(axis=1), present & kept[:, None]
    flat = {name: column[mask] for name, column in columns.items()}
    flat = {name: x.astype(np.float32) if x.dtype.kind == "f" else x for name, x in flat.items()}
    return ak.unflatten(ak.zip(flat), counts)


def hard_process(random: Random, process: Process, count: int) -> tuple[Array, Array, Array]:
    """Four-momenta of charged leptons and of quarks, shapes (4, events, …), those that are not there zero; and the quarks' flavours."""
    bosons, quarks, flavours = [], [], []
    transverse = random.gamma(2.0, process.hardness / 2.0, count)
    azimuth = random.uniform(-np.pi, np.pi, count)
    for number in range(process.tops):
        top = four_momenta(transverse, random.normal(0.0, 1.1, count), azimuth + np.pi * number, np.full(count, TOP))
        boson, bottom = decay(random, top, breit_wigner(random, count), BOTTOM)
        bosons.append(boson)
        quarks.append(bottom)
        flavours.append(np.full(count, BEAUTY))
    for _ in range(process.associated):
        eta = random.normal(0.0, 1.3, count)
        bosons.append(four_momenta(transverse, eta, azimuth + np.pi, breit_wigner(random, count)))
    for flavour in process.flavours:
        pt, width = 15.0 + random.exponential(30.0, count), 1.3 if flavour == BEAUTY else 2.4
        quarks.append(
            four_momenta(
                pt, random.normal(0.0, width, count), random.uniform(-np.pi, np.pi, count), np.full(count, 1.0)
            )
        )
        flavours.append(np.full(count, flavour))
    leptons, leptonic = [], random.integers(0, len(bosons), count)
    dilepton = random.random(count) < 0.2
    for number, boson in enumerate(bosons):
        one, other = decay(random, boson, 0.0, 0.0)
        lepton = (leptonic == number) | dilepton
        leptons.append(one * lepton)
        for quark, flavour in ((one, LIGHT), (other, np.where(random.random(count) < 0.5, CHARM, LIGHT))):
            if len(bosons) > 1:
                quarks.append(quark * ~lepton)
                flavours.append(np.broadcast_to(flavour, count))
    if not quarks:
        return np.stack(leptons, axis=2), np.zeros((4, count, 0)), np.zeros((count, 0), int)
    return np.stack(leptons, axis=2), np.stack(quarks, axis=2), np.stack(flavours, axis=1)


def breit_wigner(random: Random, count: int) -> Array:
    """Masses of W bosons."""
    return np.clip(W_MASS + 1.05 * random.standard_cauchy(count), 60.0, 100.0)


def decay(random: Random, parent: Array, one: Array | float, other: Array | float) -> tuple[Array, Array]:
    """Two particles of these masses, isotropic where the parent is at rest; shapes (4, events)."""
    mass = invariant_mass(parent)
    energy = (mass**2 + np.square(one) - np.square(other)) / (2 * mass)
    momentum = np.sqrt(np.maximum(energy**2 - np.square(one), 0.0))
    cos, phi = random.uniform(-1.0, 1.0, len(mass)), random.uniform(-np.pi, np.pi, len(mass))
    sin = np.sqrt(1 - cos**2)
    rest = momentum * np.stack([sin * np.cos(phi), sin * np.sin(phi), cos])
    along = (rest * parent[:3]).sum(axis=0)
    boost = (along / (parent[3] + mass) + energy) / mass
    first = np.concatenate([rest + parent[:3] * boost, [(parent[3] * energy + along) / mass]])
    return first, parent - first


def seen_jets(random: Random, process: Process, quarks: Array, flavours: Array) -> dict[str, Array]:
    """Jets of the quarks and of radiation, shapes (events, slots); those that are not there have no momentum."""
    count = quarks.shape[1]
    number = random.poisson(process.radiated, count)
    most = int(number.max(initial=1))
    radiated = 15.0 + random.exponential(process.falling, (count, most)) * random.gamma(4.0, 0.25, (count, 1))
    radiated = np.where(np.arange(most) < number[:, None], radiated, 0.0)
    of_radiation = np.full((count, most), LIGHT)
    pair, single = process.heavy
    kind = random.random(count)
    of_radiation[kind < pair, :2] = BEAUTY
    of_radiation[(kind >= pair) & (kind < pair + single), :1] = CHARM
    pt, eta, phi = directions(quarks)
    pt = np.concatenate([pt, radiated], axis=1)
    eta = np.concatenate([eta, random.normal(0.0, 1.7, (count, most))], axis=1)
    phi = np.concatenate([phi, random.uniform(-np.pi, np.pi, (count, most))], axis=1)
    flavour = np.concatenate([flavours, of_radiation], axis=1)
    there = pt > 0
    lost = random.gamma(1.5, 0.03, pt.shape) + np.where(flavour == BEAUTY, random.gamma(1.0, 0.05, pt.shape), 0.0)
    width = process.smeared * (0.06 + 0.7 / np.sqrt(np.maximum(pt, 5.0)))
    pt = np.where(there, pt * np.maximum((1.0 - lost) * 1.05 + width * random.normal(size=pt.shape), 0.0), 0.0)
    tag = np.empty(pt.shape)
    for of, (rising, falling) in TAGS.items():
        tag[flavour == of] = random.beta(rising, falling, int((flavour == of).sum()))
    tag[random.random(pt.shape) < UNTAGGED] = -10.0
    return {
        "pt": pt,
        "eta": eta,
        "phi": phi,
        "mass": pt * random.uniform(0.07, 0.21, pt.shape),
        "btagCSVV2": tag,
        "jetId": np.where(random.random(pt.shape) < 0.985, 6, 0).astype(np.int32),
    }


def directions(momentum: Array) -> tuple[Array, Array, Array]:
    """Transverse momentum, pseudorapidity and azimuth."""
    pt = np.hypot(momentum[0], momentum[1])
    eta = np.arcsinh(momentum[2] / np.where(pt > 0, pt, 1.0))
    return pt, eta, np.arctan2(momentum[1], momentum[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, required=True, help="that are written, of all processes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.stdout.write(f"{generate(arguments.out, events=arguments.events, seed=arguments.seed)}\n")
