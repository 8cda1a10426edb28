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

from diffea.errors import CheckpointError, NotFiniteError, ParameterError
from diffea.optimise.box import Box
from diffea.optimise.checkpoints import Checkpoint, clear, newest, note_params, save
from diffea.optimise.evaluation import LossAndGradient, Part, norm, scalar
from diffea.optimise.result import Result, Step
from diffea.optimise.schedules import Schedule
from diffea.optimise.states import OTHER, finite, plain, restored
from diffea.optimise.updates import Updates, known
from diffea.parameters import TOLD, brief, not_numbers, told
from diffea.runtime import named_errors
from diffea.types import Loss, Params

NO_LONGER_BETTER = "the validation loss has not improved in {} validations"
StateT = TypeVar("StateT")
STAGES = 3  # of widths, where an optimizer starts anew at each
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
        widths: by what all widths of soft cuts are multiplied in the course of the run, if at all.
        batches: into how many parts the events are divided, of which each step takes the next.
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
    widths: Schedule | None = None
    batches: int = 1

    def part(self, number: int) -> Part | None:
        """The mini-batch of a step: all parts in turn, and then those of another division."""
        return None if self.batches == 1 else ((number - 1) % self.batches, self.batches, (number - 1) // self.batches)

    def scale(self, fraction: float) -> float | None:
        """By what the widths are multiplied when a fraction of the run is done.

        Raises:
            ParameterError: if it is not a positive number.
        """
        if self.widths is None:
            return None
        scale = self.widths(fraction)
        known = None if not_numbers(scale) else np.asarray(scale, float)
        if known is None or known.shape or not 0 < known < math.inf:
            msg = f"widths maps the fraction of the run to a positive number, such as diffea.anneal(1.0, 0.2), got {scale!r} at {fraction:.3g}"
            raise ParameterError(msg)
        return float(known)

    @property
    def stages(self) -> list[tuple[float | None, int]]:
        """For an optimizer that needs one loss for many steps: the widths of each stage, and the step that it lasts to."""
        if self.widths is None:
            return [(None, self.steps)]
        return [(self.scale(number / (STAGES - 1)), self.steps * (number + 1) // STAGES) for number in range(STAGES)]

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

    def keep(self, history: list[Step], arrays: list[np.ndarray], params: Params) -> None:
        """Write a checkpoint, and the parameters of its last step where the history has but their norm."""
        if self.checkpoint:
            numbers = np.asarray(ravel_pytree(params)[0])
            if len(numbers) > TOLD:
                note_params(self.checkpoint, len(history), numbers)
            save(self.checkpoint, Checkpoint(arrays, history), self.fingerprint)


def step_by_step(run: Run, start: Params, updates: Updates, schedule: Callable[[Params, int], Params] | None) -> Result:
    """Take optax steps, projected onto the bounds. Where the loss is another one at every step, the last point is the result.

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
        last = max(len(history), 1)
        scale = run.scale((last - 1) / max(run.steps - 1, 1))
        found = run.evaluate(best, None, scale, run.part(last))[0] if validation is None else validation
        run.check_loss(lowest, found)

    message = f"all {run.steps} steps taken"
    while len(history) < run.steps and stale < run.patience:
        began, number = time.perf_counter(), len(history) + 1
        if schedule:
            point = run.box.to_steps(schedule(run.box.to_params(point), number))
        scale, part = run.scale((number - 1) / max(run.steps - 1, 1)), run.part(number)
        changes = schedule or scale is not None or part is not None
        value, gradient = run.evaluate(point, None if changes else known(state), scale, part)
        validation, here = run.validation(point, number), run.box.to_params(point)
        criterion = validation if run.validate else value
        if criterion is not None and (criterion < lowest or (changes and not run.validate)):
            best, lowest, stale = point, criterion, 0
        else:
            stale += validation is not None
        point, state = updates(value, gradient, state, point, scale, part)
        spent = time.perf_counter() - began
        history.append(Step(number, run.steps, value, norm(gradient), spent, validation, params=told(here)))
        run.progress(history[-1])
        run.keep(history, plain((point, state, best, lowest, stale)), here)
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
        place = unravel(jnp.asarray(log[-1][0]))
        run.check_loss(float(log[-1][1]), run.evaluate(place, None, history[-1].widths)[0])
    known, done = list(log), 0
    low, high = (np.asarray(ravel_pytree(run.box.to_steps(end))[0]) for end in (run.box.low, run.box.high))
    bounds, place, message = scipy.optimize.Bounds(low, high), np.asarray(first), ""
    for widths, until in run.stages:
        began_at = done

        def evaluate(point: np.ndarray, widths: float | None = widths, until: int = until) -> tuple[float, np.ndarray]:
            nonlocal done
            if done >= until or (done >= len(known) and run.stale(history)):
                raise _EnoughError
            if done < len(known):
                if not np.array_equal(known[done][0], point):
                    msg = "the evaluations in the checkpoint are not those of this run: start anew in another folder"
                    raise CheckpointError(msg)
            else:
                began = time.perf_counter()
                value, gradient = run.evaluate(unravel(jnp.asarray(point)), None, widths)
                log.append((point.copy(), value, np.asarray(ravel_pytree(gradient)[0])))
                validation = run.validation(unravel(jnp.asarray(point)), len(history) + 1)
                spent = time.perf_counter() - began
                number = len(history) + 1
                here = run.box.to_params(unravel(jnp.asarray(point)))
                history.append(
                    Step(number, run.steps, value, norm(gradient), spent, validation, widths=widths, params=told(here))
                )
                run.progress(history[-1])
                run.keep(history, [np.asarray(column) for column in zip(*log, strict=True)], here)
            done += 1
            return float(log[done - 1][1]), log[done - 1][2]

        try:
            found = scipy.optimize.minimize(
                evaluate, place, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": run.steps}
            )
            message = f"L-BFGS-B: {found.message}"
        except _EnoughError:
            stale = run.stale(history)
            message = NO_LONGER_BETTER.format(run.patience) if stale else f"all {run.steps} evaluations made"
        if done > began_at:
            losses = [float(loss) for _, loss, _ in log[began_at:done]]
            place, last = log[began_at + int(np.argmin(losses))][0], began_at
    if not log:
        return Result(start, (), message)
    compared = (
        [step.validation for step in history] if run.validate else [None] * last + [s.loss for s in history[last:]]
    )
    best = int(np.argmin([np.inf if loss is None else loss for loss in compared]))
    return Result(run.box.to_params(unravel(jnp.asarray(log[best][0]))), tuple(history), message)


class _EnoughError(Exception):
    """Raised to leave SciPy after the last evaluation."""
