"""Live: a bar in a notebook that follows an optimisation, updated in place."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from typing import Protocol

from diffea.errors import MissingPackageError

EVERY = 0.2  # seconds between two updates
OPEN_END = 10_000  # steps of a search that ends by itself


class Told(Protocol):
    """What is looked at of a ``Step``."""

    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def gradient_norm(self) -> float | None: ...
    @property
    def phase(self) -> str: ...


class Handle(Protocol):
    """A place in a cell's output."""

    def update(self, shown: object) -> object:
        """Show something else there."""


class Live:
    """Follows an optimisation in the cell that runs it: ``diffea.optimise(…, progress=Live("expected CLs"))``.

    Args:
        objective: what the loss is, in words.
        display: shows an object and returns its place, as ``IPython.display.display`` does, which it is by default.

    Raises:
        MissingPackageError: without ``display`` where IPython is not installed.
    """

    def __init__(self, objective: str = "loss", *, display: Callable[..., Handle] | None = None) -> None:
        self._objective = objective
        self._display = display or _display()
        self._after = _after_cell if display is None else None
        self._handle: Handle | None = None
        self._began = self._shown = 0.0
        self._first = 1
        self._last: Told | None = None
        self._best = float("inf")
        self._ended = False

    def __call__(self, step: Told) -> None:
        """Show a step; of many that follow fast only some, and always the last, if only after the cell."""
        now = time.monotonic()
        if self._handle is None:
            self._began, self._first = now, step.step
            if self._after is not None:
                self._after(self.finish)
        self._last, self._best = step, min(self._best, step.loss)
        if self._handle is None:
            self._handle = self._display(self, display_id=True)
        elif now - self._shown < EVERY and step.step < step.steps:
            return
        else:
            self._handle.update(self)
        self._shown = now

    def finish(self) -> None:
        """Show the last step, as where an optimisation ended before all of its steps; IPython does so after the cell."""
        self._ended = True
        if self._handle is not None:
            self._handle.update(self)

    def _repr_html_(self) -> str:
        step = self._last
        if step is None:
            return "<p>no step yet</p>"
        known = step.steps < OPEN_END
        value, most = (1, 1) if self._ended else (step.step, step.steps)
        bar = f'<progress value="{value}" max="{most}"></progress>' if known or self._ended else "<progress></progress>"
        words = [f"{step.phase or 'step'} {step.step}" + (f" of {step.steps}" if known else "")]
        words += [f"{self._objective} {step.loss:.4g}, best {self._best:.4g}"]
        words += [f"gradient {step.gradient_norm:.2g}"] if step.gradient_norm is not None else ["exact cuts"]
        done = step.step - self._first
        if known and done and step.step < step.steps and not self._ended:
            left = (time.monotonic() - self._began) / done * (step.steps - step.step)
            words.append(f"{left:.0f} s left")
        return f"<p>{bar} {escape(' · '.join(words))}</p>"


def _display() -> Callable[..., Handle]:
    try:
        from IPython.display import display
    except ModuleNotFoundError as error:
        msg = "a live bar is shown by IPython, which is not installed here: give its function with display, or leave progress out"
        raise MissingPackageError(msg) from error
    return display  # type: ignore[no-any-return]


def _after_cell(call: Callable[[], None]) -> None:
    """Call it when the cell that runs now has ended."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return

    def once(*_: object) -> None:
        shell.events.unregister("post_run_cell", once)
        call()

    shell.events.register("post_run_cell", once)
