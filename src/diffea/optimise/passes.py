"""Passes: what a search sees of the loss, pass by pass; a resumed run takes those that it made from its checkpoint."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import numpy as np

from diffea import soft
from diffea.errors import CheckpointError, FitError, NotFiniteError, YieldError
from diffea.optimise.checkpoints import Checkpoint
from diffea.optimise.composite import Composite
from diffea.optimise.loops import Run
from diffea.optimise.points import Points
from diffea.optimise.result import Result, Scan, Step
from diffea.optimise.states import OTHER
from diffea.parameters import brief, told
from diffea.types import Params

GRADIENT_FILLS = 3.0  # of value and gradient at one point, where the templates do not count for themselves
FAILED = 10.0  # times the largest loss seen: what a line search is told where the statistics fail


class EnoughError(Exception):
    """Raised to leave a search after the last pass that it may make."""


@dataclasses.dataclass(frozen=True)
class Pass:
    """What a pass gave.

    Attributes:
        points: shape (points, parameters), in the units of steps.
        widths: scale of the soft cuts' widths; 0 for exact cuts.
        values: of the loss, shape (points,); infinite where the statistics failed.
        gradients: shape (points, parameters); with exact cuts (0, parameters).

    Raises:
        CheckpointError: for arrays of other shapes.
    """

    points: np.ndarray
    widths: np.ndarray
    values: np.ndarray
    gradients: np.ndarray

    def __post_init__(self) -> None:
        count, size = self.points.shape if self.points.ndim == 2 else (0, 0)
        rows = count if self.widths.shape == () and self.widths > 0 else 0
        if not count or self.widths.shape or self.values.shape != (count,) or self.gradients.shape != (rows, size):
            raise CheckpointError(OTHER)


class Passes(Points):
    """The loss at many points, each time noted.

    Args:
        run: what to minimise, and what was done of it before.
        loss: its two parts.
        start: parameters.

    Attributes:
        best: the point of the lowest hard loss so far.
        lowest: that loss.
        history: of the passes.
        records: each point that was the best when it was found, with its hard loss.
        flat: whether all losses so far are one number, and all gradients zero.
    """

    def __init__(self, run: Run, loss: Composite, start: Params) -> None:
        super().__init__(loss, run.box, start)
        self.best, self.lowest = self.begin, np.inf
        self.history: list[Step] = []
        self.records: list[tuple[np.ndarray, float]] = []
        self.flat = True
        self._run, self._start = run, start
        self._log: list[Pass] = []
        self._largest = 1.0
        if begun := run.begin(self._read):
            self._log, self.history = begun
            self._check(self._log[-1])
        self._done = 0

    def look(self, phase: str, points: np.ndarray) -> np.ndarray:
        """The loss with exact cuts, shape (points,), infinite where the statistics fail; the best point is remembered.

        Args:
            phase: of the search.
            points: shape (points, parameters).

        Raises:
            EnoughError: if the run has no pass left.
            NotFiniteError, FitError, YieldError: if it was a number nowhere so far.
        """
        found = self._pass(phase, np.clip(points, self.low, self.high), 0.0)
        if (lowest := found.values.min()) < self.lowest:
            self.best, self.lowest = found.points[np.argmin(found.values)], float(lowest)
            self.records.append((self.best, self.lowest))
        self.flat &= bool((found.values == self.lowest).all())
        return found.values

    def slope(self, phase: str, points: np.ndarray, widths: float) -> tuple[np.ndarray, np.ndarray]:
        """The soft loss, shape (points,), and its gradient, shape (points, parameters).

        Where the statistics fail, the loss is larger than any that was seen, and the gradient zero.

        Args:
            phase: of the search.
            points: shape (points, parameters).
            widths: by what the widths of soft cuts are multiplied.

        Raises:
            EnoughError: if the run has no pass left.
        """
        found = self._pass(phase, np.clip(points, self.low, self.high), widths)
        fine = np.isfinite(found.values)
        self.flat &= not found.gradients.any()
        self._largest = max(self._largest, np.abs(found.values[fine]).max(initial=0.0))
        return np.where(fine, found.values, FAILED * self._largest), found.gradients

    def result(self, message: str, scans: Mapping[int, Scan]) -> Result:
        """What the search leaves: the best point, or of all that were the best once the one of the lowest validation loss with exact cuts.

        Args:
            message: why it ended.
            scans: by the number of the parameter.
        """
        named = {self.names[number]: found for number, found in scans.items()}
        history = tuple(self.history)
        if not self.records:
            return Result(self._start, history, message)
        point, hard = self.records[-1]
        if self._run.validate:
            point, hard = min(self.records, key=lambda record: self._validation(record[0]))
            named = named if point is self.best else {}
        return Result(self.params(point), history, message, hard, named)

    def _validation(self, point: np.ndarray) -> float:
        """The validation loss with exact cuts; infinite where the statistics fail."""
        try:
            with soft.hard():
                found = self._run.validation(self.steps(point), self._run.steps)
        except (FitError, NotFiniteError, YieldError):
            return np.inf
        return np.inf if found is None else found

    def _pass(self, phase: str, points: np.ndarray, widths: float) -> Pass:
        self._done += 1
        if self._done > len(self._log):
            self._make(phase, points, widths)
        found, step = self._log[self._done - 1], self.history[self._done - 1]
        if not (np.array_equal(found.points, points) and found.widths == widths and step.phase == phase):
            msg = "the passes in the checkpoint are not those of this run: start anew in another folder"
            raise CheckpointError(msg)
        return found

    def _make(self, phase: str, points: np.ndarray, widths: float) -> None:
        if len(self.history) >= self._run.steps:
            raise EnoughError
        began, fills = time.perf_counter(), self.fills
        values, gradients = self._evaluated(points, widths)
        spent = len(points) * (GRADIENT_FILLS if widths else 1.0) if fills is None else (self.fills or 0.0) - fills
        best = int(np.argmin(values))
        here = self.params(points[best])
        if not np.isfinite(values[best]) and not np.isfinite(self.lowest):
            msg = f"the loss is {values[best]} at {brief(here)}, and a number nowhere that was looked at"
            raise self.failure or NotFiniteError(msg)
        step = Step(
            step=len(self.history) + 1,
            steps=self._run.steps,
            loss=float(values[best] if np.isfinite(values[best]) else self.lowest),
            gradient_norm=float(np.linalg.norm(gradients[best])) if widths else None,
            seconds=time.perf_counter() - began,
            phase=phase,
            points=len(points),
            widths=widths or None,
            fills=spent,
            params=told(here) if np.isfinite(values[best]) else None,
        )
        self.history.append(step)
        self._log.append(Pass(points, np.asarray(widths), values, gradients))
        self._run.progress(step)
        self._run.keep(self.history, [array for made in self._log for array in vars(made).values()], here)

    def _evaluated(self, points: np.ndarray, widths: float) -> tuple[np.ndarray, np.ndarray]:
        return self.soft(points, widths) if widths else (self.hard(points), np.empty((0, points.shape[1])))

    def _read(self, checkpoint: Checkpoint) -> tuple[list[Pass], list[Step]]:
        arrays, history = checkpoint.arrays, list(checkpoint.history)
        width = len(dataclasses.fields(Pass))
        if not history or len(arrays) != width * len(history):
            raise CheckpointError(OTHER)
        log = [Pass(*arrays[start : start + width]) for start in range(0, len(arrays), width)]
        for made in log:
            if made.points.shape[1] != self.begin.size:
                raise CheckpointError(OTHER)
            for point in made.points:
                self._run.check_place(self.steps(point))
        return log, history

    def _check(self, made: Pass) -> None:
        """See that the loss is still the one of the checkpoint."""
        best = int(np.argmin(made.values))
        values, _ = self._evaluated(made.points[best : best + 1], float(made.widths))
        if np.isfinite(made.values[best]):
            self._run.check_loss(float(made.values[best]), float(values[0]))
