"""The loss and its gradient in the units of steps, checked at every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea import soft
from diffea.complaints import Compiled
from diffea.distributed import Templates
from diffea.errors import DiffeaError, FlatLossError, LossError, NotFiniteError, ParameterError
from diffea.events.minibatches import mini_batch
from diffea.optimise.box import Box
from diffea.optimise.composite import Composite
from diffea.parameters import brief, name_of
from diffea.runtime import named_errors
from diffea.types import Loss, Params, PyTree, Scalar

PROBE = 0.01  # in the units of steps
Part: TypeAlias = tuple[Scalar, Scalar, Scalar]
"""A mini-batch, as number, parts and seed."""


class LossAndGradient:
    """Value and gradient of a loss, jitted once.

    Args:
        loss: a function of the parameters.
        box: the units of steps.

    Attributes:
        at_start: whether the next evaluation is the first of a run that begins, not of one that goes on.
    """

    def __init__(self, loss: Loss, box: Box) -> None:
        def in_steps(steps: Params, widths: Scalar | None, part: Part | None) -> jax.Array:
            with sharpened_by(widths), of_part(part):
                return scalar(loss(box.to_params(steps)))

        self._value_and_grad: Callable[..., tuple[jax.Array, Params]] = (
            _apart(loss.templates, compiled(loss.objective), box)
            if isinstance(loss, Composite) and isinstance(loss.templates, Templates)
            else jax.jit(jax.value_and_grad(in_steps))
        )
        self._box = box
        self.at_start = True

    def __call__(
        self,
        steps: Params,
        known: tuple[float, Params] | None = None,
        widths: float | None = None,
        part: Part | None = None,
    ) -> tuple[float, Params]:
        """Loss and gradient.

        Args:
            steps: where.
            known: both, if they were evaluated already.
            widths: by what all widths of soft cuts are multiplied, if at all.
            part: the mini-batch, as number, parts and seed; all events without it.

        Raises:
            LossError: if the loss is not a number.
            NotFiniteError: if the loss or a gradient is NaN or infinite, naming the parameter.
            FlatLossError: if the loss does not change at all around the start.
        """
        with named_errors():
            value, gradient = known or self._value_and_grad(steps, widths, part)
            value = float(value)
        self.check(value, gradient, steps, widths, part)
        return value, gradient

    def check(
        self,
        value: float,
        gradient: Params,
        steps: Params,
        widths: float | None = None,
        part: Part | None = None,
    ) -> None:
        """See that loss and gradient are finite, and at the start that there is a way down and each parameter has an influence.

        Raises:
            NotFiniteError: naming the parameter.
            FlatLossError: if the loss does not change at all around the start.
        """
        params = self._box.to_params(steps)
        if not np.isfinite(value):
            msg = f"the loss is {value} at {brief(params)}"
            raise NotFiniteError(msg)
        idle = []
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            if not np.isfinite(leaf).all():
                msg = f"the gradient by parameter {name_of(path)!r} is not finite at {brief(params)}"
                raise NotFiniteError(msg)
            if not np.any(leaf):
                idle.append(name_of(path))
        if self.at_start and len(idle) == len(jax.tree.leaves(gradient)) and self._flat(value, steps, widths, part):
            raise flat_loss(value, "at the start and stays so around it")
        if self.at_start:
            for name in idle:
                warnings.warn(
                    f"parameter {name!r} has no influence on the loss at the start: its gradient is exactly zero",
                    stacklevel=4,
                )
        self.at_start = False

    def _flat(self, value: float, steps: Params, widths: float | None, part: Part | None) -> bool:
        """Whether the loss is the same at two points beside one that has no gradient, which may also be a minimum."""
        flat, unravel = ravel_pytree(steps)
        aside = PROBE * np.random.default_rng(0).uniform(0.5, 1.0, flat.shape) * np.maximum(1.0, np.abs(flat))
        for beside in (flat + aside, flat - aside):
            try:
                with named_errors():
                    found, _ = self._value_and_grad(self._box.clip(unravel(beside)), widths, part)
            except DiffeaError:
                return False
            if float(found) != value:
                return False
        return True


def _apart(templates: Templates, objective: Compiled, box: Box) -> Callable[..., tuple[jax.Array, Params]]:
    """Value and gradient by a pass over the data between two programs: JAX keeps those, but none that calls for a pass itself."""
    to_params = jax.jit(box.to_params)
    to_steps = jax.jit(lambda steps, slope: jax.vjp(box.to_params, steps)[1](slope)[0])

    def value_and_grad(steps: Params, widths: Scalar | None, part: Part | None) -> tuple[jax.Array, Params]:
        params = to_params(steps)  # outside of the contexts, in each of which JAX traces anew
        with sharpened_by(widths), of_part(part):
            found, pull = templates.with_pull(params)
        value, slope = objective.value_and_slope(found)
        return value, to_steps(steps, pull(slope))

    return value_and_grad


def flat_loss(value: float, where: str) -> FlatLossError:
    """The error of a loss that is the same wherever it was looked at."""
    return FlatLossError(
        f"the loss is {value} {where}: all gradients are exactly zero, and no step leads anywhere. CLs of "
        "a signal that is far too strong is 0: check its normalisation, or minimise `objectives.log_cls` or "
        "`objectives.upper_limit` instead; and see that the loss depends on the parameters"
    )


def sharpened_by(widths: Scalar | None) -> AbstractContextManager[None]:
    """``soft.sharpened``, where there is a scale."""
    return nullcontext() if widths is None else soft.sharpened(widths)


@contextmanager
def of_part(part: Part | None) -> Iterator[None]:
    """``mini_batch``, where there is a part.

    Raises:
        ParameterError: if no templates were asked for in it, so that there are no events to take a part of.
    """
    if part is None:
        yield
        return
    with mini_batch(*part) as around:
        yield
    if not around.asked:
        msg = (
            "batches are parts of the events of diffea.distribute, and the loss does not call its templates: leave out batches, or divide "
            "the data inside of the loss"
        )
        raise ParameterError(msg)


def scalar(value: object) -> jax.Array:
    """The value of a loss.

    Raises:
        LossError: if it is not one real number.
    """
    if isinstance(value, str | bytes) or not jax.tree_util.all_leaves([value]):
        msg = f"the loss must be one number, got {type(value).__name__}"
        raise LossError(msg)
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        msg = f"the loss must be one number, got {type(value).__name__}"
        raise LossError(msg) from error
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if array.shape != () or not real:
        msg = f"the loss must be one real number, got an array of shape {array.shape} of {array.dtype}"
        raise LossError(msg)
    return array.astype(float)


def compiled(objective: Callable[[PyTree], Scalar]) -> Compiled:
    """An objective whose value is one number, or an error, with its programs."""
    if isinstance(objective, Compiled):
        return objective
    return Compiled(lambda templates: scalar(objective(templates)))


def norm(gradient: Params) -> float:
    """Euclidean norm over all leaves, also where its square is no number."""
    flat = np.asarray(ravel_pytree(gradient)[0])
    largest = float(np.abs(flat).max(initial=0.0))
    return largest * float(np.linalg.norm(flat / largest)) if largest > 0 else 0.0
