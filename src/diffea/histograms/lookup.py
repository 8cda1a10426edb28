"""Bin lookup: how many of an ascending list of numbers each value has reached, at a cost that does not grow with the list."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from diffea.types import AnyArray

__all__ = ["count_reached"]

_CELLS = 4096
_MOST_COMPARED = 3


def count_reached(x: jax.Array, turns: AnyArray) -> jax.Array:
    """How many of ``turns`` are at most ``x``, up to rounding next to one; any number for a NaN.

    Evenly spaced turns need one product. Otherwise a table over a fine even grid gives the count at the start of each
    value's cell, and the few turns within a cell are compared.

    Args:
        x: shape (events,).
        turns: ascending, known before compilation, shape (n,).

    Returns:
        Whole numbers from 0 to n, shape (events,): of the kind of ``x`` where a product gives them, int32 otherwise.
    """
    if turns.size == 0:
        return jnp.zeros(x.shape, jnp.int32)
    steps = np.diff(turns)
    if steps.size == 0 or np.ptp(steps) <= 1e-9 * np.min(steps):
        step = float(steps[0]) if steps.size else 1.0
        return jnp.floor(_within((x - (float(turns[0]) - step)) * (1.0 / step), turns.size))
    start, stop = float(turns[0]), float(turns[-1])
    cells = int(min(_CELLS, np.ceil((stop - start) / np.min(steps)) + 1))
    borders = np.linspace(start, stop, cells + 1)
    slack = 1e-6 * (borders[1] - borders[0])
    before = np.searchsorted(turns, borders[:-1] - slack)
    compared = int(np.max(np.searchsorted(turns, borders[1:] + slack) - before))
    listed = jnp.asarray(np.append(turns, np.nan), x.dtype)
    if compared > _MOST_COMPARED:
        return jnp.searchsorted(listed[:-1], x, side="right", method="scan_unrolled").astype(jnp.int32)
    cell = _within((x - start) * (cells / (stop - start)), cells - 1).astype(jnp.int32)
    count = jnp.asarray(before, jnp.int32)[cell]
    for _ in range(compared):
        count = count + (x >= listed[count]).astype(jnp.int32)
    return count


def _within(position: jax.Array, largest: int) -> jax.Array:
    """The position within 0 and ``largest``; 0 for a NaN."""
    position = jnp.where(position > 0, position, 0)
    return jnp.where(position < largest, position, largest)
