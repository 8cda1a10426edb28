"""The gallery: every script has its place on the page, whose build runs them all."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")


def test_every_script_is_on_the_page() -> None:
    scripts = sorted(path.stem for path in (DOCS / "gallery").glob("*.py"))
    assert sorted(re.findall(r"literalinclude} gallery/(.*?)\.py", PAGE)) == scripts
    assert sorted(re.findall(r"generated/gallery/(.*?)\.png", PAGE)) == scripts
