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


HOW_TO = (
    "choose an objective", "choose an optimizer", "choose widths", "choose a bandwidth", "choose bins", "split events", "train a boosted tree on the same events",
    "add a systematic uncertainty", "apply corrections", "use a network of flax or equinox", "run at a facility", "read files", "hand the result on", "unblind",
    "make it faster", "get by with little memory",
)  # fmt: skip
SYMPTOMS = (
    "Soft and hard results differ", "The limit is infinite", "The loss does not move", "Test is worse than train", "It waits", "runs out of memory",
)  # fmt: skip


def test_what_a_user_looks_for_has_its_heading() -> None:
    headings = re.findall(r"^## … (.*)$", (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(HOW_TO) <= set(headings)
    bold = " ".join(re.findall(r"^\*\*(.*?)\*\*", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert all(symptom in bold for symptom in SYMPTOMS)
