"""The pages show every notebook that they say they do, and leave out what it gives where its data are missing."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

SPEC = importlib.util.spec_from_file_location("notebook_pages", ROOT / "docs" / "notebook_pages.py")
pages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pages)


def test_each_is_copied_with_the_modules_beside_it(tmp_path: Path) -> None:
    pages.main(tmp_path / "generated")
    for name, place in pages.NOTEBOOKS.items():
        copied = {path.name for path in (tmp_path / "generated" / name).iterdir()}
        assert copied == {f"{name}.ipynb"} | {path.name for path in (ROOT / place).parent.glob("*.py")}
        original = json.loads((ROOT / place).read_text(encoding="utf-8"))
        assert json.loads((tmp_path / "generated" / name / f"{name}.ipynb").read_text(encoding="utf-8")) == original
        assert original["cells"][0]["source"][0].startswith("# "), "the title of its page"


def test_the_page_lists_all_of_them() -> None:
    text = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    linked = re.findall(r"\(notebooks/generated/(\w+)/\1\.ipynb\): `(.*?)`", text)
    assert dict(linked) == pages.NOTEBOOKS
    listed = re.findall(r"^notebooks/generated/(\w+)/\1$", text, re.MULTILINE)
    assert listed == list(pages.NOTEBOOKS)


def test_without_its_data_one_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFEA_DATA", str(tmp_path))
    assert pages.lacking() == ["htautau"]
    (tmp_path / "htautau").mkdir()
    assert pages.lacking() == []
