"""The types of the source say something: ``Any`` is left to what has no type."""

from __future__ import annotations

import re
from pathlib import Path

import diffea


def test_any_is_rare() -> None:
    source = Path(diffea.__file__).parent
    plain = source / "export" / "plain"  # what an exported file is made of, which knows no types of diffea
    files = [path for path in source.rglob("*.py") if plain not in path.parents]
    assert sum(len(re.findall(r"\bAny\b", path.read_text(encoding="utf-8"))) for path in files) < 250
