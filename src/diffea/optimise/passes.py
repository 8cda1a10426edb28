"""Passes: the loss at many points at once, hard or soft, each time one pass over the data; a resumed run takes them from its checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea import soft
from diffea.errors import CheckpointError, DiffeaError, NotFiniteError
from diffea.optimise.checkpoints import Checkpoint
from diffea.optimise.composite import Composite
from diffea.optimise.evaluation import scalar
from diffea.optimise.loops import Run
from diffea.optimise.result import Result, Scan, Step
from diffea.optimise.states import OTHER
from diffea.parameters import brief, name_of
from diffea.runtime import named_errors
from diffea.types import Params, PyTree

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
    """

    points: np.ndarray
    widths: np.ndarray
    values: np.ndarray
    gradients: np.ndarray

    def __post_init__(self) -> None:
        count, size = self.points.shape if self.points.ndim == 2 else (0, 0)
        shapes = (self.widths.shape, self.values.shape)
        if not count or shapes != ((), (count,)) or self.gradients.shape not in ((0, size), (count, size)):
            raise CheckpointError(OTHER)


class Passes:
    """The two ways in which a search sees the loss.

    Args:
        run: what to minimise, and what was done of it before.
        loss: its two parts.
        start: parameters.

    Attributes:
        begin: the start, flat and in the units of steps.
        best: the point of the lowest hard loss so far.
        lowest: that loss.
        records: every point that was the best when it was found.
    """

    def __init__(self, run: Run, loss: Composite, start: Params) -> None:
        begin, self._unravel = ravel_pytree(run.box.to_steps(start))
        self.run, self.begin = run, np.asarray(begin)
        self.low, self.high = (np.asarray(ravel_pytree(run.box.to_steps(end))[0]) for end in (run.box.low, run.box.high))
        self.best, self.lowest = self.begin, np.inf
        self.records: list[np.ndarray] = []
        self.history: list[Step] = []
        self._log: list[Pass] = []
        self._loss = loss
        self._largest = 0.0
        self._first: DiffeaError | None = None
        self._objective = jax.jit(lambda templates: scalar(loss.objective(templates)))
        self._slope = jax.jit(jax.value_and_grad(lambda templates: scalar(loss.objective(templates))))
        if begun := run.begin(self._read):
            self._log, self.history = begun
            self._check(self._log[-1])
        self._replay = iter(list(zip(self._log, self.history, strict=True)))

    def params(self, point: np.ndarray) -> Params:
        """The parameters of a point."""
        return self.run.box.to_params(self._unravel(jnp.asarray(point)))

    def unbounded(self) -> list[str]:
        """The parameters that have not two bounds, by name."""
        labels = _labels(self.params(self.begin))
        return [label for label, low, high in zip(labels, self.low, self.high, strict=True) if np.isinf(high - low)]

    def flat_params(self, point: np.ndarray) -> np.ndarray:
        """The parameters of a point in one vector."""
        return np.asarray(ravel_pytree(self.params(point))[0])

    def result(self, message: str, scans: Mapping[int, Scan]) -> Result:
        """What the search leaves.

        Args:
            message: why it ended.
            scans: by the number of the parameter.
        """
        labels = _labels(self.params(self.begin))
        named = {labels[number]: found for number, found in scans.items()}
        return Result(self.params(self.best), tuple(self.history), message, self.lowest, named)

    def hard(self, phase: str, points: np.ndarray) -> np.ndarray:
        """The loss with exact cuts at each point, infinite where the statistics fail.

        Args:
            phase: of the search, for its history.
            points: shape (points, parameters).

        Raises:
            EnoughError: if the run has no pass left.
            NotFiniteError, FitError, YieldError: if it is no number anywhere, not even at the first of them.
        """
        found = self._made(phase, np.clip(points, self.low, self.high), 0.0, self._hard)
        for point, value in zip(found.points, found.values, strict=True):
            if value < self.lowest:
                self.best, self.lowest = point, float(value)
                self.records.append(point)
        if not np.isfinite(self.lowest):
            raise self._first or NotFiniteError(f"the loss is not finite at {brief(self.params(found.points[0]))}")
        return found.values

    def soft(self, phase: str, points: np.ndarray, widths: float) -> tuple[np.ndarray, np.ndarray]:
        """The soft loss and its gradient at each point.

        Where the statistics fail, the loss is larger than any that was seen, and the gradient zero.

        Args:
            phase: of the search, for its history.
            points: shape (points, parameters).
            widths: by what the widths of soft cuts are multiplied.

        Raises:
            EnoughError: if the run has no pass left.
        """
        found = self._made(phase, np.clip(points, self.low, self.high), widths, self._soft)
        known = found.values[np.isfinite(found.values)]
        self._largest = max(self._largest, np.abs(known).max(initial=0.0))
        failed = FAILED * max(self._largest, 1.0)
        return np.where(np.isfinite(found.values), found.values, failed), found.gradients

    def _made(
        self, phase: str, points: np.ndarray, widths: float, make: Callable[[np.ndarray, float], Pass]
    ) -> Pass:
        if known := next(self._replay, None):
            found, step = known
            if not (np.array_equal(found.points, points) and found.widths == widths and step.phase == phase):
                msg = "the passes in the checkpoint are not those of this run: start anew in another folder"
                raise CheckpointError(msg)
            return found
        if len(self.history) >= self.run.steps:
            raise EnoughError
        began, fills = time.perf_counter(), self._fills()
        found = make(points, widths)
        spent = len(points) * (GRADIENT_FILLS if widths else 1.0) if fills is None else (self._fills() or 0.0) - fills
        finite = found.values[np.isfinite(found.values)]
        step = Step(
            step=len(self.history) + 1,
            steps=self.run.steps,
            loss=float(finite.min()) if finite.size else self.lowest,
            gradient_norm=float(np.linalg.norm(found.gradients[np.argmin(found.values)])) if widths else None,
            seconds=time.perf_counter() - began,
            phase=phase,
            points=len(points),
            fills=spent,
        )
        if np.isfinite(step.loss):  # otherwise the run ends here, by an error
            self.history.append(step)
            self._log.append(found)
            self.run.progress(step)
            self.run.keep(self.history, [array for made in self._log for array in dataclasses.astuple(made)])
        return found

    def _fills(self) -> float | None:
        return getattr(self._loss.templates, "fills", None)

    def _hard(self, points: np.ndarray, _: float) -> Pass:
        with soft.hard(), named_errors():
            templates = jax.tree.map(np.asarray, jax.vmap(self._templates)(jnp.asarray(points)))
        values = [value for value, _ in self._each(self._objective, templates, len(points))]
        return Pass(points, np.asarray(0.0), np.asarray(values), np.empty((0, points.shape[1])))

    def _soft(self, points: np.ndarray, widths: float) -> Pass:
        with soft.sharpened(widths), named_errors():
            found, pull = jax.vjp(jax.vmap(self._templates), jnp.asarray(points))
        values, slopes = zip(*self._each(self._slope, found, len(points)), strict=True)
        none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), found)
        several = [none if slope is None else slope for slope in slopes]
        with named_errors():
            (gradients,) = pull(jax.tree.map(lambda *leaves: jnp.stack(leaves), *several))
        return Pass(points, np.asarray(widths), np.asarray(values), np.asarray(gradients))

    def _templates(self, point: jax.Array) -> PyTree:
        return self._loss.templates(self.params(point))

    def _each(
        self, evaluate: Callable[[PyTree], PyTree], templates: PyTree, count: int
    ) -> Iterator[tuple[float, PyTree]]:
        """Statistics at each point by itself: one that fails is no obstacle to the others."""
        for number in range(count):
            one = jax.tree.map(lambda leaf: leaf[number], templates)  # noqa: B023
            try:
                with named_errors(), _quiet():
                    found = evaluate(one)
                    jax.block_until_ready(found)
            except DiffeaError as error:
                self._first = self._first or error
                yield np.inf, None
            else:
                value, slope = found if isinstance(found, tuple) else (found, None)
                yield (float(value) if np.isfinite(value) else np.inf), slope

    def _read(self, checkpoint: Checkpoint) -> tuple[list[Pass], list[Step]]:
        arrays, history = checkpoint.arrays, list(checkpoint.history)
        width = len(dataclasses.fields(Pass))
        if not history or len(arrays) != width * len(history):
            raise CheckpointError(OTHER)
        log = [Pass(*arrays[start : start + width]) for start in range(0, len(arrays), width)]
        for made in log:
            if made.points.shape[1] != self.begin.size or not np.isfinite(made.points).all():
                raise CheckpointError(OTHER)
            for point in made.points:
                self.run.check_place(self._unravel(jnp.asarray(point)))
        return log, history

    def _check(self, made: Pass) -> None:
        """See that the loss is still the one of the checkpoint."""
        number = int(np.argmin(made.values))
        point = made.points[number : number + 1]
        again = self._soft(point, float(made.widths)) if made.widths else self._hard(point, 0.0)
        self.run.check_loss(float(made.values[number]), float(again.values[0]))


def _labels(params: Params) -> list[str]:
    """A name for each number of the parameters, such as ``mt`` or ``edges[2]``."""
    return [
        name_of(path) + "".join(f"[{part}]" for part in index)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        for index in np.ndindex(np.shape(leaf))
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the traceback that JAX logs for an error of a callback, which is raised here all the same."""
    logger = logging.getLogger("jax._src.debugging")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
