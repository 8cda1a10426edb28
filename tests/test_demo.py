"""The demo from its data to its report: without a cluster, and on its own two workers."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyhf
import pytest
import uproot
from click.testing import CliRunner
from coffea.nanoevents import NanoEventsFactory

import diffea.cli
from diffea.bootstrap import with_error
from diffea.demo import analysis, make_data
from diffea.demo.data import SAMPLES
from diffea.demo.search import DemoSchema
from diffea.run import run_variant

EVENTS, STEPS = 16_000, 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    make_data(folder, events=EVENTS)
    return folder


def events(data: Path, sample: str, part: int = 0) -> Any:
    file = {str(data / f"{sample}_{part}.root"): "Events"}
    return NanoEventsFactory.from_root(file, schemaclass=DemoSchema, mode="virtual").events()


def test_data_are_nanoaod(data: Path) -> None:
    total = 0
    for sample in SAMPLES:
        parts = [events(data, sample, part) for part in (0, 1)]
        numbers = np.concatenate([read.event for read in parts])
        assert len(np.unique(numbers)) == len(numbers)
        total += len(numbers)
        for part, read in enumerate(parts):
            assert ak.all(ak.num(read.Jet) >= 2)
            assert ak.all(read.Jet.pt[:, :-1] >= read.Jet.pt[:, 1:])
            assert set(np.unique(ak.flatten(read.Muon.charge))) == {-1, 1}
            runs = uproot.open(data / f"{sample}_{part}.root")["Runs"]
            assert runs["genEventSumw"].array()[0] == ak.sum(read.genWeight)
    assert total == EVENTS


def test_signal_is_harder(data: Path) -> None:
    signal, ttbar, wjets = (events(data, sample) for sample in SAMPLES)
    assert ak.mean(signal.MET.pt) > ak.mean(ttbar.MET.pt) > ak.mean(wjets.MET.pt)
    assert ak.mean(ak.num(signal.Jet)) > ak.mean(ak.num(ttbar.Jet)) > ak.mean(ak.num(wjets.Jet))
    assert ak.mean(wjets.genWeight < 0) == pytest.approx(SAMPLES["wjets"].negative, abs=0.015)


def test_same_seed_same_events(tmp_path: Path) -> None:
    first, again, other = (
        uproot.open(make_data(tmp_path / str(i), events=200, seed=seed)[0])["Events"].arrays()
        for i, seed in enumerate((0, 0, 1))
    )
    assert ak.array_equal(first, again)
    assert not ak.array_equal(first.MET_pt, other.MET_pt)


@pytest.fixture(scope="module")
def on_two_workers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What `diffea demo` leaves and prints, with fewer events and steps."""
    out = tmp_path_factory.mktemp("on two workers") / "out"
    small = dataclasses.replace(
        analysis,
        default_data=functools.partial(make_data, events=EVENTS),
        variants={"": dataclasses.replace(analysis.variants[""], steps=STEPS)},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffea.cli, "demo_analysis", small)
        patch.setattr(diffea.cli, "out_console", diffea.cli.Console(width=120))
        result = CliRunner().invoke(diffea.cli.main, ["demo", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.mark.slow
def test_demo_leaves_a_whole_run(on_two_workers: tuple[Path, str]) -> None:
    out, printed = on_two_workers
    assert {path.name for path in out.iterdir()} == {
        "checkpoint", "data", "figures", "report.html", "result.json", "templates.json", "workspace.json",
    }  # fmt: skip
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["workers"] == 2
    assert len(result["history"]) == STEPS
    assert sum(sum(part.values()) for part in result["events"].values()) <= EVENTS
    assert result["after"]["soft"] < result["before"]["soft"]
    value = with_error(result["after"]["hard_test"], result["errors"]["after"]["hard_test"])
    assert "±" in value
    for expected in ("hard cuts, test", "expected 95 % CL limit", value, "report.html"):
        assert expected in printed


@pytest.mark.slow
def test_workspace_is_what_was_judged(on_two_workers: tuple[Path, str]) -> None:
    """pyhf, asked anew, agrees with result.json."""
    out, _ = on_two_workers
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    workspace = pyhf.Workspace(json.loads((out / "workspace.json").read_text(encoding="utf-8")))
    model = workspace.model()
    _, expected = pyhf.infer.hypotest(1.0, workspace.data(model), model, test_stat="qtilde", return_expected=True)
    assert float(expected) == pytest.approx(result["after"]["hard_test"], rel=1e-3)


@pytest.mark.slow
def test_in_process_is_the_same_to_the_last_digits(
    on_two_workers: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    cluster = json.loads((on_two_workers[0] / "result.json").read_text(encoding="utf-8"))
    alone = run_variant(analysis, "", data=data, out=tmp_path, steps=STEPS)
    for key in ("loss", "gradient_norm"):
        np.testing.assert_allclose(
            [step[key] for step in alone["history"]], [step[key] for step in cluster["history"]], rtol=1e-12
        )
    assert alone["params"]["after"] == pytest.approx(cluster["params"]["after"], rel=1e-12)
    assert alone["events"] == cluster["events"]
    for when in ("before", "after"):
        here, there = (found["selection"][when]["cutflow"]["tagged"] for found in (alone, cluster))
        assert len(here["cuts"]) == 6
        for sample, left in here["samples"].items():
            assert left["events"] == there["samples"][sample]["events"]
            assert left["yields"] == pytest.approx(there["samples"][sample]["yields"], rel=1e-9)
    assert alone["after"] == pytest.approx(cluster["after"], rel=1e-9)
