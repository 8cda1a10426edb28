"""Discrete choices: which working point, which algorithm, as a mixture that hardens to one option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from diffea.errors import ChoiceError
from diffea.events.ragged import Ragged
from diffea.soft.context import is_hard, width_scale
from diffea.soft.transition import checked_width
from diffea.types import PyTree

__all__ = ["choice"]


def choice(
    logits: ArrayLike, options: Sequence[PyTree], *, temperature: ArrayLike = 1.0, straight_through: bool = False
) -> PyTree:
    """One of several options: softly their mixture with weights softmax(logits / temperature).

    Under ``hard()`` it is the option with the largest logit. Weights of events may be mixed, and are then the exact
    expectation of a random choice; a mixture of observables is something between them.

    >>> np.round(soft.choice(jnp.array([0.0, 1.0]), jnp.array([10.0, 20.0]), temperature=1.0), 2).tolist()
    17.31
    >>> with soft.hard():
    ...     print(soft.choice(jnp.array([0.0, 1.0]), jnp.array([10.0, 20.0]), temperature=1.0).tolist())
    20.0

    Args:
        logits: parameters, shape (options,).
        options: pytrees of arrays (or ``Ragged``) of the same shapes, or one array of shape (options, …).
        temperature: positive; the smaller, the nearer to one option. ``sharpened`` scales it like a width.
        straight_through: take the one option, but pass gradients as if it were the mixture.

    Returns:
        The same pytree as one option.

    Raises:
        ChoiceError: when there are not as many options as logits.
        WidthError: when the temperature is known and not positive.
    """
    logits = jnp.asarray(logits)
    if logits.ndim != 1 or len(options) != logits.shape[0] or not len(options):
        msg = f"expected one logit for each option, got logits of shape {logits.shape} for {len(options)} options"
        raise ChoiceError(msg)
    temperature = checked_width(temperature)
    scale = width_scale()
    best = jnp.argmax(logits)
    shares = jax.nn.softmax(logits / (temperature if scale is None else temperature * scale))
    if straight_through:
        whole = jax.nn.one_hot(best, logits.shape[0], dtype=shares.dtype)
        shares = shares + jax.lax.stop_gradient(whole - shares)

    def mix(*leaves: Any) -> Any:
        if isinstance(leaves[0], Ragged):
            values = mix(*(leaf.values for leaf in leaves))
            return Ragged(values, leaves[0].mask)
        if is_hard():
            stacked = jnp.stack(leaves)
            return stacked[best].astype(jnp.result_type(stacked, shares))
        mixture = shares[0] * leaves[0]
        for share, leaf in zip(shares[1:], leaves[1:], strict=True):
            mixture = mixture + share * leaf
        return mixture

    return jax.tree.map(mix, *options, is_leaf=lambda leaf: isinstance(leaf, Ragged))
