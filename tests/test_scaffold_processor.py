"""diffea new --from processor: the draft loads, names what remains, and when that is done fills what the processor filled."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from coffea.processor import IterativeExecutor, Runner

import diffea
from diffea.analysis import load_analysis
from diffea.cli import main
from diffea.demo import DemoSchema, make_data
from diffea.errors import AnalysisError
from diffea.scaffold import read_processor

HELPER = """
import numpy as np

def transverse_mass(muon, met):
    return np.sqrt(2 * muon.pt * met.pt * (1 - np.cos(muon.delta_phi(met))))
"""

PROCESSOR = """
import os  # which the class does not use
import awkward as ak
import hist
from coffea import processor

from .helper import transverse_mass

JETS = 3
UNUSED = os.sep


def effective(muon, events):
    return muon.pt + events.MET.pt + ak.sum(events.Jet.pt, axis=1)


class Old(processor.ProcessorABC):
    "Fills one histogram."

    def __init__(self, tree="Events"):
        self.tree = tree

    def weights(self, events):
        return events.genWeight * events.metadata["scale"]

    def process(self, chunk):
        chunk = chunk[ak.num(chunk.Muon) == 1]
        muon = chunk.Muon[:, 0]
        mt = transverse_mass(muon, chunk.MET)
        jets = ak.sum(chunk.Jet.pt > 30.0, axis=1)  # a comment that stays
        keep = (50.0 < chunk.MET.pt) & (mt > 30.0) & (jets >= JETS)
        m_eff, weight = effective(muon, chunk), self.weights(chunk)
        filled = hist.Hist(hist.axis.Variable([400, 600, 750, 900, 1500], name="m_eff"), storage="weight")
        filled.fill(m_eff[keep], weight=weight[keep])
        return {chunk.metadata["dataset"]: filled}

    def postprocess(self, accumulator):
        return accumulator


class Other(processor.ProcessorABC):
    def __init__(self, cut):
        self.cut = cut

    def process(self, events):
        return {"n": ak.sum(events.MET.pt > self.cut)}

    def postprocess(self, accumulator):
        return accumulator


class Heir(Old):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "old_code").mkdir()
    for name, text in {"__init__": "", "helper": HELPER, "search": PROCESSOR}.items():
        (tmp_path / "old_code" / f"{name}.py").write_text(text, encoding="utf-8")
    for name in [name for name in sys.modules if name.split(".")[0] == "old_code"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_a_draft_that_is_done_fills_what_the_processor_filled(folder: Path) -> None:
    make_data(folder / "data", events=2000)
    drafted = call("new", "mine", "--from", "processor", "old_code.search:Old", "--data", "data")
    assert drafted.exit_code == 0, drafted.output
    assert "columns: one number an event or object" in drafted.output
    assert "how many objects are needed of Jet_pt" in drafted.output
    path = folder / "mine" / "analysis.py"
    text = path.read_text(encoding="utf-8")
    assert "# a comment that stays" in text
    assert "from old_code.helper import transverse_mass" in text
    assert "import os" not in text

    with pytest.raises(AnalysisError, match=r"mine is a first draft(.|\n)*samples.json: (.|\n)*columns: (.|\n)*fill: "):
        load_analysis(folder / "mine").fileset(folder / "data")
    refused = call("check", "mine", "--data", "data")
    assert refused.exit_code == 1
    assert "fill: one soft cut for each number" in refused.output

    begin, end = text.index("TO_DO = {"), text.index("}\nSAMPLES")
    done = text[:begin] + "TO_DO = {" + text[end:]
    path.write_text(done.replace("soft.at_least(1, ", "soft.at_least(3, "), encoding="utf-8")
    samples = json.loads((folder / "mine" / "samples.json").read_text())
    samples["samples"]["wjets_0"]["cross_section"] = 2.0
    (folder / "mine" / "samples.json").write_text(json.dumps(samples))
    analysis = load_analysis(folder / "mine")
    variant, fileset = analysis.variants[""], analysis.fileset(folder / "data")
    assert variant.params == {"Jet_pt": 30.0, "MET_pt": 50.0, "mt": 30.0}
    old = importlib.import_module("old_code.search").Old()
    filled = Runner(IterativeExecutor(status=False), schema=DemoSchema)(fileset, old)
    with diffea.distribute(variant.processor, fileset, schemaclass=DemoSchema) as templates:
        new = templates.hard(variant.params)
    for name in fileset:
        np.testing.assert_allclose(new["m_eff", name].values, filled[name].values(), rtol=1e-9)
    assert float(np.sum(new["m_eff", "ttbar_0"].values)) > 0
    assert variant.model(new).config.poi_name == "mu"


def test_what_is_read_of_a_processor(folder: Path) -> None:
    found = read_processor("old_code.search:Old")
    assert [(cut.name, cut.side, cut.value, cut.objects) for cut in found.thresholds] == [
        ("Jet_pt", "above", 30.0, True),
        ("MET_pt", "above", 50.0, False),
        ("mt", "above", 30.0, False),
    ]
    lines = PROCESSOR.splitlines()
    assert ["> 30.0, axis" in lines[found.thresholds[0].line - 1], "50.0 <" in lines[found.thresholds[1].line - 1]] == [
        True,
        True,
    ]
    assert found.observables == {"m_eff": "m_eff"}
    assert found.weight == "weight"
    assert found.events == "chunk"


def test_what_cannot_be_read_is_left_to_be_done(folder: Path) -> None:
    drafted = call("new", "other", "--from", "processor", "old_code.search:Other")
    assert drafted.exit_code == 0, drafted.output
    for said in (
        "channels: the axes",
        "no comparison with a number was found",
        "__init__: left out, as it needs cut",
        "not found in the text: observable, weight",
    ):
        assert said in drafted.output
    assert load_analysis(folder / "other").variants[""].params == {}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("old_code.search", "is named as my_module:MyProcessor, got 'old_code.search'"),
        ("old_code.nothing:Old", "old_code.nothing cannot be imported"),
        ("old_code.search:New", "has no class New; classes with a `process` in it: Old, Other, Heir"),
        ("old_code.search:Heir", "defines no `process"),
        ("old_code.search:JETS", "has no class JETS"),
    ],
)
def test_what_is_no_processor_is_said(folder: Path, place: str, message: str) -> None:
    result = call("new", "mine", "--from", "processor", place)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")
    assert not (folder / "mine").exists()


def test_a_processor_and_its_option_go_together(folder: Path) -> None:
    assert "--from processor is followed by its place" in call("new", "mine", "--from", "processor").output
    assert "--from processor is followed by its place" in call("new", "mine", "old_code.search:Old").output
    assert "--data DIR is missing" in call("new", "mine").output
