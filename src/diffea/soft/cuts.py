"""Soft cuts: the probability, between 0 and 1, that a cut keeps an event or an object."""

from __future__ import annotations

import functools
import operator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import WidthError
from diffea.events.ragged import Column, Ragged
from diffea.soft.context import is_hard
from diffea.soft.recording import recorded
from diffea.soft.transition import Shape, checked_width, floating, transition

__all__ = ["above", "all_of", "any_of", "below", "between", "not_", "outside"]

Soft = TypeVar("Soft", jax.Array, Ragged)


@recorded
def above(x: Column, threshold: ArrayLike, *, width: ArrayLike, shape: Shape = "sigmoid") -> Any:
    """How much ``x`` is above a threshold; under ``hard()`` exactly ``x > threshold``, as 0 or 1.

    >>> np.round(soft.above(np.array([20.0, 25.0, 30.0]), 25.0, width=5.0), 3).tolist()
    [0.269, 0.5, 0.731]
    >>> with soft.hard():
    ...     print(soft.above(np.array([20.0, 25.0, 30.0]), 25.0, width=5.0).tolist())
    [0.0, 0.0, 1.0]
    >>> round(float(jax.grad(lambda cut: soft.above(30.0, cut, width=5.0))(25.0)), 4)
    -0.0393

    Args:
        x: one value an event, shape (events,), or one an object (``Ragged``).
        threshold: scalar, or one value an event; in the unit of ``x``.
        width: of the transition, in the unit of ``x``; see ``diffea.soft.transition``.
        shape: ``sigmoid``, ``normal`` or ``polynomial``.

    Returns:
        The same kind as ``x``, between 0 and 1; 0 in the empty slots of a ``Ragged``.

    Raises:
        WidthError: when the width is known and not a positive number, or the threshold is another column of objects.
    """
    x, threshold = _array(x), _threshold(threshold)
    if isinstance(x, Ragged):
        passed = above(x.values, _per_event(threshold), width=_per_event(width), shape=shape)
        return Ragged(jnp.where(x.mask, passed, 0.0), x.mask)
    if is_hard():
        checked_width(width)
        return (jnp.asarray(x) > threshold).astype(floating(x, threshold))
    return transition(x, threshold, width, shape)


@recorded
def below(x: Column, threshold: ArrayLike, *, width: ArrayLike, shape: Shape = "sigmoid") -> Any:
    """How much ``x`` is below a threshold; under ``hard()`` exactly ``x < threshold``. Arguments as for ``above``.

    >>> np.round(soft.below(np.array([20.0, 25.0, 30.0]), 25.0, width=5.0), 3).tolist()
    [0.731, 0.5, 0.269]
    """
    column, threshold = _array(x), _threshold(threshold)
    values = column.values if isinstance(column, Ragged) else column
    dtype = floating(values, threshold)  # the negative of an unsigned integer wraps
    return above(-column.astype(dtype), -threshold.astype(dtype), width=width, shape=shape)


@recorded
def between(x: Column, low: ArrayLike, high: ArrayLike, *, width: ArrayLike, shape: Shape = "sigmoid") -> Any:
    """How much ``x`` is between two thresholds; under ``hard()`` exactly ``low < x < high``.

    The product of ``above(x, low)`` and ``below(x, high)``. Arguments as for ``above``.

    >>> np.round(soft.between(np.array([70.0, 90.0, 110.0]), 80.0, 100.0, width=2.0), 3).tolist()
    [0.007, 0.987, 0.007]

    Raises:
        WidthError: when both thresholds are known and in the wrong order.
    """
    _check_order(low, high)
    return all_of(above(x, low, width=width, shape=shape), below(x, high, width=width, shape=shape))


@recorded
def outside(x: Column, low: ArrayLike, high: ArrayLike, *, width: ArrayLike, shape: Shape = "sigmoid") -> Any:
    """How much ``x`` is outside of two thresholds: the complement of ``between``; hard ``x <= low or x >= high``.

    >>> np.round(soft.outside(np.array([70.0, 90.0, 110.0]), 80.0, 100.0, width=4.0), 3).tolist()
    [0.924, 0.146, 0.924]
    """
    return not_(between(x, low, high, width=width, shape=shape))


def not_(cut: Soft) -> Soft:
    """The complement ``1 - cut`` of a soft cut (0 still in the empty slots of a ``Ragged``).

    >>> soft.not_(jnp.array([0.25, 1.0])).tolist()
    [0.75, 0.0]
    """
    if isinstance(cut, Ragged):
        return Ragged(jnp.where(cut.mask, 1.0 - cut.values, 0.0), cut.mask)
    return 1.0 - jnp.asarray(cut)


def all_of(*cuts: Column) -> Any:
    """All of several cuts at once: their product. A cut on events and one on objects give one on objects.

    >>> soft.all_of(np.array([0.5, 1.0]), np.array([0.5, 0.25])).tolist()
    [0.25, 0.25]

    Raises:
        WidthError: without any cut.
    """
    if not cuts:
        msg = "expected at least one cut, got none: soft.all_of(cut, another)"
        raise WidthError(msg)
    return functools.reduce(operator.mul, map(_array, cuts))


def any_of(*cuts: Column) -> Any:
    """At least one of several cuts: the complement of the product of the complements. A cut fails what it is not made on, as after ``keep``.

    >>> soft.any_of(np.array([0.5, 1.0]), np.array([0.5, 0.25])).tolist()
    [0.75, 1.0]

    Raises:
        WidthError: without any cut.
    """
    columns = [_array(cut) for cut in cuts]
    masks = {id(column.mask): column.mask for column in columns if isinstance(column, Ragged)}
    if len({np.shape(mask) for mask in masks.values()}) == 1:
        every = functools.reduce(operator.or_, masks.values())
        columns = [Ragged(one.where(0.0), every) if isinstance(one, Ragged) else one for one in columns]
    return not_(all_of(*(not_(column) for column in columns)))


def _array(x: Column) -> Any:
    return x if isinstance(x, Ragged) else jnp.asarray(x)


def _threshold(threshold: ArrayLike) -> jax.Array:
    if isinstance(threshold, Ragged):
        msg = "expected one threshold, or one an event, got one an object (a Ragged column): cut on the difference of the two columns at 0"
        raise WidthError(msg)
    return jnp.asarray(threshold)


def _per_event(value: ArrayLike) -> ArrayLike:
    return jnp.expand_dims(jnp.asarray(value), 1) if np.ndim(value) == 1 else value


def _check_order(low: ArrayLike, high: ArrayLike) -> None:
    known = not any(isinstance(v, jax.core.Tracer) for v in (low, high))
    if known and bool(np.any(np.asarray(low) >= np.asarray(high))):
        msg = f"expected low < high, got low = {low} and high = {high}: exchange them, or use soft.outside"
        raise WidthError(msg)
