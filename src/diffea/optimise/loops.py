"""The two loops: optax step by step, and SciPy's L-BFGS-B; each goes on from a checkpoint to the same bits."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax.flatten_util import ravel_pytree

from diffea.errors import CheckpointError, NotFiniteError
from diffea.optimise.box import Box
from diffea.optimise.checkpoints import Checkpoint, clear, newest, save
from diffea.optimise.evaluation import LossAndGradient, norm, scalar
from diffea.optimise.result import Result, Step
from diffea.optimise.states import OTHER, finite, plain, restored
from diffea.optimise.updates import Updates, known
from diffea.parameters import brief
from diffea.runtime import named_errors
from diffea.types import Loss, Params

NO_LONGER_BETTER = "the validation loss has not improved in {} validations"
StateT = TypeVar("StateT")
SAME = 1e-6  # relative: what other machines and chunk sizes do to a loss is far less
Evaluated: TypeAlias = tuple[np.ndarray, float, np.ndarray]
"""A point, and loss and gradient there."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What both loops are given.

    Attributes:
        evaluate: loss and gradient in the units of steps.
        box: of the parameters.
        steps: how many at most.
        checkpoint: folder, if the run keeps checkpoints.
        resume: whether to go on from the newest one.
        fingerprint: of the run, see ``checkpoints.fingerprint``.
        progress: told of every step.
        validate: loss on events kept for it, if any.
        validate_every: steps between two validations.
        patience: validations without improvement after which to stop.
    """

    evaluate: LossAndGradient
    box: Box
    steps: int
    checkpoint: Path | None
    resume: bool
    fingerprint: str
    progress: Callable[[Step], None]
    validate: Loss | None
    validate_every: int
    patience: int

    def begin(self, read: Callable[[Checkpoint], StateT]) -> StateT | None:
        """The state to go on from; checkpoints of an earlier run are removed where it is not resumed.

        Args:
            read: makes the state of a checkpoint, see ``newest``.
        """
        if self.checkpoint is None:
            return None
        if self.resume:
            state = newest(self.checkpoint, self.fingerprint, read)
            self.evaluate.at_start = state is None
            return state
        clear(self.checkpoint)
        return None

    def check_place(self, point: Params) -> None:
        """See that a point of a checkpoint lies within the bounds, as all points do.

        Raises:
            CheckpointError: if not.
        """
        finite(*map(np.asarray, jax.tree.leaves(point)))
        if not all(map(np.array_equal, *map(jax.tree.leaves, (point, self.box.clip(point))))):
            msg = "its parameters are outside of their bounds"
            raise CheckpointError(msg)

    def check_loss(self, noted: float, found: float) -> None:
        """See that the loss is still the one that the checkpoint was made with.

        Args:
            noted: in the checkpoint, at one of its points.
            found: there now.

        Raises:
            CheckpointError: if they differ by more than rounding.
        """
        if not math.isclose(noted, found, rel_tol=SAME, abs_tol=SAME**2):
            msg = (
                f"the checkpoints in {self.checkpoint} are of another loss: they noted {noted} where it is {found} now, so that objective, "
                "model, data or their settings have changed. Start anew, without resuming, or in another folder"
            )
            raise CheckpointError(msg)

    def due(self, number: int) -> bool:
        """Whether a step is one of those that are validated."""
        return number % self.validate_every == 0 or number in (1, self.steps)

    def stale(self, history: list[Step]) -> bool:
        """Whether the validation loss has not improved for as long as patience lasts."""
        known = [step.validation for step in history if step.validation is not None]
        return bool(known) and len(known) - 1 - int(np.argmin(known)) >= self.patience

    def validation(self, point: Params, number: int) -> float | None:
        """The validation loss, where there is one and the step is due."""
        if self.validate is None or not self.due(number):
            return None
        params = self.box.to_params(point)
        with named_errors():
            value = float(scalar(self.validate(params)))
        if not math.isfinite(value):
            msg = f"the validation loss is {value} at {brief(params)}"
            raise NotFiniteError(msg)
        return value

    def keep(self, history: list[Step], arrays: list[np.ndarray]) -> None:
        """Write a checkpoint."""
        if self.checkpoint:
            save(self.checkpoint, Checkpoint(arrays, history), self.fingerprint)


def descend(run: Run, start: Params, updates: Updates, schedule: Callable[[Params, int], Params] | None) -> Result:
    """Take optax steps, projected onto the bounds.

    Args:
        run: what to minimise.
        start: parameters.
        updates: of an optax optimizer.
        schedule: puts the scheduled values of a step into the parameters; the loss of one step is then no measure of another.
    """
    point = run.box.to_steps(start)
    state = updates.init(point)
    best, lowest, stale, history = point, np.inf, 0, []

    def read(checkpoint: Checkpoint) -> tuple[Any, ...]:
        found = restored((point, state, best, np.inf, 0), checkpoint.arrays)
        for place in (found[0], found[2]):
            run.check_place(place)
        return (*found[:3], float(found[3]), int(found[4]), list(checkpoint.history))

    if begun := run.begin(read):
        point, state, best, lowest, stale, history = begun
        validation = run.validation(best, 1)
        run.check_loss(lowest, run.evaluate(best)[0] if validation is None else validation)

    message = f"all {run.steps} steps taken"
    while len(history) < run.steps and stale < run.patience:
        began, number = time.perf_counter(), len(history) + 1
        if schedule:
            point = run.box.to_steps(schedule(run.box.to_params(point), number))
        value, gradient = run.evaluate(point, None if schedule else known(state))
        validation = run.validation(point, number)
        criterion = validation if run.validate else value
        if criterion is not None and (criterion < lowest or (schedule and not run.validate)):
            best, lowest, stale = point, criterion, 0
        else:
            stale += validation is not None
        point, state = updates(value, gradient, state, point)
        history.append(Step(number, run.steps, value, norm(gradient), time.perf_counter() - began, validation))
        run.progress(history[-1])
        run.keep(history, plain((point, state, best, lowest, stale)))
    if stale >= run.patience:
        message = NO_LONGER_BETTER.format(stale)
    return Result(run.box.to_params(best), tuple(history), message)


def quasi_newton(run: Run, start: Params) -> Result:
    """Minimise by SciPy's L-BFGS-B (Byrd, Lu, Nocedal, Zhu 1995).

    A checkpoint holds every evaluation so far. To resume is to run the same deterministic algorithm on them before the
    data are passed over again.
    """
    begin = run.box.to_steps(start)
    first, unravel = ravel_pytree(begin)
    log: list[Evaluated] = []
    history: list[Step] = []

    def read(checkpoint: Checkpoint) -> tuple[list[Evaluated], list[Step]]:
        count, size = len(checkpoint.history), first.size
        if [array.shape for array in checkpoint.arrays] != [(count, size), (count,), (count, size)]:
            raise CheckpointError(OTHER)
        finite(*checkpoint.arrays)
        for place in checkpoint.arrays[0]:
            run.check_place(unravel(jnp.asarray(place)))
        return list(zip(*checkpoint.arrays, strict=True)), list(checkpoint.history)

    if begun := run.begin(read):
        log, history = begun
        run.check_loss(float(log[-1][1]), run.evaluate(unravel(jnp.asarray(log[-1][0])))[0])
    replay = iter(list(log))

    def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
        if known := next(replay, None):
            if not np.array_equal(known[0], point):
                msg = "the evaluations in the checkpoint are not those of this run: start anew in another folder"
                raise CheckpointError(msg)
            return float(known[1]), known[2]
        if len(history) >= run.steps or run.stale(history):
            raise _EnoughError
        began = time.perf_counter()
        value, gradient = run.evaluate(unravel(jnp.asarray(point)))
        log.append((point.copy(), value, np.asarray(ravel_pytree(gradient)[0])))
        validation = run.validation(unravel(jnp.asarray(point)), len(history) + 1)
        seconds = time.perf_counter() - began
        history.append(Step(len(history) + 1, run.steps, value, norm(gradient), seconds, validation))
        run.progress(history[-1])
        run.keep(history, [np.asarray(column) for column in zip(*log, strict=True)])
        return value, log[-1][2]

    low, high = (np.asarray(ravel_pytree(run.box.to_steps(end))[0]) for end in (run.box.low, run.box.high))
    bounds = scipy.optimize.Bounds(low, high)
    try:
        found = scipy.optimize.minimize(
            evaluate, np.asarray(first), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": run.steps}
        )
        message = f"L-BFGS-B: {found.message}"
    except _EnoughError:
        message = NO_LONGER_BETTER.format(run.patience) if run.stale(history) else f"all {run.steps} evaluations made"
    if not log:
        return Result(start, (), message)
    losses = [step.validation if run.validate else step.loss for step in history]
    best = int(np.argmin([np.inf if loss is None else loss for loss in losses]))
    return Result(run.box.to_params(unravel(jnp.asarray(log[best][0]))), tuple(history), message)


class _EnoughError(Exception):
    """Raised to leave SciPy after the last evaluation."""
