"""What pages say of each other and of the code: links, commands and files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffea.cli import main
from tests.docs.blocks import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_and_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    files = set(re.findall(r"\b((?:benchmarks|tests|analyses|docs)/[\w/]+\.(?:py|md|ipynb|txt))\b", text))
    assert not [name for name in files if not (ROOT / name).exists()]
    commands = set(re.findall(r"`diffea (\w+)", text))
    assert commands <= set(main.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_hold(page: Path) -> None:
    for target in re.findall(r"\]\(([\w./-]+\.(?:md|png))(?:#[\w-]+)?\)", page.read_text(encoding="utf-8")):
        assert "_static/generated" in target or (page.parent / target).exists(), f"{page.name}: no {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert {path.stem for path in ROOT.glob("docs/*.md")} - {"index"} <= set(index.split())
