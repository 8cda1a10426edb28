"""analyses/end_to_end: its notebook runs from top to bottom, on few events and steps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "analyses" / "end_to_end"
NOTEBOOK = json.loads((FOLDER / "notebook.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_holds_no_outputs() -> None:
    assert not any(cell.get("outputs") for cell in NOTEBOOK["cells"])


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    for name, value in {"": str(FOLDER), "_EVENTS": "12_000", "_MORE": "--steps 2"}.items():
        monkeypatch.setenv(f"END_TO_END{name}", value)
    names: dict = {"__name__": "notebook"}
    for cell in CELLS:
        exec(compile(cell, "notebook.ipynb", "exec"), names)
    raw, columns = names["raw"], names["columns"]
    single = np.array([len(muons) == 1 for muons in raw.Muon.pt])
    analysis = names["analysis"]
    assert len(columns["weight"]) == single.sum()
    pt = np.asarray(raw.Muon.pt[single][:, 0])
    factor = np.where(pt < 30, 0.96, np.where(pt < 60, 0.98, 0.99))
    metadata = names["blinded"]["ttbar"]["metadata"]
    plain = np.asarray(raw.genWeight[single] * raw.puWeight[single], float) * 9000.0 / metadata["sumw"]
    np.testing.assert_allclose(np.asarray(columns["weight"]), plain * factor, rtol=1e-5)
    assert float(names["gradient"]["met"]) == pytest.approx(names["by_difference"], rel=1e-3)
    assert names["cls"] == pytest.approx(names["final"].cls, rel=1e-6)
    assert len(names["params"]) == 2
    observed = names["final"].observed.workspace()["observations"][0]["data"]
    assert sum(observed) == int(sum(observed)) > 100
    assert analysis.split.folds == 2
    same, of = map(int, re.search(r"(\d+) of (\d+)", names["ran"].stdout).groups())
    assert of - same <= 6
