"""The types of the source say something: ``Any`` is left to what has no type."""

from __future__ import annotations

import re
from pathlib import Path

import diffea


def test_any_is_rare() -> None:
    files = Path(diffea.__file__).parent.rglob("*.py")
    assert sum(len(re.findall(r"\bAny\b", path.read_text(encoding="utf-8"))) for path in files) < 250
