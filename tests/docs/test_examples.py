"""The examples of docstrings: those of the main functions are there, and all of them give what they show."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffea

ROOMS = ("soft", "histograms", "objectives", "statistics", "learning", "exchange", "export")
NAMES = {"ak": ak, "hist": hist, "jax": jax, "jnp": jnp, "np": np, "diffea": diffea} | {
    room: importlib.import_module(f"diffea.{room}") for room in ROOMS
}
"""What an example finds imported, as docs/reference.md says; ``bound`` is that of HistFactory's."""

SHOWN = (
    "HistFactory", "Split", "Composite", "anneal", "histogram",
    "soft.above", "soft.below", "soft.between", "soft.outside", "soft.all_of", "soft.any_of", "soft.not_", "soft.count",
    "soft.at_least", "soft.exactly", "soft.sum", "soft.leading", "soft.pairs", "soft.invariant_mass", "soft.choice",
    "soft.rank", "soft.sort", "histograms.ordered_edges", "histograms.default_bandwidth",
    "objectives.cls", "objectives.log_cls", "objectives.upper_limit", "objectives.poi_uncertainty",
    "objectives.discovery_significance", "objectives.counting_significance",
    "statistics.hypotest", "statistics.upper_limit", "statistics.fit", "statistics.estimates",
)  # fmt: skip


def public() -> dict[str, Any]:
    """Every public function and class, by name."""
    found = {name: getattr(diffea, name) for name in diffea.__all__}
    found |= {
        f"{room}.{name}": getattr(NAMES[room], name) for room in ROOMS for name in getattr(NAMES[room], "__all__", ())
    }
    return found


def example(name: str) -> doctest.DocTest:
    text = getattr(public()[name], "__doc__", None) or ""
    return doctest.DocTestParser().get_doctest(text, {}, name, None, 0)


WITH_EXAMPLES = sorted(name for name in public() if example(name).examples)


@pytest.fixture(scope="module")
def bound() -> Any:
    names = dict(NAMES)
    test = example("HistFactory")
    test.globs = names
    doctest.DocTestRunner().run(test, clear_globs=False)
    return names["bound"]


@pytest.mark.parametrize("name", SHOWN)
def test_the_main_functions_have_one(name: str) -> None:
    assert name in WITH_EXAMPLES


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_it_gives_what_it_shows(name: str, bound: Any, capsys: pytest.CaptureFixture[str]) -> None:
    test = example(name)
    test.globs = {**NAMES, "bound": bound}
    found = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert found.failed == 0, capsys.readouterr().out
