"""The examples of docs/operations.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_every_picture_is_there():
    for picture in re.findall(r"\((pictures/.*?)\)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / picture).is_file(), picture


@pytest.mark.slow
def test_examples_run(capsys):
    assert len(EXAMPLES) > 12
    names: dict = {}
    for example in EXAMPLES:
        exec(compile(example, "operations.md", "exec"), names)
    assert "nan" not in capsys.readouterr().out
