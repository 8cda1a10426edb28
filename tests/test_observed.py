"""Observed events: left alone until they are asked for, and what they then say."""

from __future__ import annotations

import dataclasses
import json
import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
import uproot
from click.testing import CliRunner

import diffea
from diffea import errors, report
from diffea.cli import main
from diffea.distributed import distribute
from diffea.judge import Judge
from diffea.run import run_variant, unblind_variant
from diffea.run.numbers import numbers, params_of
from tests.samples import PARAMS, QuietSchema, Search, write, write_fileset

FOLDS = diffea.Split(folds=2)


def spec():
    def sample(name, *modifiers):
        return {"name": name, "data": name, "modifiers": list(modifiers)}

    def channel(name):
        mu = {"name": "mu", "type": "normfactor", "data": None}
        norm = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
        return {"name": name, "samples": [sample("signal", mu), sample("bkg", norm)]}

    return {"channels": [channel("few"), channel("many")], "parameters": [{"name": "mu", "bounds": [[0, 10]]}]}


MODEL = diffea.HistFactory(spec())


def files(folder, weight=1.0, **metadata):
    """Simulation, and a file of observed events, which the file's seed makes others than the simulated ones."""
    path = folder / "seen.root"
    if not path.exists():
        write(path, 4000, 9, genWeight=np.full(4000, weight, np.float32))
    seen = {"files": {str(path): "Events"}, "metadata": {"sample": "seen", "is_data": True, **metadata}}
    return {**write_fileset(folder), "seen": seen}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    files(folder)
    return folder


@pytest.fixture(scope="module")
def fileset(folder):
    return files(folder)


def evaluated(fileset, params=PARAMS, **options):
    return diffea.evaluate(Search(), fileset, params, MODEL, schemaclass=QuietSchema, **options)


@pytest.fixture(scope="module")
def final(fileset):
    return evaluated(fileset, observed=True)


def counted(folder, params=PARAMS):
    """The observed events that pass the cuts, by hand."""
    events = uproot.open(folder / "seen.root")["Events"].arrays()
    met = np.asarray(events["MET_pt"], float)
    many = np.array([sum(pt > params["jet_pt"] for pt in jets) >= 2 for jets in events["Jet_pt"].to_list()])
    kept, x = met > params["mt"], met + params["shift"]
    inside = x < 160.0
    return {
        "few": np.histogram(x[kept & ~many & inside], np.linspace(0, 160, 9))[0],
        "many": np.histogram(x[kept & many & (x < 120)], [0, 20, 50, 120])[0],
    }


def test_observed_events_are_left_alone_until_they_are_asked_for(fileset, folder) -> None:
    path = folder / "seen.root"
    hidden = {**fileset, "seen": {**fileset["seen"], "files": {str(path.with_name("gone.root")): "Events"}}}
    blinded = evaluated(hidden)
    assert blinded.observed is None
    assert "seen" not in blinded.events
    with distribute(Search(), hidden, schemaclass=QuietSchema) as templates:
        assert not any(key[1] == "seen" for key in templates.hard(PARAMS))
    with pytest.raises(errors.FileReadError, match="gone"):
        evaluated(hidden, observed=True)


def test_observed_events_are_counted_once_each(final, folder) -> None:
    for channel, expected in counted(folder).items():
        np.testing.assert_array_equal(final.observed.observations[channel], expected)
    assert final.observed.events == {"seen": 4000}


def test_a_split_scales_no_observed_event(fileset, final) -> None:
    halves = evaluated(fileset, observed=True, split=diffea.Split())
    folds = evaluated(fileset, [PARAMS, PARAMS], observed=True, split=FOLDS)
    for other in (halves, folds):
        for channel, seen in final.observed.observations.items():
            np.testing.assert_array_equal(other.observed.observations[channel], seen)


