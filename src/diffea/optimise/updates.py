"""The steps of an optax optimizer, held within the bounds; one with a line search evaluates the loss by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from diffea.errors import DiffeaError, ParameterError
from diffea.optimise.box import Box
from diffea.optimise.evaluation import Part, of_part, scalar, sharpened_by
from diffea.runtime import named_errors
from diffea.types import Loss, Params, Scalar

SEARCH = {"learning_rate", "value", "grad"}  # of the states of optax's line searches


class Updates:
    """An optax optimizer, jitted once.

    Args:
        optimizer: of optax; it may want the loss's value, gradient and function as optax's line searches do.
        loss: a function of the parameters.
        box: the units of steps.
    """

    def __init__(self, optimizer: optax.GradientTransformation, loss: Loss, box: Box) -> None:
        full = optax.with_extra_args_support(optimizer)

        def update(
            value: jax.Array,
            gradient: Params,
            state: optax.OptState,
            point: Params,
            widths: Scalar | None,
            part: Part | None,
        ) -> tuple[Params, optax.OptState]:
            def value_fn(steps: Params) -> jax.Array:
                with sharpened_by(widths), of_part(part):
                    return scalar(loss(box.to_params(steps)))

            if any(_searches(state)):  # which would otherwise expect a decrease from steps that lead out of the box
                gradient = box.inward(gradient, point)
            updates, state = full.update(gradient, state, point, value=value, grad=gradient, value_fn=value_fn)
            free = optax.apply_updates(point, updates)
            held = box.clip(free)
            same = jnp.array_equal(ravel_pytree(free)[0], ravel_pytree(held)[0])
            return held, _known_where(same, state)

        self._init = optimizer.init
        self._update = jax.jit(update)

    def init(self, point: Params) -> optax.OptState:
        """The optimizer's state at the start.

        Raises:
            ParameterError: if the optimizer is made for other parameters.
        """
        with _named():
            return self._init(point)

    def searches(self, point: Params) -> bool:
        """Whether the optimizer has a line search, which evaluates the loss by itself."""
        return any(_searches(self.init(point)))

    def __call__(
        self,
        value: float,
        gradient: Params,
        state: optax.OptState,
        point: Params,
        widths: float | None = None,
        part: Part | None = None,
    ) -> tuple[Params, optax.OptState]:
        """The next point, and the state there; widths of soft cuts and mini-batch are those of value and gradient.

        Raises:
            ParameterError: if the optimizer needs more than it can be given.
        """
        with named_errors(), _named():
            return self._update(jnp.asarray(value), gradient, state, point, widths, part)


def known(state: optax.OptState) -> tuple[float, Params] | None:
    """Loss and gradient where the last line search ended, if there was one and its point is the one that was taken."""
    for search in _searches(state):
        if search.grad is not None and np.isfinite(search.value):
            return float(search.value), search.grad
    return None


def _searches(state: optax.OptState) -> Iterator[optax.OptState]:
    yield from filter(_is_search, jax.tree.leaves(state, is_leaf=_is_search))


def _is_search(state: optax.OptState) -> bool:
    return set(getattr(state, "_fields", ())) >= SEARCH


def _known_where(same: jax.Array, state: optax.OptState) -> optax.OptState:
    """The state, from which the value of a line search is gone unless its point was taken."""
    return jax.tree.map(
        lambda part: part._replace(value=jnp.where(same, part.value, jnp.inf)) if _is_search(part) else part,
        state,
        is_leaf=_is_search,
    )


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except DiffeaError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        msg = (
            "the optimizer does not work with these parameters, or wants more than optax's usual `value`, `grad` and `value_fn`: "
            f"{type(error).__name__}: {error}"
        )
        raise ParameterError(msg) from error
