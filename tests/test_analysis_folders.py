"""What an analysis imports from its own folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from diffea.analysis import load_analysis
from diffea.errors import AnalysisError

TEXT = """
import hist
from helper_here import PLACE
from diffea import Analysis, DifferentiableProcessor, Fill, Variant

class Search(DifferentiableProcessor):
    channels = {"all": hist.axis.Regular(2, 0, 1, name="x")}
    def columns(self, events):
        return {"x": events.x}
    def fill(self, params, columns):
        yield Fill("all", columns["x"] * PLACE)

variant = Variant(processor=Search(), spec={"channels": []}, params={"cut": PLACE}, objective=lambda bound: 0.0)
analysis = Analysis(name="toy", title="toy", fileset=lambda data: {}, variants={"": variant})
"""


def write(folder: Path, place: float) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "analysis.py").write_text(TEXT)
    (folder / "helper_here.py").write_text(f"PLACE = {place}\n")
    return folder


def cut(folder: Path) -> float:
    return load_analysis(folder).variants[""].params["cut"]


def test_each_has_its_own_files_as_they_are_now(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", 1.0), write(tmp_path / "second", 2.5)
    path = list(sys.path)
    assert [cut(first), cut(second), cut(first)] == [1.0, 2.5, 1.0]
    write(first, 30.25)
    assert [cut(first), cut(second)] == [30.25, 2.5]
    assert sys.path == path


def test_a_file_beside_it_that_fails_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "broken", 1.0)
    (folder / "helper_here.py").write_text("PLACE = 1 / 0\n")
    with pytest.raises(AnalysisError, match=r"ZeroDivisionError.*helper_here\.py, line 1"):
        cut(folder)
