"""diffea check: yields against NumPy, and each rule on an analysis that breaks it."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import hist
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from coffea.nanoevents import BaseSchema

import diffea.cli
from diffea import Analysis, DifferentiableProcessor, Fill, objectives, soft
from diffea.analysis import Variant
from diffea.check import findings, look
from diffea.cli import main

EVENTS = {"signal": 600, "bkg": 3000}
EDGES = [0.0, 1.0, 2.0, 4.0]
PARAMS = {"quality": 0.4, "unused": 1.0}
BOUNDS = {"quality": (0.0, 1.0), "unused": (0.0, 2.0)}


def columns(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(name))
    size = EVENTS[name]
    return {
        "x": rng.uniform(0, 4, size) if name == "bkg" else rng.normal(1.5, 0.3, size),
        "quality": rng.beta(*((2, 4) if name == "bkg" else (4, 2)), size),
        "spare": np.zeros(size),
    }


class Small(DifferentiableProcessor):
    """A mass and a cut on a quality."""

    channels = {"all": hist.axis.Variable(EDGES, name="x")}  # noqa: RUF012
    width, highest = 0.02, 4.0

    def columns(self, events):
        return {"x": np.minimum(events.x, self.highest), "quality": events.quality}

    def fill(self, params, columns):
        keep = soft.above(columns["quality"], params["quality"], width=self.width)
        yield Fill("all", columns["x"], 0.1 * keep, bandwidth=0.1)


def sample(name: str, *modifiers: dict) -> dict:
    return {"name": name, "data": name, "modifiers": list(modifiers)}


def spec(*modifiers: dict) -> dict:
    signal = sample("signal", {"name": "mu", "type": "normfactor", "data": None})
    return {"channels": [{"name": "all", "samples": [signal, sample("bkg", *modifiers)]}]}


STATISTICS = {"name": "mcstat", "type": "staterror", "data": "bkg"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in EVENTS:
        with uproot.recreate(folder / f"{name}.root") as file:
            file["Events"] = columns(name)
    return folder


def analysis(**changes: object) -> Analysis:
    variant = Variant(
        processor=Small(), spec=spec(STATISTICS), params=PARAMS, bounds=BOUNDS, objective=objectives.poi_uncertainty
    )
    return Analysis(
        name="small",
        title="A small analysis",
        fileset=lambda data: {name: {"files": {str(data / f"{name}.root"): "Events"}} for name in EVENTS},
        schemaclass=BaseSchema,
        chunksize=1000,
        variants={"": dataclasses.replace(variant, **changes)},
    )


def seen(data: Path, chunks: int = 99, **changes: object):
    changed = analysis(**changes)
    return look(changed, changed.variants[""], data, chunks)


def found(data: Path, **changes: object) -> dict[str, str]:
    texts: dict[str, str] = {}
    for finding in findings(seen(data, **changes)):
        texts[finding.place] = texts.get(finding.place, "") + f"{finding.level}: {finding.what}\n"
    return {place: text.rstrip() for place, text in texts.items()}


def test_yields_are_those_of_numpy(data: Path) -> None:
    whole, part = seen(data), seen(data, chunks=1)
    for name, events in EVENTS.items():
        x, quality, _ = columns(name).values()
        expected = 0.1 * np.histogram(x[quality > 0.4], EDGES)[0]
        np.testing.assert_allclose(whole.hard["all", name].values, expected, rtol=1e-12)
        first = min(events, 1000)
        expected = 0.1 * np.histogram(x[:first][quality[:first] > 0.4], EDGES)[0] * events / first
        np.testing.assert_allclose(part.hard["all", name].values, expected, rtol=1e-12)
        np.testing.assert_allclose(part.hard["all", name].variances, 0.1 * expected, rtol=1e-12)
    assert part.read == {"signal": 600, "bkg": 1000}
    assert part.entries == EVENTS
    assert part.branches == {"signal": ("quality", "x"), "bkg": ("quality", "x")}


def test_only_the_parameter_that_nothing_uses_is_found(data: Path) -> None:
    assert found(data) == {"unused": "doubt: no template changes with it where it starts"}


def test_an_objective_that_underflows(data: Path) -> None:
    objective = functools.partial(objectives.cls, poi_test=1e4)
    (first, *_) = findings(seen(data, objective=objective))
    assert (first.level, first.place) == ("stop", "objective")
    assert "log_cls" in first.remedy


def test_an_objective_that_fails_says_why(data: Path) -> None:
    text = found(data, objective=lambda bound: jnp.log(-1.0) + 0.0 * objectives.poi_uncertainty(bound))["objective"]
    assert text.startswith("stop: ")
    assert "nan" in text


def test_nothing_moves(data: Path) -> None:
    text = found(data, params={"quality": 0.4, "unused": 1.0}, processor=Fixed())["objective"]
    assert text.startswith("stop: ")
    assert "no parameter changes it" in text


class Fixed(Small):
    """Whose cut is not a parameter."""

    def fill(self, params, columns):
        yield from super().fill({"quality": 0.4 + 0.0 * params["quality"]}, columns)


def test_bounds(data: Path) -> None:
    assert found(data, bounds={"quality": (0.5, 1.0)})["bounds"].startswith("stop: ")
    assert found(data, bounds={"quality": (0.0, 1.0)})["unused"].startswith("doubt: ")


def test_signal_without_background_and_empty_templates(data: Path) -> None:
    text = found(data, processor=Vetoed())
    assert text["all/bkg"] == "doubt: no event of the first chunks passes the cuts at the start"
    assert text["all"].startswith("doubt: bins [0, 1, 2] have signal and no background")


class Vetoed(Small):
    """Without background where cuts are exact."""

    def columns(self, events):
        quality = np.asarray(events.quality)
        return {"x": events.x, "quality": np.minimum(quality, 0.399) if len(events) > 600 else quality}


def test_negative_bins(data: Path) -> None:
    text = found(data, processor=Negative())
    assert text["all/bkg"] == "doubt: bins [0, 1, 2] are negative with exact cuts"
    assert text["objective"].startswith("stop: ")


class Negative(Small):
    """With weights below zero."""

    def fill(self, params, columns):
        for fill in super().fill(params, columns):
            yield dataclasses.replace(fill, weight=-fill.weight)


def test_weights_that_normalise_nothing(data: Path) -> None:
    text = found(data, processor=Plain())
    assert {place: what for place, what in text.items() if "counts 1" in what}.keys() == {"all/signal", "all/bkg"}


class Plain(Small):
    """Whose events all count 1."""

    def fill(self, params, columns):
        for fill in super().fill(params, columns):
            yield dataclasses.replace(fill, weight=10.0 * fill.weight)


def test_few_simulated_events(data: Path) -> None:
    (poor,) = (
        one for one in findings(seen(data, params={**PARAMS, "quality": 0.8}, spec=spec())) if one.place == "all"
    )
    assert "Monte-Carlo error above 50%" in poor.what
    assert "`staterror`" in poor.remedy


def test_wide_cuts(data: Path) -> None:
    wide = Small()
    wide.width = 0.5
    assert "soft and hard templates differ" in found(data, processor=wide)["all"]


def test_the_command(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diffea.cli, "out_console", diffea.cli.Console(width=200))
    Path("small.py").write_text("from tests.test_check import analysis as make\nanalysis = make()")
    shown = CliRunner().invoke(main, ["check", "small.py", "--data", str(data)])
    assert shown.exit_code == 0, shown.output
    assert "doubt unused: no template changes with it" in shown.output
    assert "branches: quality, x" in shown.output
    expected = 0.1 * np.histogram(*[columns("signal")["x"][columns("signal")["quality"] > 0.4], EDGES])[0]
    assert " ".join(f"{value:.3g}" for value in expected) in " ".join(shown.output.split())
    told = json.loads(CliRunner().invoke(main, ["check", "small.py", "--data", str(data), "--json"]).stdout)["small"]
    assert told["entries"] == EVENTS
    np.testing.assert_allclose(told["yields"]["all/signal"]["bins"], expected)
    assert [finding["place"] for finding in told["findings"]] == ["unused"]
    assert [path.name for path in tmp_path.iterdir()] == ["small.py"]


def test_what_stops_a_run_is_an_exit_code(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [
        "import dataclasses, optax",
        "from tests.test_check import Fixed, analysis as make",
        "made = make(processor=Fixed(), optimizer=optax.adam(0.1), steps=3, limit=False)",
        "analysis = dataclasses.replace(made, replicas=0)",
    ]
    Path("fixed.py").write_text("\n".join(lines))
    shown = CliRunner().invoke(main, ["check", "fixed.py", "--data", str(data)])
    assert shown.exit_code == 1
    assert "stop objective" in shown.output
    ran = CliRunner().invoke(main, ["run", "fixed.py", "--data", str(data), "--out", "out"])
    assert ran.exit_code == 1
    assert "all gradients are exactly zero, and no step leads anywhere" in ran.output
    assert not Path("out/result.json").exists()
