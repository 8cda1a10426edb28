"""What the command line ends with: parameters, verdict, and what to try next."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from diffea.cli.advice import next_things
from diffea.cli.outcome import show
from diffea.cli.progress import progress
from diffea.errors import SoftHardGapWarning
from diffea.report.words import objective_in_words
from diffea.run import PRETRAINING, MeasuredStep
from tests.report.make_out import make_diagnostics, make_result

DOUBT = "doubtful because [a bin] holds few events"


def printed(name: str = "demo", **changes: Any) -> list[str]:
    result = make_result(skipped_share={}, not_judged={}, verdict=DOUBT, **changes) | {"seconds_by_stage": {}}
    show(Console(width=160, file=(file := io.StringIO())), name, json.loads(json.dumps(result)))
    return file.getvalue().splitlines()


def line(lines: list[str], start: str) -> list[str]:
    (found,) = (text.split() for text in lines if text.split()[:1] == [start])
    return found


def test_parameters_before_and_after_and_those_at_bounds() -> None:
    lines = printed(trust=make_diagnostics()["trust"])
    assert line(lines, "muon_pt") == ["muon_pt", "25", "22.4", "20", "…", "80", "at", "a", "bound"]
    assert line(lines, "met") == ["met", "50", "121.7", "10", "…", "300"]
    assert f"verdict: {DOUBT}" in lines


def test_limits_stand_with_their_errors() -> None:
    lines = printed(limit_before_error=0.08, limit_after_error=0.07, gain=0.56, gain_error=0.03)
    assert any("1.27 ± 0.08" in text and "0.71 ± 0.07" in text for text in lines)
    assert any("Expected CLs at μ = 1, hard cuts, test" in text for text in lines)


def test_parameters_of_each_fold_and_arrays_of_many_numbers() -> None:
    before = {"mt": 50.0, "edges": [1.0, 2.0], "net": {"w": [0.0] * 9}}
    after = [{"mt": value, "edges": [1.5, 2.5], "net": {"w": [2.0] * 9}} for value in (60.0, 70.0)]
    trust = {"at_bounds": ["net.w[3]", "edges[1]"]}
    lines = printed(
        params={"before": before, "after": after[0]}, bounds=None, folds=[{"params": one} for one in after], trust=trust
    )
    assert line(lines, "mt") == ["mt", "50", "60", "70"]
    assert line(lines, "edges[0]") == ["edges[0]", "1", "1.5", "1.5"]
    assert line(lines, "edges[1]")[-3:] == ["at", "a", "bound"]
    assert " ".join(line(lines, "net.w")) == "net.w 0 (rms of 9) 2 (rms of 9) 2 (rms of 9) at a bound"


def test_more_parameters_than_a_screen_holds_are_counted() -> None:
    many = {f"cut{number:02}": 1.0 for number in range(30)}
    lines = printed(params={"before": many, "after": many})
    assert any("… and 6 more in the report" in text for text in lines)
    assert not any("cut24" in text for text in lines)


def tips(**changes: Any) -> list[str]:
    return next_things(make_result(**changes), "small --data DIR", Path("out"))


def test_what_holds_leads_onwards() -> None:
    first, second, third = tips(verdict="holds", split={"folds": 2}, soft_hard_gap={})
    assert first.startswith("diffea new NAME --data DIR")
    assert second.startswith("diffea export out --to pyhf")
    assert third.startswith("diffea compare out OTHER")


def test_doubts_are_mended_first_and_one_step_leads_onwards() -> None:
    first, second, third = tips(verdict=DOUBT, trust=make_diagnostics()["trust"])
    assert first == "join bins, or simulate more: tagged[5] holds too few simulated events"
    assert second == "wider bounds of muon_pt, if the simulation is to be trusted there"
    assert third.startswith("diffea new")


def test_what_did_not_change_has_no_sign() -> None:
    lines = printed(
        before={"soft": 1.0, "hard_train": 1.0, "hard_test": 1.0},
        after={"soft": 0.9999, "hard_train": 1.1, "hard_test": 0.9},
    )
    changes = [text.split()[-2:] for text in lines if text.strip().startswith("Expected CLs")]
    assert changes == [["0", "%"], ["+10", "%"], ["-10", "%"]]


@pytest.mark.parametrize(("loss", "told"), [(0.0136, False), (0.01, True)])
def test_a_lower_minimum_along_a_parameter_is_told(loss: float, told: bool) -> None:
    along = {"mt": {"values": [90.0, 130.0], "losses": [None, loss]}}
    found = [tip for tip in tips(verdict="holds", along=along) if tip.startswith('optimizer="auto": along mt, at 130')]
    assert bool(found) == told
    searched = make_result(along=along)
    searched["history"][-1]["phase"] = "verify"
    assert not any("along mt" in tip for tip in next_things(searched, "small", Path("out")))


def test_overtraining_counts_beyond_twice_its_error() -> None:
    trust = {"few_events": [], "at_bounds": []}
    for error, told in ((0.01, True), (0.02, False)):
        found = tips(trust={**trust, "overtraining": {"difference": 0.03, "error": error}})
        assert any(tip.startswith("tune fewer parameters") for tip in found) == told


def test_nothing_optimised_asks_for_a_check() -> None:
    first, second, _ = tips(verdict="nothing was optimised")
    assert first.startswith("diffea check small --data DIR")
    assert second.startswith("start elsewhere")
    assert tips(verdict="nothing was optimised", history=[])[1].startswith("let it take steps")


def test_an_objective_in_words() -> None:
    assert objective_in_words("cls(poi_test=2.5)") == "Expected CLs at μ = 2.5"
    assert objective_in_words("cls") == "Expected CLs at μ = 1"
    assert objective_in_words("upper_limit(cl=0.95)") == "Expected upper limit"
    assert objective_in_words("upper_limit(cl=0.9)") == "upper_limit(cl=0.9)"


def test_steps_name_what_is_minimised_and_warnings_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(Console(stderr=True, width=200), "small", "expected CLs at μ = 1") as tell:
        tell(MeasuredStep(2, 2, 0.5, 0.1, 1.0, passes=2, phase=PRETRAINING))
        tell(MeasuredStep(3, 3, 0.25, 0.1, 1.0, passes=5))
        with pytest.warns(DeprecationWarning, match="of another"):
            warnings.warn("of another", DeprecationWarning, stacklevel=1)
        warnings.simplefilter("always")
        warnings.warn("soft and hard [far]", SoftHardGapWarning, stacklevel=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("small: pretraining 2/2  loss 0.5  gradient 0.1")
    assert lines[2].startswith("small: step 3/3  expected CLs at μ = 1 0.25  gradient 0.1")
    assert lines[3] == "small: soft and hard [far]"
