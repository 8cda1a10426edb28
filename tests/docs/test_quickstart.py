"""The notebook that Binder opens runs from top to bottom, on few events and steps of the demo."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import matplotlib as mpl
import pytest

import diffea.notebook
from diffea import demo
from tests.docs.blocks import ROOT
from tests.docs.test_notebooks import Nowhere

NOTEBOOK = json.loads((ROOT / "binder" / "demo.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_holds_no_outputs() -> None:
    assert not any(cell.get("outputs") for cell in NOTEBOOK["cells"])


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    few = {"": dataclasses.replace(demo.analysis.variants[""], steps=2)}
    monkeypatch.setattr(demo, "analysis", dataclasses.replace(demo.analysis, variants=few))
    monkeypatch.setattr(diffea.notebook, "Live", functools.partial(diffea.notebook.Live, display=Nowhere))
    monkeypatch.setattr(demo, "make_data", functools.partial(demo.make_data, events=16_000))
    names: dict = {"__name__": "notebook"}
    for cell in CELLS:
        exec(compile(cell, "demo.ipynb", "exec"), names)
    assert names["result"].history[-1].loss < float(names["value"])
    assert names["after"].cls > 0
    assert all("<table" in names[shown]._repr_html_() for shown in ("templates", "result", "after"))
