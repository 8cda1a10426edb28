"""Objects after a soft cut: sums over those that pass, the n-th leading of them, the largest and the smallest.

Every function is the exact expectation over objects that pass independently with the probabilities of the cut, so it
is smooth in the cut, and what it says of the event itself when the cut is exact.
"""

from __future__ import annotations

from typing import SupportsIndex

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from diffea.events.ragged import Ragged
from diffea.soft.binomial import distribution
from diffea.soft.counts import objects, whole

__all__ = ["leading", "max", "min", "nth", "sum"]


def sum(x: Ragged, cut: Ragged | None = None) -> jax.Array:
    """Sum of ``x`` over the objects that pass, such as HT; shape (events,), 0 for an event without any.

    >>> jets = diffea.Ragged.from_awkward(ak.Array([[90.0, 40.0], [30.0]]))
    >>> soft.sum(jets).tolist()
    [130.0, 30.0]
    >>> np.round(soft.sum(jets, soft.above(jets, 35.0, width=5.0)), 1).tolist()
    [119.2, 8.1]

    Args:
        x: one value an object.
        cut: a soft cut on the same objects; all of them by default.

    Raises:
        CountError: when one of them is no column of objects.
    """
    objects(x)
    return (x if cut is None else x * objects(cut)).sum()


def nth(n: SupportsIndex, cut: Ragged, by: Ragged) -> Ragged:
    """Probability that each object is the n-th of those that pass, in descending order of ``by``.

    The object passes, and exactly n - 1 of those before it do. The order itself is exact, not smoothed.

    Args:
        n: 1 for the leading object, 2 for the next, …
        cut: a soft cut on objects.
        by: what the objects are ordered by, such as their pT.

    Returns:
        One probability an object; the sum over an event is ``at_least(n, cut)``.

    Raises:
        CountError: when ``n`` is not a whole number ≥ 1, or ``cut`` or ``by`` no column of objects.
    """
    n = whole(n, least=1)
    passed, order = objects(cut).where(0.0), jax.lax.stop_gradient(objects(by).where(-jnp.inf))
    slots = passed.shape[1]
    places = jnp.arange(slots)

    def earlier(slot: ArrayLike) -> jax.Array:
        """Probability that this slot's object passes, where it comes before the object of each slot."""
        ahead = order[:, slot, None]
        return jnp.where((ahead > order) | ((ahead == order) & (slot < places)), passed[:, slot, None], 0.0)

    if n > slots:
        return Ragged(jnp.zeros_like(passed), cut.mask)
    return Ragged(passed * distribution(earlier, slots, n - 1)[n - 1], cut.mask)


def leading(
    n: SupportsIndex, x: Ragged, cut: Ragged | None = None, *, by: Ragged | None = None, default: ArrayLike = 0.0
) -> jax.Array:
    """Expected ``x`` of the n-th object that passes; under ``hard()`` the ``x`` of that object.

    >>> jets = diffea.Ragged.from_awkward(ak.Array([[90.0, 40.0], [30.0]]))
    >>> np.round(soft.leading(1, jets, soft.above(jets, 35.0, width=5.0)), 1).tolist()
    [90.0, 8.1]

    Args:
        n: 1 for the leading object, 2 for the next, …
        x: one value an object.
        cut: a soft cut on the same objects; all of them by default.
        by: what the objects are ordered by, in descending order; ``x`` itself by default.
        default: for an event (or the share of it) with fewer than ``n`` objects that pass; scalar or shape (events,), and
            infinite if need be.

    Returns:
        Shape (events,).

    Raises:
        CountError: as for ``nth``.
    """
    objects(x)
    cut = Ragged(jnp.ones_like(x.where(0.0)), x.mask) if cut is None else cut
    chosen = nth(n, cut, x if by is None else by)
    missing = 1.0 - chosen.sum()
    default = jnp.where(jnp.isfinite(default) | (missing > 0), default, 0.0)
    return (x * chosen).sum() + missing * default


def max(x: Ragged, cut: Ragged | None = None, *, default: ArrayLike = 0.0) -> jax.Array:
    """Expected largest ``x`` of the objects that pass, shape (events,). Arguments as for ``leading``."""
    return leading(1, x, cut, default=default)


def min(x: Ragged, cut: Ragged | None = None, *, default: ArrayLike = 0.0) -> jax.Array:
    """Expected smallest ``x`` of the objects that pass, shape (events,). Arguments as for ``leading``."""
    return leading(1, x, cut, by=-objects(x), default=default)
