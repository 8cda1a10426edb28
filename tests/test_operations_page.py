"""The examples of docs/operations.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "operations.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_every_picture_is_drawn_by_the_build():
    shown = re.findall(r"\(_static/generated/(.*?)\.png\)", PAGE)
    drawn = re.search(r"^PICTURES = \((.*?)\)", (DOCS / "operations_pictures.py").read_text(), re.DOTALL | re.MULTILINE)
    assert sorted(shown) == sorted(re.findall(r"\w+", drawn[1]))


@pytest.mark.slow
def test_examples_run(capsys):
    assert len(EXAMPLES) > 12
    names: dict = {}
    for example in EXAMPLES:
        exec(compile(example, "operations.md", "exec"), names)
    assert "nan" not in capsys.readouterr().out
