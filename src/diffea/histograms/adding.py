"""Adding up what events give to bins."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from diffea.runtime import for_cpu

__all__ = ["add_up", "add_up_in_turn"]

_AT_ONCE = 4  # events in one turn of the loop

Tangents = tuple[jax.Array, Sequence[jax.Array]]


def add_up(first: jax.Array, shares: Sequence[jax.Array], places: tuple[int, ...], size: int) -> jax.Array:
    """The sum of every event's shares in each bin, one share after the other.

    Args:
        first: the first bin of each event, shape (events,).
        shares: of each event in one bin, shape (events,) each; complex numbers, two sums at once, cost little more than real ones.
        places: how many bins after the first each share goes, ascending.
        size: number of bins; no event reaches beyond.

    Returns:
        Shape (size,), in 64 bits.
    """
    total = jnp.zeros(size, jnp.promote_types(shares[0].dtype, jnp.float64))
    if not for_cpu():  # many cores, which would wait for each other at one bin, and add up in another order each time
        bins = jnp.arange(size)[:, None]
        for place, share in zip(places, shares, strict=True):
            total = total + jnp.sum(jnp.where(first + place == bins, share, 0), axis=1, dtype=total.dtype)
        return total
    for place, share in zip(places, shares, strict=True):
        at_first = jnp.zeros_like(total).at[first].add(share, mode="promise_in_bounds")
        total = total + jnp.pad(at_first, (place, 0))[:size]
    return total


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def add_up_in_turn(first: jax.Array, shares: Sequence[jax.Array], places: tuple[int, ...], size: int) -> jax.Array:
    """As `add_up` of real numbers, one event after the other: a loop that is fast however XLA writes fused operations.

    Tangents, and many histograms under `jax.vmap`, are added up by `add_up`, which reverse mode turns into look-ups.
    """

    @custom_vmap
    def loop(first: jax.Array, shares: Sequence[jax.Array]) -> jax.Array:
        return _loop(first, shares, places, size)

    @loop.def_vmap
    def loops(
        _: int, batched: tuple[bool, Sequence[bool]], first: jax.Array, shares: Sequence[jax.Array]
    ) -> tuple[jax.Array, bool]:
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, batched)
        return jax.vmap(lambda first, shares: add_up(first, shares, places, size), in_axes=axes)(first, shares), True

    return loop(first, list(shares))


@add_up_in_turn.defjvp
def _in_turn_jvp(
    places: tuple[int, ...], size: int, primals: Tangents, tangents: Tangents
) -> tuple[jax.Array, jax.Array]:
    return add_up_in_turn(*primals, places, size), add_up(primals[0], tangents[1], places, size)


def _loop(first: jax.Array, shares: Sequence[jax.Array], places: tuple[int, ...], size: int) -> jax.Array:
    if not for_cpu():
        return add_up(first, shares, places, size)
    neighbours = [[*run] for _, run in itertools.groupby(range(len(places)), lambda number: places[number] - number)]

    def add(total: jax.Array, event: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        bin_, *own = event
        for run in neighbours:
            start, part = bin_ + places[run[0]], jnp.stack([own[number] for number in run])
            total = lax.dynamic_update_slice(total, lax.dynamic_slice(total, (start,), part.shape) + part, (start,))
        return total, None

    return lax.scan(add, jnp.zeros(size), (first, *(share.astype(float) for share in shares)), unroll=_AT_ONCE)[0]
