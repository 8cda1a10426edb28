"""Notebooks run from top to bottom, on few events and steps; what each finds is checked in the notebook, or here."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

import diffea.notebook
from tests.docs.blocks import ROOT

NOTEBOOKS = {
    "docs/notebooks/own_processor.ipynb": ("EVENTS, STEPS = 200_000, 30", "EVENTS, STEPS = 6_000, 4"),
    "docs/notebooks/cluster.ipynb": ("EVENTS, STEPS = 100_000, 20", "EVENTS, STEPS = 6_000, 4"),
    "analyses/gaussian_blobs/gaussian_blobs.ipynb": ("POINTS, STEPS = 10_000, 40", "POINTS, STEPS = 300, 3"),
    "analyses/htautau/htautau.ipynb": ("STEPS, REPLICAS = 20, 100", "STEPS, REPLICAS = 3, 4"),
}
DATA = Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data"))


class Nowhere:
    """Takes what IPython would show."""

    def __init__(self, shown: Any, *, display_id: bool) -> None:
        self.update(shown)

    def update(self, shown: Any) -> None:
        assert "<progress" in shown._repr_html_()


def cells(name: str) -> list[dict[str, Any]]:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_holds_no_outputs(name: str) -> None:
    assert not any(cell.get("outputs") for cell in cells(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "htautau" in name and not (DATA / "htautau").is_dir():
        pytest.skip(f"DIFFEA_DATA has no htautau files, looked in {DATA}")
    monkeypatch.setenv("DIFFEA_DATA", str(DATA.resolve()))
    mpl.use("Agg")
    monkeypatch.setattr(diffea.notebook, "Live", functools.partial(diffea.notebook.Live, display=Nowhere))
    for beside in (ROOT / name).parent.glob("*.py"):
        (tmp_path / beside.name).write_bytes(beside.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "notebook"}
    many, few = NOTEBOOKS[name]
    sources = ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]
    assert sum(many in source for source in sources) == 1
    for source in sources:
        exec(compile(source.replace(many, few), name, "exec"), names)
    losses = [step.loss for step in names["result"].history]
    assert min(losses) < losses[0]
    assert f"in {len(losses)} steps" in names["result"]._repr_html_()
