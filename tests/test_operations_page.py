"""The pictures of docs/operations.md; tests/docs runs its examples."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "operations.md").read_text()


def test_every_picture_is_drawn_by_the_build():
    shown = re.findall(r"\(_static/generated/(.*?)\.png\)", PAGE)
    drawn = re.search(r"^PICTURES = \((.*?)\)", (DOCS / "operations_pictures.py").read_text(), re.DOTALL | re.MULTILINE)
    assert sorted(shown) == sorted(re.findall(r"\w+", drawn[1]))
