"""How far a run is: a bar on a terminal, lines in a log."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator

from dask.utils import format_bytes
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from diffea.optimise import MOST_PASSES
from diffea.run import PRETRAINING, MeasuredStep

EVERY = 30.0  # seconds between lines
HEARD = ("diffea.distributed", "diffea.run")
OURS = "diffea.errors"
LOSS = "loss"
WIDE = 140  # columns of a terminal that has room for all there is to tell


@contextlib.contextmanager
def progress(console: Console, name: str, objective: str = LOSS) -> Iterator[Callable[[MeasuredStep], None]]:
    """What is minimised, gradient norm, passes over the data, their speed, bytes moved, and memory.

    On a terminal they stand beside a bar and the time left, as far as there is room; elsewhere, such as in a batch system's log, in a
    line every ``EVERY`` seconds.

    Args:
        console: where to.
        name: of what runs.
        objective: that is minimised, in words.
    """
    if not console.is_terminal:
        with _told(_sayings(console, name)):
            yield _lines(console, name, objective)
        return
    wide = console.width >= WIDE
    columns = (
        TextColumn("{task.description}"),
        *([BarColumn(bar_width=24)] if wide else []),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(escape(name), total=None, state="reading events")
        tasks = {None: task, 0: task}  # folds may be trained side by side

        def say(record: logging.LogRecord) -> None:
            if record.levelno > logging.INFO:
                bar.console.print(escape(f"{name}: {record.getMessage()}"), soft_wrap=True)
            else:
                bar.update(task, state=escape(record.getMessage()))

        def tell(step: MeasuredStep) -> None:
            if step.fold not in tasks:
                tasks[step.fold] = bar.add_task(escape(name), total=None, state="")
            bar.update(
                tasks[step.fold],
                completed=step.step,
                total=None if step.steps == MOST_PASSES else step.steps,
                state=_state(step, objective, wide=wide),
            )

        with _told(say):
            yield tell
        bar.update(task, completed=1, total=1)


class _Listener(logging.Handler):
    """Hands records to a function."""

    def __init__(self, say: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record)


@contextlib.contextmanager
def _told(say: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Hear what a run, ``distribute`` and its cluster say of themselves: reading, compiling, judging, waiting for workers; and warnings."""
    handler = _Listener(say)
    with contextlib.ExitStack() as stack:
        for logger in map(logging.getLogger, HEARD):
            stack.callback(logger.setLevel, logger.level)
            stack.callback(logger.removeHandler, handler)
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
        stack.enter_context(warnings.catch_warnings())
        warnings.showwarning = _as_record(say, warnings.showwarning)
        yield


def _as_record(say: Callable[[logging.LogRecord], None], otherwise: Callable[..., None]) -> Callable[..., None]:
    """Shows warnings of diffea's as what is said, without the line of code that they come from."""

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: object) -> None:
        if category.__module__ == OURS:
            say(logging.LogRecord(OURS, logging.WARNING, filename, lineno, str(message), None, None))
        else:
            otherwise(message, category, filename, lineno, *more)

    return show


def _sayings(console: Console, name: str) -> Callable[[logging.LogRecord], None]:
    """Lines of what is said: warnings at once, of the rest no more than one every ``EVERY`` seconds of each kind."""
    last: dict[str, float] = {}

    def say(record: logging.LogRecord) -> None:
        now = time.monotonic()
        if record.levelno > logging.INFO or now - last.get(str(record.msg), -math.inf) >= EVERY:
            last[str(record.msg)] = now
            console.print(escape(f"{name}: {record.getMessage()}"), soft_wrap=True)

    return say


def _lines(console: Console, name: str, objective: str) -> Callable[[MeasuredStep], None]:
    console.print(escape(f"{name}: reading events"), soft_wrap=True)
    last: dict[int | None, float] = {}

    def tell(step: MeasuredStep) -> None:
        now = time.monotonic()
        if now - last.get(step.fold, -math.inf) >= EVERY or step.step == step.steps:
            last[step.fold] = now
            console.print(escape(f"{name}: {_state(step, objective, wide=True)}"), soft_wrap=True)

    return tell


def _state(step: MeasuredStep, objective: str, *, wide: bool) -> str:
    steps = f"{step.step}" if step.steps == MOST_PASSES else f"{step.step}/{step.steps}"
    slope = (
        f"gradient {step.gradient_norm:.2g}"
        if step.gradient_norm is not None
        else f"exact cuts at {step.points} points"
    )
    fold = "" if step.fold is None else f"without fold {step.fold}: "
    what = LOSS if step.phase == PRETRAINING else objective
    state = f"{fold}{step.phase or 'step'} {steps}  {what} {step.loss:.4g}  {slope}  passes {step.passes}"
    if not wide:
        return state
    return (
        f"{state}  {step.events_per_second / 1e6:.2g} M events/s  {format_bytes(step.moved)} a step  "
        f"{format_bytes(step.memory)} a worker"
    )
