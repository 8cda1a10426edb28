"""A live bar follows an optimisation in its place."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import numpy as np
import pytest

import diffea
from diffea import optimise
from diffea.errors import MissingPackageError
from diffea.notebook import Live
from diffea.notebook.live import OPEN_END
from diffea.optimise import MOST_PASSES, Step


class Screen:
    """Shows what IPython would."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.places = 0

    def display(self, shown: Any, *, display_id: bool) -> Screen:
        assert display_id
        self.places += 1
        self.update(shown)
        return self

    def update(self, shown: Any) -> None:
        self.seen.append(shown._repr_html_())


def test_it_follows_an_optimisation_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffea.notebook.live.EVERY", 0.0)
    screen = Screen()
    result = optimise(
        lambda params: (params["cut"] - 3.0) ** 2,
        {"cut": 0.0},
        optimizer="l-bfgs-b",
        steps=4,
        progress=Live("distance <i>", display=screen.display),
    )
    assert screen.places == 1
    assert len(screen.seen) == len(result.history)
    first, last = screen.seen[0], screen.seen[-1]
    assert '<progress value="1" max="4"></progress> step 1 of 4 · distance &lt;i&gt; 9, best 9 · gradient 6' in first
    assert f"best {min(step.loss for step in result.history):.4g}" in last


def test_fast_steps_are_not_all_shown_but_the_last_is() -> None:
    screen = Screen()
    live = Live(display=screen.display)
    for number in range(1, 201):
        live(Step(number, 200, 1.0 / number, None, 0.0))
    assert 2 <= len(screen.seen) < 100
    assert "step 200 of 200 · loss 0.005, best 0.005 · exact cuts" in screen.seen[-1]
    assert "s left" not in screen.seen[-1]


def test_the_time_left_is_that_of_the_steps_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0.0, 1000.0, 10.0))
    monkeypatch.setattr("diffea.notebook.live.time.monotonic", lambda: next(clock))
    screen = Screen()
    live = Live(display=screen.display)
    live(Step(5, 8, 1.0, 0.1, 0.0))  # as after a resumption
    live(Step(6, 8, 1.0, 0.1, 0.0))
    assert "left" not in screen.seen[0]
    assert float(re.search(r"(\d+) s left", screen.seen[1])[1]) == pytest.approx(2 * 20, abs=1)  # type: ignore[index]


def test_a_search_that_ends_by_itself_has_no_share() -> None:
    assert OPEN_END == MOST_PASSES
    screen = Screen()
    Live(display=screen.display)(Step(3, MOST_PASSES, 1.0, 0.1, 0.0, phase="descend"))
    assert screen.seen == ["<p><progress></progress> descend 3 · loss 1, best 1 · gradient 0.1</p>"]
    assert Live(display=screen.display)._repr_html_() == "<p>no step yet</p>"


def test_one_that_ends_early_shows_its_end_after_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, waiting = Screen(), []

    class Events:
        def register(self, event: str, call: Any) -> None:
            assert event == "post_run_cell"
            waiting.append(call)

        def unregister(self, event: str, call: Any) -> None:
            waiting.remove(call)

    ipython = types.ModuleType("IPython")
    ipython.display = types.ModuleType("IPython.display")  # type: ignore[attr-defined]
    ipython.display.display = screen.display  # type: ignore[attr-defined]
    ipython.get_ipython = lambda: types.SimpleNamespace(events=Events())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)  # type: ignore[attr-defined]
    live = Live()
    for number in range(1, 4):
        live(Step(number, 200, 1.0 / number, 0.5, 0.0))
    assert "step 1 of 200" in screen.seen[-1]
    for call in [*waiting]:
        call("what the cell gave")
    assert not waiting
    assert '<progress value="1" max="1"></progress> step 3 of 200 · loss 0.3333' in screen.seen[-1]
    assert "left" not in screen.seen[-1]


def test_without_ipython_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(MissingPackageError, match="a live bar is shown by IPython"):
        diffea.notebook.Live()
