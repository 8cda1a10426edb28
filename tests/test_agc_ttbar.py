"""analyses/agc_ttbar: every event of real NanoAOD files as awkward and coffea select it by hand, and its templates and gradients."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

from diffea import Ragged, soft
from diffea.analysis import load_analysis

FOLDER = Path(__file__).parents[1] / "analyses" / "agc_ttbar"
# name, b tagger, events: coffea's file of 2015, in which no event has a top quark, and a newer one of tt̄, which has no CSVv2
FILES = {
    "nanoAOD_2015_CMS_Open_Data_ttbar.root": ("btagCSVV2", 200),
    "nano_tt_v12.root": ("btagDeepFlavB", 200),
}
AGC = (30.0, 30.0, 0.5)
THRESHOLDS = [AGC, (25.0, 25.0, 0.3), (38.5, 41.0, 0.85)]  # of jets, leptons, b tags


@pytest.fixture(scope="module")
def analysis() -> Any:
    return load_analysis(FOLDER)


@pytest.fixture(scope="module")
def module(analysis: Any) -> Any:
    return sys.modules[analysis.fileset.__module__]


@pytest.fixture(scope="module", params=FILES)
def real(request: Any, open_data: Path) -> tuple[Any, str]:
    place = open_data / "nano" / request.param
    if not place.is_file():
        pytest.skip(f"no {place}: DIFFEA_DATA has no NanoAOD files")
    tag, number = FILES[request.param]
    events = read(place, tag)
    assert len(events) == number
    return events, tag


def read(place: Path, tag: str) -> Any:
    NanoAODSchema.warn_missing_crossrefs = False
    metadata = {"sample": "ttbar", "variation": "nominal", "scale": 1.0, "tag": tag}
    return NanoEventsFactory.from_root({str(place): "Events"}, mode="eager", metadata=metadata).events()


def by_hand(
    events: Any, tag: str, thresholds: tuple[float, ...], factor: Any = 1.0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Region of each event, and its observable by the rule for the trijet: as the AGC selects, with coffea's four-vectors."""
    jet_pt, lepton_pt, cut = thresholds
    electrons, muons, jets = events.Electron, events.Muon, ak.with_field(events.Jet, events.Jet.pt * factor, "pt")
    electrons = electrons[
        (electrons.pt > lepton_pt) & (abs(electrons.eta) < 2.1) & (electrons.cutBased == 4) & (electrons.sip3d < 4)
    ]
    good = (
        (muons.pt > lepton_pt)
        & (abs(muons.eta) < 2.1)
        & muons.tightId
        & (muons.sip3d < 4)
        & (muons.pfRelIso04_all < 0.15)
    )
    jets = jets[(jets.pt > jet_pt) & (abs(jets.eta) < 2.4) & jets.isTightLeptonVeto]
    basic = (ak.num(electrons) + ak.num(muons[good]) == 1) & (ak.num(jets) >= 4)
    regions = {
        "4j1b": ak.to_numpy(basic & (ak.sum(jets[tag] >= cut, axis=1) == 1)),
        "4j2b": ak.to_numpy(basic & (ak.sum(jets[tag] > cut, axis=1) >= 2)),
    }
    region = np.select(list(regions.values()), list(regions), "none")
    found = {rule: np.where(regions["4j1b"], ak.sum(jets.pt, axis=1), 0.0) for rule in ("pt", "one_tag", "w_mass")}
    for rule, masses in trijets(jets[regions["4j2b"]], tag, cut).items():
        found[rule][regions["4j2b"]] = masses
    return region, found


