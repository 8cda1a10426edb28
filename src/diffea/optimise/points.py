"""Points: the loss at many points at once, with exact or with soft cuts, each time in one pass over the data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea import soft
from diffea.errors import DiffeaError
from diffea.optimise.box import Box
from diffea.optimise.composite import Composite
from diffea.optimise.evaluation import compiled
from diffea.parameters import number_names
from diffea.runtime import named_errors
from diffea.types import AnyArray, Params, PyTree


class Points:
    """A composite loss as a function of many points.

    Args:
        loss: its two parts.
        box: of the parameters.
        start: parameters, whose structure all points have.

    Attributes:
        begin: the start, flat and in the units of steps, shape (parameters,).
        low: the bounds of each parameter, likewise.
        high: likewise.
        failure: why the statistics failed, where they did so first.
    """

    def __init__(self, loss: Composite, box: Box, start: Params) -> None:
        self.begin, self.low, self.high = (
            np.asarray(ravel_pytree(box.to_steps(params))[0]) for params in (start, box.low, box.high)
        )
        self.failure: DiffeaError | None = None
        self._templates = loss.templates
        self._many = jax.jit(jax.vmap(loss.templates))
        self._to_params = jax.jit(box.to_params)
        self._units = np.asarray(ravel_pytree(box.units)[0])
        self._unravel = ravel_pytree(box.to_steps(start))[1]
        self._objective = compiled(loss.objective)

    def steps(self, point: AnyArray) -> Params:
        """A point as a pytree in the units of steps."""
        return self._unravel(jnp.asarray(point))

    def params(self, point: AnyArray) -> Params:
        """The parameters of a point."""
        return self._to_params(self.steps(point))

    def flat_params(self, point: np.ndarray) -> np.ndarray:
        """The parameters of a point in one vector."""
        return np.asarray(ravel_pytree(self.params(point))[0])

    @property
    def names(self) -> list[str]:
        """A name for each number of the parameters, such as ``mt`` or ``edges[2]``."""
        return number_names(self.steps(self.begin))

    @property
    def fills(self) -> float | None:
        """What all passes computed so far, if the templates count it."""
        return getattr(self._templates, "fills", None)

    def hard(self, points: np.ndarray) -> np.ndarray:
        """The loss with exact cuts, shape (points,); infinite where the statistics fail or it is no number.

        Args:
            points: shape (points, parameters).
        """
        with soft.hard(), named_errors():
            templates = jax.tree.map(np.asarray, self._many(self._stacked(points)))
        return np.asarray([value for value, _ in self._each(lambda one: (self._objective.value(one), None), templates)])

    def soft(self, points: np.ndarray, widths: float) -> tuple[np.ndarray, np.ndarray]:
        """The soft loss, shape (points,), and its gradient, shape (points, parameters); where the statistics fail, ∞ and 0.

        Args:
            points: shape (points, parameters).
            widths: by what the widths of soft cuts are multiplied.
        """
        with soft.sharpened(widths), named_errors():
            found, pull = jax.vjp(self._many, self._stacked(points))
        found = jax.tree.map(np.asarray, found)
        values, slopes = zip(*self._each(self._objective.value_and_slope, found), strict=True)
        none = jax.tree.map(lambda leaf: np.zeros_like(leaf[0]), found)
        several = [none if slope is None else slope for slope in slopes]
        with named_errors():
            (gradients,) = pull(jax.tree.map(lambda *leaves: np.stack(leaves), *several))
        rows = [leaf.reshape(len(points), -1) for leaf in map(np.asarray, jax.tree.leaves(gradients))]
        return np.asarray(values), np.concatenate(rows, axis=1) * self._units

    def _stacked(self, points: np.ndarray) -> Params:
        """The parameters of many points, along the first axis of each leaf."""
        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(self.params, points))

    def _each(
        self, evaluate: Callable[[PyTree], tuple[jax.Array, PyTree]], templates: PyTree
    ) -> Iterator[tuple[float, PyTree]]:
        """Statistics at each point by itself: one that fails is no obstacle to the others."""
        for number in range(len(jax.tree.leaves(templates)[0])):
            one = jax.tree.map(lambda leaf: leaf[number], templates)  # noqa: B023
            try:
                with named_errors(), _quiet():
                    value, slope = jax.block_until_ready(evaluate(one))
            except DiffeaError as error:
                self.failure = self.failure or error
                yield np.inf, None
            else:
                yield (float(value), slope) if np.isfinite(value) else (np.inf, None)


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
