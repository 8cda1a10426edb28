"""Every code block of README.md and docs/ runs as it stands, in order, on few events of the demo's data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffea
from diffea.demo import make_data
from diffea.optimise import optimise
from diffea.optimise.result import Result
from tests.docs.blocks import ROOT, Block, blocks_of, run

EVENTS, FEW = 60_000, 3
FIRST = ROOT / "docs" / "getting-started.md"
OTHERS = [ROOT / "README.md", *sorted(page for page in ROOT.glob("docs/*.md") if page != FIRST)]
REASONS = [(block, block.reason) for page in [FIRST, *OTHERS] for block in blocks_of(page) if block.reason]


def few_steps(*given: object, steps: int | None = None, **options: object) -> Result:
    """``diffea.optimise``, ended early: what it finds is looked at in "Getting started" alone."""
    return optimise(*given, steps=min(steps or FEW, FEW), **options)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """The names that "Getting started" leaves, in a folder that has its data and its results."""
    folder, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    make_data(folder / "diffea-demo" / "data", events=EVENTS)
    names: dict = {"__name__": "getting_started"}
    os.chdir(folder)
    try:
        for block in blocks_of(FIRST):
            run(block, names)
        yield names
    finally:
        os.chdir(before)


def test_getting_started_finds_better_cuts(started: dict) -> None:
    before, after = started["before"], started["final"]
    assert after.limit < 0.8 * before.limit
    assert all(abs(started["result"].params[name] - value) > 1 for name, value in started["start"].items())


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_blocks_run(
    started: dict, page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffea, "optimise", few_steps)
    names = dict(started)
    for block in blocks_of(page):
        run(block, names)
    assert "nan" not in capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("block", "reason"), REASONS, ids=lambda part: f"{part.page}:{part.line}" if isinstance(part, Block) else ""
)
def test_what_is_not_run_has_a_reason(block: Block, reason: str) -> None:
    assert len(reason.split()) > 4, f"{block.page}, line {block.line}: why is it not run?"
