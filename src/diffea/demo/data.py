"""A small, invented NanoAOD-like data set: a heavy new particle among top pairs and W bosons, seen in one muon and jets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from diffea.events.kinds import EventArray

__all__ = ["FILES", "SAMPLES", "Sample", "make_data"]

FILES = 2
MAX_JETS = 8
W_MASS = 80.4
CLUSTER = 5_000

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How the events of one process look.

    Args:
        share: part of all generated events.
        cross_section: in pb, times the efficiency of the skim.
        negative: part of the events with generator weight -1.
        jets: mean number of jets beyond the first two.
        jet_scale: mean transverse momentum of a jet above 20 GeV, in GeV.
        b_jets: probability that a jet of the first two, and that any other, comes from a b quark.
        recoil: mean transverse momentum of the W boson, in GeV.
        invisible: probability of invisible particles beside the neutrino, and their mean transverse momentum in GeV.
        nonprompt: part of the events whose muon comes from a jet and is poorly isolated.
    """

    share: float
    cross_section: float
    negative: float
    jets: float
    jet_scale: float
    b_jets: tuple[float, float]
    recoil: float
    invisible: tuple[float, float]
    nonprompt: float


SAMPLES = {
    "signal": Sample(
        share=0.15, cross_section=0.12, negative=0.0, jets=2.4, jet_scale=75.0, b_jets=(0.9, 0.08),
        recoil=130.0, invisible=(1.0, 110.0), nonprompt=0.03,
    ),
    "ttbar": Sample(
        share=0.5, cross_section=9.0, negative=0.08, jets=1.9, jet_scale=50.0, b_jets=(0.9, 0.05),
        recoil=85.0, invisible=(0.2, 60.0), nonprompt=0.12,
    ),
    "wjets": Sample(
        share=0.35, cross_section=16.0, negative=0.04, jets=0.7, jet_scale=34.0, b_jets=(0.06, 0.03),
        recoil=60.0, invisible=(0.05, 50.0), nonprompt=0.08,
    ),
}  # fmt: skip
"""The processes; their cross-sections are invented like the rest."""


def make_data(folder: Path, *, events: int = 200_000, seed: int = 0) -> list[Path]:
    """Write the data set: two ROOT files for each of three samples, tree ``Events`` as in NanoAOD and ``Runs`` with the sum of weights.

    Args:
        folder: where ``SAMPLE_0.root``, ``SAMPLE_1.root``, … go; made when it is not there.
        events: of all samples together.
        seed: same seed, same events.

    Returns:
        The files' paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, (name, sample) in enumerate(SAMPLES.items()):
        for part in range(FILES):
            rng = np.random.default_rng([seed, index, part])
            count = max(1, round(events * sample.share / FILES))
            path = folder / f"{name}_{part}.root"
            _write(path, _generate(rng, sample, count), part * count)
            paths.append(path)
    return paths


def _generate(rng: np.random.Generator, sample: Sample, count: int) -> dict[str, EventArray]:
    """Events of one sample: flat arrays, and a jagged record for jets and for muons."""
    jets, number = _jets(rng, sample, count)
    muon, neutrino = _w_decay(rng, rng.exponential(sample.recoil, count))
    probability, scale = sample.invisible
    extra = rng.exponential(scale, count) * (rng.random(count) < probability)
    hadronic = np.bincount(np.repeat(np.arange(count), number), jets["pt"], count)
    missing = (
        neutrino[:, :2]
        + _transverse(extra, rng.uniform(-np.pi, np.pi, count))
        + rng.normal(size=(count, 2)) * (12.0 + 0.6 * np.sqrt(hadronic))[:, None]
    )
    muons, muon_number = _muons(rng, sample, muon)
    return {
        "Jet": ak.unflatten(ak.Array(jets), number),
        "Muon": ak.unflatten(ak.Array(muons), muon_number),
        "MET_pt": np.hypot(*missing.T),
        "MET_phi": np.arctan2(missing[:, 1], missing[:, 0]),
        "genWeight": np.where(rng.random(count) < sample.negative, -1.0, 1.0),
        "puWeight": rng.gamma(25.0, 1 / 25.0, count),
    }


def _jets(rng: np.random.Generator, sample: Sample, count: int) -> tuple[dict[str, Array], Array]:
    """Jets, flat and hardest first within an event, and their number in each event."""
    number = np.minimum(2 + rng.poisson(sample.jets, count), MAX_JETS)
    event = np.repeat(np.arange(count), number)
    scale = rng.gamma(4.0, sample.jet_scale / 4.0, count)
    pt = 20.0 + rng.exponential(scale[event])
    pt = pt[np.lexsort((-pt, event))]
    rank = np.arange(len(pt)) - np.repeat(np.cumsum(number) - number, number)
    from_b = rng.random(len(pt)) < np.where(rank < 2, *sample.b_jets)
    return {
        "pt": pt,
        "eta": np.clip(rng.normal(0.0, 1.2, len(pt)), -2.4, 2.4),
        "phi": rng.uniform(-np.pi, np.pi, len(pt)),
        "mass": pt * rng.uniform(0.08, 0.2, len(pt)),
        "btagDeepB": np.where(from_b, rng.beta(3.0, 1.2, len(pt)), rng.beta(1.0, 5.0, len(pt))),
    }, number


def _muons(rng: np.random.Generator, sample: Sample, momentum: Array) -> tuple[dict[str, Array], Array]:
    """At most one muon an event, within the detector and above 15 GeV, from the momenta of the W bosons' muons."""
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    eta = np.arcsinh(momentum[:, 2] / pt)
    seen = (pt > 15.0) & (np.abs(eta) < 2.4) & (rng.random(len(pt)) < 0.95)
    total = int(seen.sum())
    nonprompt = rng.random(total) < sample.nonprompt
    return {
        "pt": pt[seen],
        "eta": eta[seen],
        "phi": np.arctan2(momentum[seen, 1], momentum[seen, 0]),
        "mass": np.full(total, 0.10566),
        "charge": rng.choice(np.array([-1, 1], np.int32), total),
        "pfRelIso03_all": np.where(nonprompt, rng.gamma(2.0, 0.15, total), rng.exponential(0.04, total)),
    }, seen.astype(np.int64)