def test_each_observed_event_is_judged_by_the_parameters_of_its_fold(fileset, folder) -> None:
    other = {**PARAMS, "mt": 60.0}
    mixed = evaluated(fileset, [PARAMS, other], observed=True, split=FOLDS).observed.observations
    events = uproot.open(folder / "seen.root")["Events"].arrays(["run", "luminosityBlock", "event"], library="np")
    second = FOLDS.without(1).of("fold").mask(tuple(events[name] for name in ("run", "luminosityBlock", "event")))
    total = dict.fromkeys(mixed, 0)
    whole = uproot.open(folder / "seen.root")["Events"].arrays()
    for kept, params in ((~second, PARAMS), (second, other)):
        part = whole[kept]
        met = np.asarray(part["MET_pt"], float)
        many = np.array([sum(pt > params["jet_pt"] for pt in jets) >= 2 for jets in part["Jet_pt"].to_list()])
        x = met + params["shift"]
        total["few"] += np.sum((met > params["mt"]) & ~many & (x < 160))
        total["many"] += np.sum((met > params["mt"]) & many & (x < 120))
    assert {channel: bins.sum() for channel, bins in mixed.items()} == total


def test_observed_results_are_pyhfs(final) -> None:
    seen = final.observed
    workspace = pyhf.Workspace(seen.workspace())
    model = workspace.model()
    data = workspace.data(model)
    observed, _ = pyhf.infer.hypotest(seen.limit, data, model, test_stat="qtilde", return_expected_set=True)
    assert float(observed) == pytest.approx(0.05, rel=5e-3)
    assert seen.cls == pytest.approx(float(pyhf.infer.hypotest(1.0, data, model, test_stat="qtilde")), abs=1e-5)
    for place, limit in list(enumerate(seen.band))[1::2]:
        expected = pyhf.infer.hypotest(limit, data, model, test_stat="qtilde", return_expected_set=True)[1][place]
        assert float(expected) == pytest.approx(0.05, rel=0.02)
    assert seen.expected == seen.band[2]
    pars = pyhf.infer.mle.fit(data, model)
    np.testing.assert_allclose([seen.best_fit[name][0] for name in model.config.par_names], pars, atol=2e-2)
    assert 0 < seen.goodness_of_fit.p_value < 1
    np.testing.assert_allclose(np.asarray(seen.postfit.data), data[: model.config.nmaindata])


def test_a_judge_that_finds_other_cls_at_the_limit_is_not_believed(final, monkeypatch) -> None:
    monkeypatch.setattr(Judge, "observed_cls", lambda *_: 0.2)
    with pytest.raises(errors.JudgementError, match=r"CLs = 0\.05 at diffea's observed limit"):
        _ = dataclasses.replace(final.observed).limit


def test_marks_that_are_wrong_are_named(folder, tmp_path) -> None:
    with pytest.raises(errors.ObservationError, match="none of the datasets signal, background is marked as data"):
        evaluated(write_fileset(folder), observed=True)
    with pytest.raises(errors.FilesetError, match=r"'is_data'.* True or False, got 'yes'"):
        evaluated(files(folder, is_data="yes"))
    with pytest.raises(errors.FilesetError, match=r"marked as data .*nothing to train on"):
        evaluated({"seen": files(folder)["seen"]})
    with pytest.raises(
        errors.ObservationError, match="'bkg' is a template of the model and comes from the dataset 'seen'"
    ):
        evaluated(files(folder, sample="bkg"))
    twice = files(folder)
    twice["again"] = {**twice["seen"], "metadata": {"sample": "others", "is_data": True}}
    with pytest.raises(errors.FilesetError, match="the observations would count the events of 'Events' twice"):
        evaluated(twice, observed=True)
    with pytest.raises(errors.ObservationError, match="those of 'seen' have weights"):
        evaluated(files(tmp_path, weight=0.5), observed=True)


def test_a_simulation_that_is_marked_is_named_before_anything_is_read(tmp_path) -> None:
    def missing(_):
        names = {"signal": {}, "bkg": {"is_data": True}}
        return {
            name: {"files": {str(tmp_path / "gone.root"): "Events"}, "metadata": given} for name, given in names.items()
        }

    wrong = dataclasses.replace(analysis(), fileset=missing)
    with pytest.raises(errors.ObservationError, match=r"the dataset 'bkg', which is marked as data: is it simulated\?"):
        run_variant(wrong, "", data=tmp_path, out=tmp_path)


