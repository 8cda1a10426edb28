"""The gallery: every script has its place on the page, and those that need no fit are run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"
DRAW = runpy.run_path(str(DOCS / "gallery_pictures.py"))["draw"]
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")


def test_every_script_is_on_the_page() -> None:
    scripts = sorted(path.stem for path in (DOCS / "gallery").glob("*.py"))
    assert sorted(re.findall(r"literalinclude} gallery/(.*?)\.py", PAGE)) == scripts
    assert sorted(re.findall(r"generated/gallery/(.*?)\.png", PAGE)) == scripts


@pytest.mark.parametrize("name", ["soft_cut", "kernel_histogram"])
def test_a_script_draws_its_figure(name: str, tmp_path: Path) -> None:
    assert DRAW(DOCS / "gallery" / f"{name}.py", tmp_path).read_bytes().startswith(b"\x89PNG")
