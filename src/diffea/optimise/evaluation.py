"""The loss and its gradient in the units of steps, checked at every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import LossError, NotFiniteError
from diffea.optimise.box import Box
from diffea.parameters import brief, name_of
from diffea.runtime import named_errors


class LossAndGradient:
    """Value and gradient of a loss, jitted once.

    Args:
        loss: a function of the parameters.
        box: the units of steps.
    """

    def __init__(self, loss: Callable[[Any], Any], box: Box) -> None:
        def in_steps(steps: Any) -> Any:
            return scalar(loss(box.to_params(steps)))

        self._value_and_grad = jax.jit(jax.value_and_grad(in_steps))
        self._box = box
        self._first = True

    def __call__(self, steps: Any) -> tuple[float, Any]:
        """Loss and gradient.

        Raises:
            LossError: if the loss is not a number.
            NotFiniteError: if the loss or a gradient is NaN or infinite, naming the parameter.
        """
        with named_errors():
            value, gradient = self._value_and_grad(steps)
            value = float(value)
        self.check(value, gradient, steps)
        return value, gradient

    def check(self, value: float, gradient: Any, steps: Any) -> None:
        """See that loss and gradient are finite, and at the start that each parameter has an influence.

        Raises:
            NotFiniteError: naming the parameter.
        """
        params = self._box.to_params(steps)
        if not np.isfinite(value):
            msg = f"the loss is {value} at {brief(params)}"
            raise NotFiniteError(msg)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            if not np.isfinite(leaf).all():
                msg = f"the gradient by parameter {name_of(path)!r} is not finite at {brief(params)}"
                raise NotFiniteError(msg)
            if self._first and not np.any(leaf):
                warnings.warn(
                    f"parameter {name_of(path)!r} has no influence on the loss at the start: its gradient is exactly zero",
                    stacklevel=4,
                )
        self._first = False


def scalar(value: Any) -> Any:
    """The value of a loss.

    Raises:
        LossError: if it is not one number.
    """
    if jnp.shape(value) != ():
        msg = f"the loss must be one number, got an array of shape {jnp.shape(value)}"
        raise LossError(msg)
    return value


def norm(gradient: Any) -> float:
    """Euclidean norm over all leaves."""
    return float(np.sqrt(sum(float(jnp.vdot(leaf, leaf)) for leaf in jax.tree.leaves(gradient))))