@pytest.mark.parametrize("split", [None, diffea.Split(), FOLDS])
def test_observed_events_without_their_mark_are_warned_of(folder, tmp_path, split) -> None:
    params = [PARAMS, PARAMS] if split is FOLDS else PARAMS
    forgotten = files(folder, is_data=False)
    with pytest.warns(errors.UnmarkedDataWarning, match="the events of 'seen' count 1 each"):
        evaluated(forgotten, params, split=split)
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.UnmarkedDataWarning)
        evaluated(files(folder), params, split=split)
        evaluated(files(tmp_path, weight=0.5, is_data=False), params, split=split)  # another signal, say


@pytest.mark.parametrize("split", [None, FOLDS])
def test_no_observed_event_at_all_is_an_observation(fileset, tmp_path, split) -> None:
    write(tmp_path / "none.root", 0, 1)
    empty = {**fileset, "seen": {"files": {str(tmp_path / "none.root"): "Events"}, "metadata": {"is_data": True}}}
    seen = evaluated(empty, PARAMS if split is None else [PARAMS, PARAMS], split=split, observed=True).observed
    assert {channel: bins.tolist() for channel, bins in seen.observations.items()} == {
        "few": [0.0] * 8,
        "many": [0.0] * 3,
    }
    assert seen.events == {"seen": 0}


def test_observed_events_that_are_there_twice_are_named(fileset, tmp_path) -> None:
    write(
        tmp_path / "twice.root", 100, 1, genWeight=np.ones(100, np.float32), event=np.arange(100, dtype=np.uint64) // 2
    )
    twice = {"files": {str(tmp_path / "twice.root"): "Events"}, "metadata": {"is_data": True}}
    with pytest.raises(errors.ObservationError, match=r"dataset 'seen': 50\.0% of the observed events .* count twice"):
        evaluated({**fileset, "seen": twice}, observed=True)


class NotInMany(Search):
    """Looks at observed events in one channel only."""

    def columns(self, events):
        return {**super().columns(events), "seen": events.metadata["dataset"] == "seen"}

    def fill(self, params, columns):
        yield from (fill for fill in super().fill(params, columns) if not columns["seen"] or fill.channel == "few")


def test_a_channel_without_observations_is_named(fileset) -> None:
    with pytest.raises(errors.ObservationError, match=r"\['many'\]"):
        diffea.evaluate(NotInMany(), fileset, PARAMS, MODEL, schemaclass=QuietSchema, observed=True)


def total(bound):
    return jnp.sum(bound.expected_data(jnp.asarray(bound.config.suggested_init())))


