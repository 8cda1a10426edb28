"""How many objects of an event pass: the exact Poisson-binomial distribution of independent soft cuts."""

from __future__ import annotations

import operator
from typing import SupportsIndex

import jax
import jax.numpy as jnp

from diffea.errors import CountError
from diffea.events.ragged import Ragged
from diffea.soft.binomial import distribution
from diffea.soft.recording import counted

__all__ = ["at_least", "at_most", "count", "exactly"]


def count(cut: Ragged) -> jax.Array:
    """Expected number of objects that pass, shape (events,); under ``hard()`` the number itself.

    >>> jets = diffea.Ragged.from_awkward(ak.Array([[90.0, 40.0], [30.0]]))
    >>> np.round(soft.count(soft.above(jets, 35.0, width=5.0)), 3).tolist()
    [1.731, 0.269]

    Args:
        cut: a soft cut on objects.
    """
    return objects(cut).sum()


def at_least(n: SupportsIndex, cut: Ragged) -> jax.Array:
    """Probability that at least ``n`` of an event's objects pass, shape (events,).

    Objects pass or fail independently with the probabilities of the soft cut; with exact cuts this is exactly 0 or 1.
    An event without objects has 0 (1 for ``n = 0``).

    >>> jets = diffea.Ragged.from_awkward(ak.Array([[90.0, 40.0], [30.0]]))
    >>> np.round(soft.at_least(2, soft.above(jets, 35.0, width=5.0)), 3).tolist()
    [0.731, 0.0]
    >>> with soft.hard():
    ...     print(soft.at_least(2, soft.above(jets, 35.0, width=5.0)).tolist())
    [1.0, 0.0]

    Args:
        n: whole number, fixed.
        cut: a soft cut on objects.

    Raises:
        CountError: when ``n`` is not a whole number ≥ 0, or ``cut`` is not one on objects.
    """
    number = whole(n)
    if number == 0:
        return jnp.ones(objects(cut).shape[0], cut.dtype)
    return 1.0 - at_most(number - 1, cut)


def at_most(n: SupportsIndex, cut: Ragged) -> jax.Array:
    """Probability that at most ``n`` of an event's objects pass, shape (events,). Arguments as for ``at_least``."""
    number = whole(n)
    counted(cut, number + 1)
    probabilities = _passes(cut, number)
    return _kept(sum(probabilities[1:], start=probabilities[0]))


def exactly(n: SupportsIndex, cut: Ragged) -> jax.Array:
    """Probability that exactly ``n`` of an event's objects pass, shape (events,). Arguments as for ``at_least``.

    >>> jets = diffea.Ragged.from_awkward(ak.Array([[90.0, 40.0], [30.0]]))
    >>> np.round(soft.exactly(1, soft.above(jets, 35.0, width=5.0)), 3).tolist()
    [0.269, 0.269]
    """
    return _kept(_passes(cut, whole(n))[-1])


def _passes(cut: Ragged, most: int) -> list[jax.Array]:
    """Probabilities of 0, 1, …, ``most`` passes, each of shape (events,)."""
    passed = objects(cut).where(0.0)
    slots = passed.shape[1]
    probabilities = distribution(lambda slot: passed[:, slot], slots, min(most, slots))
    return [*probabilities, *[jnp.zeros_like(probabilities[0])] * (most - slots)]


def _kept(probability: jax.Array) -> jax.Array:
    """The same, computed once: XLA repeats cheap arithmetic for every one who uses it, but never a sum over an axis."""
    return jnp.sum(jnp.stack([probability, jnp.zeros_like(probability)]), axis=0)


def objects(column: object) -> Ragged:
    """A column of one value an object.

    Raises:
        CountError: when it is none.
    """
    if not isinstance(column, Ragged):
        msg = f"expected one value an object (a Ragged column), got {type(column).__name__}: take a jagged column such as Jet.pt, or a cut on one"
        raise CountError(msg)
    return column


def whole(n: SupportsIndex, least: int = 0) -> int:
    """A fixed number of objects, of any type of whole numbers.

    Raises:
        CountError: when it is none, or less than ``least``.
    """
    try:
        number = -1 if isinstance(n, bool) else operator.index(n)
    except TypeError:
        number = -1
    if number < least:
        msg = f"expected a whole number of objects ≥ {least}, got {n!r}: the number is fixed, only the cut is differentiable"
        raise CountError(msg)
    return number
