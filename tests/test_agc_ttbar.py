"""analyses/agc_ttbar: every event of real NanoAOD files as awkward and coffea select it by hand, and its templates and gradients."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import jax
import numpy as np
import pytest
import scipy.stats
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from coffea.processor import IterativeExecutor, Runner

from diffea import Ragged, distribute, soft
from diffea.analysis import load_analysis
from diffea.errors import NotFiniteError

FOLDER = Path(__file__).parents[1] / "analyses" / "agc_ttbar"
# name, b tagger, events: coffea's file of 2015, in which no event has a top quark, and a newer one of tt̄, which has no CSVv2
FILES = {
    "nanoAOD_2015_CMS_Open_Data_ttbar.root": ("btagCSVV2", 200),
    "nano_tt_v12.root": ("btagDeepFlavB", 200),
}
AGC = (30.0, 30.0, 0.5)
THRESHOLDS = [AGC, (25.0, 25.0, 0.4), (38.5, 41.0, 0.85)]  # of jets, leptons, b tags


@pytest.fixture(scope="module")
def analysis() -> Any:
    return load_analysis(FOLDER)


@pytest.fixture(scope="module")
def module(analysis: Any) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield sys.modules[analysis.fileset.__module__]


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
    found = {
        rule: np.where(regions["4j1b"], np.asarray(ak.sum(jets.pt, axis=1), float), 0.0)
        for rule in ("pt", "one_tag", "w_mass")
    }
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
    return {rule: np.asarray(ak.flatten(total.mass[place]), float) for rule, place in best.items()}


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


def test_outcomes_of_an_event_are_a_power_of_four_in_all_tables(module: Any, real: tuple[Any, str]) -> None:
    """So that few programs are compiled, and what pads holds for no threshold."""
    columns = module.TTbar().columns(real[0])
    numbers = [ak.to_numpy(ak.num(column)) for column in columns.values() if isinstance(column, ak.Array)]
    assert len(numbers) == 33
    assert all((number == numbers[0]).all() for number in numbers)
    assert set(numbers[0]) <= {4, 16, 64}
    ranges = {name: column for name, column in columns.items() if name.endswith(("_low", "_high"))}
    for name, low in ranges.items():
        if name.endswith("_low") and isinstance(low, ak.Array):
            high = ranges[name.replace("_low", "_high")]
            assert ak.all((high > low) | ((high == 0) & (low == 0)))


def test_real_files_hold_events_of_every_kind(module: Any, open_data: Path) -> None:
    """Else the tests above would say little."""
    if not (open_data / "nano").is_dir():
        pytest.skip("DIFFEA_DATA has no NanoAOD files")
    region, _ = by_hand(read(open_data / "nano" / "nano_tt_v12.root", "btagDeepFlavB"), "btagDeepFlavB", AGC)
    assert [(region == name).sum() for name in ("4j1b", "4j2b")] == [9, 30]


@pytest.fixture(scope="module")
def made(module: Any, tmp_path_factory: Any) -> Path:
    """A generated data set: the branches, the processes and the list of files of the real ones."""
    from generate import PROCESSES, generate

    folder = tmp_path_factory.mktemp("agc")
    generate(folder, events=1_500)
    assert set(module.fileset(folder)) == {f"{name}__{variation}" for name, variation in PROCESSES}
    return folder


def some(module: Any, folder: Path, *names: str) -> dict[str, Any]:
    return {name: content for name, content in module.fileset(folder).items() if name in names}


def test_templates_are_the_histograms_of_a_plain_coffea_processor(module: Any, made: Path) -> None:
    """All variations of two datasets, at the AGC's thresholds."""
    from plain import PlainTTbar

    fileset = some(module, made, "ttbar__nominal", "ttbar__PS_var")
    NanoAODSchema.warn_missing_crossrefs = False
    run = Runner(executor=IterativeExecutor(status=False), schema=NanoAODSchema, chunksize=300)
    histograms = run(fileset, PlainTTbar(), treename="Events")
    with distribute(module.TTbar(), fileset) as templates:
        found = templates.hard(module.AGC)
        with pytest.raises(NotFiniteError):
            templates.hard({**module.AGC, "jet_pt": 23.9})
    assert {"/".join(key) for key in found} == set(histograms)
    for key, template in found.items():
        expected = histograms["/".join(key)]
        np.testing.assert_allclose(template.values, expected.values(), rtol=1e-6)
        np.testing.assert_allclose(template.variances, expected.variances(), rtol=1e-6)


def test_gradients_of_soft_templates_are_those_of_differences(module: Any, made: Path) -> None:
    params = {**module.AGC, "jet_pt": 31.0, "lepton_pt": 33.0, "tag": 0.55}
    with distribute(module.TTbar(), some(module, made, "ttbar__ME_var")) as templates:

        def total(values: Any) -> Any:
            made = templates(values)
            return sum((made[channel, "ttbar ME_var"].values ** 2).sum() for channel in module.TTbar.channels) ** 0.5

        gradient = jax.grad(total)(params)
        for name, place, by in (
            ("jet_pt", (), 1e-3),
            ("lepton_pt", (), 1e-3),
            ("tag", (), 1e-5),
            ("rule", (1,), 1e-4),
        ):
            step = np.zeros(np.shape(params[name]))
            step[place] = by
            up, down = (float(total({**params, name: params[name] + sign * step})) for sign in (1, -1))
            assert float(np.asarray(gradient[name])[place]) == pytest.approx((up - down) / (2 * by), rel=1e-4), name


def test_smearing_is_normal_and_depends_on_the_event_alone(module: Any) -> None:
    event, jets = np.arange(7_000, dtype=np.uint64), ak.unflatten(np.zeros(28_000), 4)
    numbers = module.normal(event, jets)
    flat = ak.to_numpy(ak.flatten(numbers))
    assert scipy.stats.kstest(flat, "norm").pvalue > 1e-3
    assert len(np.unique(flat)) == len(flat)
    assert ak.all(module.normal(event[5:9], jets[5:9]) == numbers[5:9])


def test_files_are_listed_as_the_agc_lists_them(module: Any, tmp_path: Path) -> None:
    files = [{"path": "https://server/a.root", "nevts": 300}, {"path": "b.root", "nevts": 100}]
    listed = {"wjets": {"nominal": {"nevts_total": 999, "files": files}}, "data": {"nominal": {"files": files}}}
    (tmp_path / "nanoaod_inputs.json").write_text(json.dumps(listed))
    ((name, content),) = module.fileset(tmp_path).items()
    assert name == "wjets__nominal"
    assert list(content["files"]) == ["https://server/a.root", str(tmp_path / "b.root")]
    assert content["metadata"] == {
        "sample": "wjets",
        "variation": "nominal",
        "scale": pytest.approx(61_457 * 0.252 * 3378 / 400),
    }


def test_the_model_has_the_agc_s_uncertainties(module: Any) -> None:
    model = module.THRESHOLDS.model
    of_ttbar = {
        name
        for channel in model.spec.channels
        for name, _ in channel.samples["ttbar"].modifiers
        if "mcstat" not in name
    }
    expected = {"ME_var", "PS_var", "ttbar_scale", "pt_scale", "pt_res", "luminosity", "ttbar_norm"}
    assert of_ttbar == expected | {f"btag_var_{i}" for i in range(4)}
    assert {sample for _, sample, _ in model.template_keys} == {
        *module.CROSS_SECTIONS, "ttbar scaleup", "ttbar scaledown", "ttbar ME_var", "ttbar PS_var",
    }  # fmt: skip