def _w_decay(rng: np.random.Generator, pt: Array) -> tuple[Array, Array]:
    """Momenta (events, 3) of muon and neutrino from W bosons of transverse momentum `pt`, isotropic where the W is at rest."""
    count = len(pt)
    mass = np.clip(rng.standard_cauchy(count) + W_MASS, 60.0, 100.0)
    direction = rng.uniform(-np.pi, np.pi, count)
    momentum = np.column_stack([_transverse(pt, direction), rng.normal(0.0, 80.0, count)])
    cos = rng.uniform(-1.0, 1.0, count)
    sin, phi = np.sqrt(1 - cos**2), rng.uniform(-np.pi, np.pi, count)
    rest = np.column_stack([sin * np.cos(phi), sin * np.sin(phi), cos]) * (mass / 2)[:, None]
    energy = np.sqrt(mass**2 + (momentum**2).sum(axis=1))
    along = (rest * momentum).sum(axis=1)
    boost = (along / (energy + mass) + mass / 2) / mass
    muon = rest + momentum * boost[:, None]
    return muon, momentum - muon


def _transverse(pt: Array, phi: Array) -> Array:
    return np.column_stack([pt * np.cos(phi), pt * np.sin(phi)])


def _write(path: Path, events: dict[str, EventArray], first: int) -> None:
    """Write one file; event numbers start after `first`, so that no two events of a sample share one."""
    count = len(events["genWeight"])
    single = {name: _float32(array) for name, array in events.items()}
    number = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    identity = {
        "run": np.ones(count, np.uint32),
        "luminosityBlock": (number // 1000 + 1).astype(np.uint32),
        "event": number,
    }
    branches: dict[str, EventArray] = identity | single
    with uproot.recreate(path) as file:
        tree = file.mktree(
            "Events",
            {
                name: array.type.content if isinstance(array, ak.Array) else array.dtype
                for name, array in branches.items()
            },
        )
        for start in range(0, count, CLUSTER):
            tree.extend({name: array[start : start + CLUSTER] for name, array in branches.items()})
        file["Runs"] = {
            "run": np.ones(1, np.uint32),
            "genEventCount": np.array([count], np.int64),
            "genEventSumw": np.array([events["genWeight"].sum()]),
        }


def _float32(array: EventArray) -> EventArray:
    if not isinstance(array, ak.Array):
        return array.astype(np.float32)
    return ak.zip(
        {
            field: array[field] if field == "charge" else ak.values_astype(array[field], np.float32)
            for field in array.fields
        }
    )