def analysis(split=FOLDS, **changes):
    given = {
        "processor": Search(),
        "spec": spec(),
        "params": PARAMS,
        "objective": total,
        "bounds": {"mt": (10.0, 90.0), "jet_pt": (20.0, 60.0), "shift": (0.0, 1.0)},
        "optimizer": "l-bfgs-b",
        "limit": False,
        "steps": 2,
    }
    variant = diffea.Variant(**{**given, **changes})
    return diffea.Analysis(
        name="few", title="a search", fileset=files, variants={"": variant}, schemaclass=QuietSchema, split=split, replicas=0
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:in the channel")
def test_a_run_is_unblinded_at_its_own_parameters(folder, tmp_path) -> None:
    with pytest.raises(errors.UnblindError, match="run it first"):
        unblind_variant(analysis(), "", data=folder, out=tmp_path)
    blinded = run_variant(analysis(), "", data=folder, out=tmp_path)
    assert blinded["observed"] is None
    result = unblind_variant(analysis(), "", data=folder, out=tmp_path)
    assert result == json.loads((tmp_path / "result.json").read_text())
    seen = result.pop("observed")
    assert {**result, "observed": None} == blinded
    assert seen["params"] == [fold["params"] for fold in blinded["folds"]]
    assert len(seen["commit"].rstrip("+")) == 40
    params = [params_of(fold["params"], PARAMS) for fold in blinded["folds"]]
    final = evaluated(files(folder), params, split=FOLDS, observed=True)
    assert seen["limit"] == final.observed.limit
    assert seen["observations"] == {channel: bins.tolist() for channel, bins in final.observed.observations.items()}
    workspace = pyhf.Workspace(json.loads((tmp_path / "workspace-observed.json").read_text()))
    assert sum(workspace.data(workspace.model(), include_auxdata=False)) == sum(map(sum, seen["observations"].values()))
    assert json.loads((tmp_path / "workspace.json").read_text())["observations"] != workspace["observations"]
    page = report.write(tmp_path, ("svg",)).read_text()
    assert "<h2>Observed</h2>" in page
    assert seen["when"] in page

    changed = analysis(params={**PARAMS, "mt": 20.0})
    with pytest.raises(errors.UnblindError, match=r"changed since.*--force"):
        unblind_variant(changed, "", data=folder, out=tmp_path)
    forced = unblind_variant(changed, "", data=folder, out=tmp_path, force=True)
    assert forced["observed"]["forced"] is True
    assert [(look["when"], look["forced"]) for look in forced["unblinded"]] == [(seen["when"], False)]
    with pytest.warns(errors.UnblindedWarning, match="changed after observed events were looked at"):
        later = run_variant(analysis(steps=0), "", data=folder, out=tmp_path)
    assert later["observed"] is None
    assert [look["forced"] for look in later["unblinded"]] == [False, True]
    assert later["unblinded"][0]["params"] == seen["params"]


@pytest.mark.filterwarnings("ignore:in the channel")
def test_other_simulated_events_than_those_of_the_run_are_refused(tmp_path) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    data.mkdir()
    halves = analysis(diffea.Split(), steps=0)
    run_variant(halves, "", data=data, out=out)
    moved = dataclasses.replace(
        halves, fileset=lambda folder: {name: content for name, content in files(folder).items() if name != "extra"} | {
            "more": {"files": {str(folder / "seen.root"): "Events"}, "metadata": {"sample": "bkg"}}
        }
    )  # fmt: skip
    with pytest.raises(errors.UnblindError, match="not those that the run"):
        unblind_variant(moved, "", data=data, out=out)


ANALYSIS = """
from tests.test_observed import analysis as made
analysis = made(steps=0)
"""


@pytest.mark.filterwarnings("ignore:in the channel")
def test_the_command_line_looks_at_observed_events_on_request(folder, tmp_path) -> None:
    place = tmp_path / "analysis.py"
    place.write_text(ANALYSIS)
    command = ["run", str(place), "--data", str(folder), "--out", str(tmp_path / "out")]
    blinded = CliRunner().invoke(main, command)
    assert blinded.exit_code == 0, blinded.output
    assert "observed" not in blinded.output
    seen = CliRunner().invoke(main, [*command, "--unblind"])
    assert seen.exit_code == 0, seen.output
    assert "observed 95 % CL limit" in seen.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["observed"]["limit"] > 0
    assert "--force is for --unblind" in CliRunner().invoke(main, [*command, "--force"]).output


def test_parameters_come_back_from_their_json_values() -> None:
    params = {"b": 1.5, "a": [np.arange(3.0), (2.0, {"c": np.ones((2, 2))})]}
    back = params_of(json.loads(json.dumps(numbers(params))), params)
    assert isinstance(back["a"][1], tuple)
    np.testing.assert_array_equal(back["a"][0], params["a"][0])
    np.testing.assert_array_equal(back["a"][1][1]["c"], params["a"][1][1]["c"])
    with pytest.raises(ValueError, match="expected the shape"):
        params_of({"x": [1.0, 2.0]}, {"x": 1.0})


class Cuts(NamedTuple):
    """Parameters in a form of the user's own."""

    mt: float
    edges: np.ndarray


def test_named_tuples_come_back_by_the_names_of_their_fields() -> None:
    params = {"cuts": Cuts(40.0, np.array([1.0, 2.0])), "others": [Cuts(1.0, np.ones(1))]}
    stored = json.loads(json.dumps(numbers(params)))
    assert stored["cuts"] == {"mt": 40.0, "edges": [1.0, 2.0]}
    assert numbers(Cuts((0.0, 80.0), None)) == {"mt": [0.0, 80.0], "edges": None}
    back = params_of(stored, params)
    assert isinstance(back["cuts"], Cuts)
    assert isinstance(back["others"][0], Cuts)
    assert back["cuts"].mt == 40.0
    np.testing.assert_array_equal(back["cuts"].edges, params["cuts"].edges)