def trijets(jets: Any, tag: str, cut: float) -> dict[str, np.ndarray]:
    """The mass of the trijet that each rule takes, of events of two tagged jets."""
    one, two, three = ak.unzip(ak.combinations(jets, 3))
    total = one + two + three
    tags = [jet[tag] for jet in (one, two, three)]
    number = sum(ak.values_astype(x > cut, int) for x in tags)
    tagged = number >= 1
    once = ak.where(ak.any(number == 1, axis=1), number == 1, tagged)
    first, second = (tags[0] > tags[1]) & (tags[0] > tags[2]), tags[1] > tags[2]
    pair = ak.where(first, (two + three).mass, ak.where(second, (one + three).mass, (one + two).mass))
    away = ak.where(once, abs(pair - 80.4), 1e9)
    kept = {"pt": tagged, "one_tag": once, "w_mass": away == ak.min(away, axis=1)}
    best = {rule: ak.argmax(ak.where(which, total.pt, -1.0), axis=1, keepdims=True) for rule, which in kept.items()}
    return {rule: ak.to_numpy(ak.flatten(total.mass[place])) for rule, place in best.items()}


def ours(module: Any, events: Any, rule: str, variation: str, *thresholds: float) -> tuple[np.ndarray, np.ndarray]:
    """Region and observable of each event with exact cuts, from what `fill` yields."""
    selected = Selected(events)
    columns = {
        name: Ragged.from_awkward(column) if isinstance(column, ak.Array) else column
        for name, column in module.TTbar().columns(selected).items()
    }
    params = dict(zip(("jet_pt", "lepton_pt", "tag"), thresholds, strict=True))
    region, found = np.full(len(events), "none"), np.zeros(len(events))
    with soft.hard():
        fills = list(module.TTbar().fill({**params, "rule": np.array(module.RULES) == rule}, columns))
    for fill in fills:
        if fill.variation == variation:
            weight, x = (np.asarray(column.where(0.0)) for column in (fill.weight, fill.observable))
            assert set(np.unique(weight.sum(axis=1))) <= {0.0, 1.0}
            rows = np.flatnonzero(weight.sum(axis=1))
            assert (region[selected.kept[rows]] == "none").all()
            region[selected.kept[rows]] = fill.channel
            found[selected.kept[rows]] = (weight * x).sum(axis=1)[rows]
    return region, found


class Selected:
    """Events that note which of them are selected."""

    def __init__(self, events: Any) -> None:
        self._events = events
        self.metadata = events.metadata
        self.kept = np.arange(len(events))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)

    def __getitem__(self, where: Any) -> Any:
        self.kept = np.flatnonzero(ak.to_numpy(where))
        return self._events[where]


@pytest.mark.parametrize("thresholds", THRESHOLDS, ids=str)
def test_every_event_of_a_real_file_is_selected_as_by_hand(
    module: Any, real: tuple[Any, str], thresholds: tuple[float, ...]
) -> None:
    region, expected = by_hand(*real, thresholds)
    for rule in module.RULES:
        found, observable = ours(module, real[0], rule, "nominal", *thresholds)
        np.testing.assert_array_equal(found, region)
        np.testing.assert_allclose(observable, expected[rule], rtol=2e-5)


def test_jets_that_are_moved_are_selected_as_by_hand(module: Any, real: tuple[Any, str]) -> None:
    events, tag = real
    factors = {"pt_scale_up": 1.03, "pt_res_up": 1.0 + 0.05 * module.normal(events.event, events.Jet.pt)}
    for variation, factor in factors.items():
        region, expected = by_hand(events, tag, AGC, factor)
        found, observable = ours(module, events, "pt", variation, *AGC)
        np.testing.assert_array_equal(found, region)
        np.testing.assert_allclose(observable, expected["pt"], rtol=2e-5)


def test_real_files_hold_events_of_every_kind(module: Any, open_data: Path) -> None:
    """Else the tests above would say little."""
    if not (open_data / "nano").is_dir():
        pytest.skip("DIFFEA_DATA has no NanoAOD files")
    region, _ = by_hand(read(open_data / "nano" / "nano_tt_v12.root", "btagDeepFlavB"), "btagDeepFlavB", AGC)
    assert [(region == name).sum() for name in ("4j1b", "4j2b")] == [9, 30]
