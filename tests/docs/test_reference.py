"""The reference has every public name: those of diffea and of its rooms, and the classes that functions return."""

from __future__ import annotations

import importlib
import re

import pytest

import diffea
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
DIRECTIVES = dict(re.findall(r"auto(?:class|function|module):: (?:diffea\.)?([\w.]+)\n((?:   :.*\n)*)", PAGE))
ROOMS = ("soft", "histograms", "objectives", "learning", "exchange", "statistics", "export")
RETURNED = (
    "distributed.function.Templates", "distributed.ledger.Ledger", "optimise.result.Result", "optimise.result.Step",
    "optimise.result.Scan", "evaluate.Evaluation", "bootstrap.Measured", "observed.Observed", "statistics.config.ModelConfig",
)  # fmt: skip


@pytest.mark.parametrize("name", [*diffea.__all__, *ROOMS, *RETURNED])
def test_it_is_there(name: str) -> None:
    assert name in DIRECTIVES, f"docs/reference.md has no entry for diffea.{name}"


@pytest.mark.parametrize("room", [*ROOMS, "errors"])
def test_members_of_rooms_are_there(room: str) -> None:
    module = importlib.import_module(f"diffea.{room}")
    options = DIRECTIVES[room]
    assert ":members:" in options
    own = module.__name__
    elsewhere = {
        name for name in getattr(module, "__all__", ()) if getattr(getattr(module, name), "__module__", own) != own
    }
    assert not elsewhere or ":imported-members:" in options
    excluded = re.findall(r":exclude-members: (.*)", options)
    assert all(name in DIRECTIVES for names in excluded for name in names.split(", "))
