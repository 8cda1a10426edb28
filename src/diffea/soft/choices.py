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
from diffea.types import AnyArray, PyTree

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
        ChoiceError: when there are not as many options as logits, or options are not alike. ``Ragged`` options are of the same objects; where they
            are not, which is known when the function runs, the result is NaN.
        WidthError: when the temperature is known and not positive.
    """
    logits = jnp.asarray(logits)
    if logits.ndim != 1 or len(options) != logits.shape[0] or not len(options):
        msg = f"expected one logit for each option, got logits of shape {logits.shape} for {len(options)} options"
        raise ChoiceError(msg)
    _check_alike(options)
    temperature = checked_width(temperature)
    scale = width_scale()
    best = jnp.argmax(logits)
    shares = jax.nn.softmax(logits / (temperature if scale is None else temperature * scale))
    if straight_through:
        whole = jax.nn.one_hot(best, logits.shape[0], dtype=shares.dtype)
        shares = shares + jax.lax.stop_gradient(whole - shares)

    def mix(*leaves: Any) -> Any:
        if isinstance(leaves[0], Ragged):
            return _of_same_objects(mix(*(leaf.values for leaf in leaves)), [leaf.mask for leaf in leaves])
        if is_hard():
            stacked = jnp.stack(leaves)
            return stacked[best].astype(jnp.result_type(stacked, shares))
        mixture = shares[0] * leaves[0]
        for share, leaf in zip(shares[1:], leaves[1:], strict=True):
            mixture = mixture + share * leaf
        return mixture

    return jax.tree.map(mix, *options, is_leaf=_is_ragged)


def _check_alike(options: Sequence[PyTree]) -> None:
    """See that any of the options can stand in the place of any other."""
    kinds = [
        (
            jax.tree.structure(option, is_leaf=_is_ragged),
            [(_is_ragged(leaf), jnp.shape(_values(leaf))) for leaf in leaves],
        )
        for option in options
        for leaves in [jax.tree.leaves(option, is_leaf=_is_ragged)]
    ]
    if unlike := [kind for kind in kinds if kind != kinds[0]]:
        msg = f"expected options of the same structure and shapes, got {kinds[0]} and {unlike[0]}"
        raise ChoiceError(msg)


def _is_ragged(leaf: object) -> bool:
    return isinstance(leaf, Ragged)


def _values(leaf: PyTree) -> PyTree:
    return leaf.values if isinstance(leaf, Ragged) else leaf


def _of_same_objects(values: jax.Array, masks: Sequence[AnyArray]) -> Ragged:
    """Values of objects that all options have; NaN where one of them has an object and another has not."""
    first, *others = masks
    unlike = [mask for mask in others if mask is not first]
    if not unlike:
        return Ragged(values, first)
    stacked = jnp.stack([jnp.asarray(first), *map(jnp.asarray, unlike)])
    some = stacked.any(axis=0)
    return Ragged(jnp.where(some & ~stacked.all(axis=0), jnp.nan, values), some)
