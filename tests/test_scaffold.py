"""diffea new: what it writes from unseen files loads, is checked, runs, and passes its own test."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner, Result

from diffea.analysis import load_analysis
from diffea.check import findings, look
from diffea.cli import main
from diffea.scaffold import survey
from tests.samples import write


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signal at a mass of 5 with hard jets, a background, collision data, and columns that say nothing."""
    folder = tmp_path_factory.mktemp("flat")
    for seed, (name, events) in enumerate([("background", 4000), ("my_signal", 800), ("Run2018A", 50)]):
        rng = np.random.default_rng(seed)
        signal = name == "my_signal"
        jets = rng.poisson(3, events)
        with uproot.recreate(folder / f"{name}.root") as file:
            file["tree"] = {
                "mass": rng.normal(5.0, 0.3, events) if signal else rng.uniform(0, 10, events),
                "isolation": rng.exponential(0.05 if signal else 0.2, events),
                "noise": rng.normal(size=events),
                "constant": np.ones(events),
                "event": np.arange(events) + 10_000 * seed,
                "eventWeight": np.full(events, 0.5),
                "jet_pt": ak.unflatten(rng.exponential(60 if signal else 30, jets.sum()), jets),
            }
    return folder


def test_a_survey_finds_what_tells_signal_from_background(flat: Path) -> None:
    found = survey(flat)
    assert [(sample.name, sample.entries, sample.signal) for sample in found.samples] == [
        ("background", 4000, False),
        ("my_signal", 800, True),
    ]
    assert found.data == ("Run2018A.root",)
    assert {sample.name for sample in survey(flat, signal="Run2018A").samples if sample.signal} == {"Run2018A"}
    assert found.weight == "eventWeight"
    cuts = {cut.name: cut for cut in found.cuts}
    assert {found.observable, *cuts} >= {"mass", "isolation", "max_jet_pt"}
    assert cuts["max_jet_pt"].side == "above" if "max_jet_pt" in cuts else cuts["isolation"].side == "below"
    assert all(cut.low <= cut.start <= cut.high and cut.width > 0 for cut in found.cuts)
    assert "constant" not in {found.observable, *cuts}


def test_from_new_to_a_result(flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = call("new", "mine", "--data", flat)
    assert written.exit_code == 0, written.output
    assert "signal: my_signal" in written.output
    assert sorted(path.name for path in Path("mine").iterdir()) == [
        "README.md", "analysis.py", "samples.json", "test_mine.py",
    ]  # fmt: skip
    analysis = load_analysis(Path("mine"))
    seen = look(analysis, analysis.variants[""], flat)
    assert not [finding for finding in findings(seen) if finding.level == "stop"]
    own = subprocess.run([sys.executable, "-m", "pytest", "mine", "-q"], capture_output=True, text=True, check=False)
    assert own.returncode == 0, own.stdout
    ran = call("run", "mine", "--data", flat, "--steps", 2)
    assert ran.exit_code == 0, ran.output
    result = json.loads(Path("diffea-mine/result.json").read_text())
    assert result["after"]["soft"] is not None
    assert len(result["folds"]) == 2
    assert result["events"]["test"] == {"background": 4000, "my_signal": 800}
    assert "is not empty" in call("new", "mine", "--data", flat).output
    assert call("compare", "diffea-mine").exit_code == 0
    for to in ("pyhf", "coffea"):
        exported = call("export", "diffea-mine", "--to", to, "--analysis", "mine")
        assert exported.exit_code == 0, exported.output
    plain = Path("diffea-mine/export/coffea/processor.py").read_text()
    assert "hard_above(" in plain
    assert not re.search(r"import (diffea|jax)|from (diffea|jax)", plain)


def test_yields_of_a_draft_are_normalised(flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call("new", "scaled", "--data", flat)
    samples = json.loads(Path("scaled/samples.json").read_text())
    samples["samples"]["background"]["cross_section"] = 3.0
    Path("scaled/samples.json").write_text(json.dumps(samples))
    analysis = load_analysis(Path("scaled"))
    loose = {name: (high if name == "isolation" else low) for name, (low, high) in analysis.variants[""].bounds.items()}
    with uproot.open(flat / "background.root") as file:
        events = file["tree"].arrays()
    keep = np.ones(len(events), bool)
    columns = {"mass": events.mass, "isolation": events.isolation}
    columns["max_jet_pt"] = ak.fill_none(ak.max(events.jet_pt, axis=1), 0.0)
    columns["noise"] = events.noise
    for cut in survey(flat).cuts:
        column = np.asarray(columns[cut.name])
        keep &= column > loose[cut.name] if cut.side == "above" else column < loose[cut.name]
    from diffea import distribute

    with distribute(analysis.variants[""].processor, analysis.fileset(flat), schemaclass=analysis.schemaclass) as held:
        found = held.hard(loose)["signal_region", "background"]
    assert float(np.sum(found.flow_values)) == pytest.approx(1000.0 * 3.0 / 4000 * 0.5 * keep.sum(), rel=1e-12)


def test_a_draft_for_nanoaod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    for seed, name in enumerate(["sig", "bkg"]):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(1.0, 500)
        muons = {
            "pt": 5 + rng.exponential(30.0, counts.sum()),
            **dict.fromkeys(("eta", "phi", "mass", "charge"), np.zeros(counts.sum())),
        }
        muons = ak.zip({field: ak.unflatten(values, counts) for field, values in muons.items()})
        write(tmp_path / "files" / f"{name}.root", 500, seed, Muon=muons)
    assert call("new", "drafted", "--from", "nanoaod", "--data", "files").exit_code == 0
    analysis = load_analysis(Path("drafted"))
    seen = look(analysis, analysis.variants[""], Path("files"))
    assert not [finding for finding in findings(seen) if finding.level == "stop"]
    assert {"Jet_pt", "Muon_pt", "MET_pt", "genWeight"} <= set(seen.branches["sig"])


@pytest.mark.slow
def test_a_draft_of_very_few_events_ends_in_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two signal events, one a fold, have a weight: many replicas have no signal at all."""
    monkeypatch.chdir(tmp_path)
    Path("files").mkdir()
    for seed, (name, events) in enumerate([("background", 100), ("signal", 20)]):
        rng = np.random.default_rng(seed)
        with uproot.recreate(Path("files") / f"{name}.root") as file:
            file["tree"] = {
                "mass": rng.normal(5.0, 2.0 - seed, events),
                "score": rng.uniform(0.3 * seed, 1.0, events),
                "weight": np.ones(events) if name == "background" else np.isin(np.arange(events), [4, 5]).astype(float),
                "run": np.full(events, seed),
                "luminosityBlock": np.ones(events, int),
                "event": np.arange(events),
            }
    assert call("new", "few", "--data", "files").exit_code == 0
    ran = call("run", "few", "--data", "files", "--steps", 2)
    assert ran.exit_code == 0, ran.output
    result = json.loads(Path("diffea-few/result.json").read_text())
    assert result["verdict"].startswith("doubtful because it could not be judged whether events not trained on gained")
    assert result["trust"]["improvement"] is None
    assert "replicas have no such number" in result["not_judged"]["after"]["limit_error"]


def test_what_cannot_be_drafted_is_said(flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "expected ROOT files of a signal and of a background" in call("new", "a", "--data", "empty").output
    assert "--signal names one of the files background, my_signal, got 'other'" in call(
        "new", "a", "--data", flat, "--signal", "other"
    ).output.replace("\n", " ")
    assert "small letters" in call("new", "Not-A-Name", "--data", flat).output
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
