"""Trust: a verdict from stated rules, and the numbers behind it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

import diffea
from diffea.run.trust import NOTHING, at_bounds, few_events, injected, verdict

START = {"a": 1.0}
GOOD = {
    "improvement": {"difference": -0.3, "error": 0.1},
    "overtraining": {"difference": 0.15, "error": 0.1},
    "bias": {"bias": 0.02, "error": 0.1},
    "at_bounds": [],
    "few_events": [],
    "injected": [{"strength": 1.0, "found": 1.0, "uncertainty": 0.3}],
}


def found(value):
    return [SimpleNamespace(found=SimpleNamespace(params={"a": np.asarray(value)}))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "holds"),
        (
            {"improvement": {"difference": -0.3, "error": 0.2}},
            "doubtful because on events not trained on .*−0.30 ± 0.20",
        ),
        ({"improvement": {"difference": -0.3, "error": None}}, "holds"),
        ({"improvement": None}, "doubtful because it could not be judged whether events not trained on gained"),
        ({"overtraining": {"difference": 0.25, "error": 0.1}}, "doubtful because on other events .* 0.25 ± 0.10"),
        ({"overtraining": {"difference": -0.25, "error": 0.1}}, "holds"),
        ({"bias": {"bias": -0.12, "error": 0.1}}, "doubtful because the scatter .* −0.12, more than its error of 0.1"),
        ({"few_events": [{"bin": "c[2]", "events": 3.0}]}, r"doubtful because a bin holds fewer than 10 .*c\[2\]"),
        (
            {"injected": [{"strength": 3.0, "found": 2.0, "uncertainty": 0.3}]},
            "doubtful because of a signal of strength 3 a fit finds 2",
        ),
    ],
)
def test_each_rule_decides_by_itself(changes, expected) -> None:
    assert re.fullmatch(expected + ".*", verdict({**GOOD, **changes}, found(2.0), START, []))


def test_what_was_not_moved_was_not_optimised() -> None:
    assert verdict(GOOD, found(1.0), START, ["limit could not be judged"]) == NOTHING
    assert verdict(GOOD, found(1.0 + 2e-16), START, []) == NOTHING  # as it comes back from the units of its bounds
    small = {name: value * 1e-15 for name, value in START.items()}
    assert verdict(GOOD, found(2e-15), small, []) == "holds"  # in a unit in which all numbers are small
    assert (
        verdict(GOOD, found(2.0), START, ["limit could not be judged"]) == "doubtful because limit could not be judged"
    )


def test_parameters_at_their_bounds_are_named() -> None:
    params = {
        "cut": np.asarray(20.0),
        "edges": np.array([0.0, 5.0, 9.9999]),
        "free": np.asarray(3.0),
        "one": np.asarray(7.0),
    }
    bounds = {"cut": (20.0, 80.0), "edges": (0.0, 10.0), "free": None, "one": (-np.inf, 8.0)}
    assert list(at_bounds(params, bounds)) == ["cut", "edges[0]", "edges[2]"]
    assert list(at_bounds(params, None)) == []


@pytest.mark.parametrize("number", [2, 3])
def test_two_parameters_in_a_list_are_not_taken_for_a_pair(number):
    """One at its upper bound, one within, whatever the form of the bounds."""
    values = [5.0, 1.0, 2.0][:number]
    for form in (list, tuple):
        params, bounds = {"cuts": form(values)}, {"cuts": form([(0.0, 5.0)] * number)}
        assert list(at_bounds(params, bounds)) == ["cuts.0"]
        assert list(at_bounds(params["cuts"], bounds["cuts"])) == ["0"]


def model():
    def sample(name, values, *modifiers):
        return {"name": name, "data": values, "modifiers": list(modifiers)}

    mu = {"name": "mu", "type": "normfactor", "data": None}
    norm = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    statistics = {"name": "mc", "type": "staterror", "data": [4.0, 10.0, 2.0]}
    samples = [sample("s", [3.0, 9.0, 4.0], mu), sample("b", [50.0, 30.0, 5.0], norm, statistics)]
    spec = {"channels": [{"name": "c", "samples": samples}], "parameters": [{"name": "mu", "bounds": [[0.0, 2.0]]}]}
    return diffea.HistFactory(spec)()


def test_bins_of_few_simulated_events_are_named() -> None:
    assert few_events(model()) == [
        {"bin": model().layout.bin_names[1], "events": pytest.approx(9.0)},
        {"bin": model().layout.bin_names[2], "events": pytest.approx(6.25)},
    ]


def test_signals_that_are_put_in_are_found_within_the_bounds() -> None:
    entries = injected(model())
    assert [entry["strength"] for entry in entries] == [0.0, 1.0]
    for entry in entries:
        assert entry["found"] == pytest.approx(entry["strength"], abs=1e-4)
        assert 0.1 < entry["uncertainty"] < 3.0
