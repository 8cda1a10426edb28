r"""Minima at the kinks of interpolation codes 0 and 1, where the derivative jumps at $\alpha = 0$.

On either side of 0 the likelihood is smooth. Where an ordinary minimisation ends without having converged, every such parameter
is kept on its side, 0 being a bound like any other, and changes sides when it ends at 0 and the likelihood falls on the other one.
A parameter that neither side draws away from 0 has its minimum there, and stays there under small changes of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.statistics.layout import Layout
from diffea.statistics.likelihood import Expansion
from diffea.statistics.settings import Settings
from diffea.statistics.solver import CONVERGED, EXHAUSTED, STALLED, Minimum

_BESIDE = 1e-12
_SLOPE = 1e-9
_CHANGES = 12

Expand = Callable[[Array], Expansion]


def kinked(layout: Layout, settings: Settings) -> np.ndarray:
    """Which parameters have a kink at 0, shape (npars,)."""
    found = np.zeros(layout.npars, bool)
    if settings.histosys == "code0":
        found[layout.histosys_parameter] = True
    if settings.normsys == "code1":
        found[layout.normsys_parameter] = True
    return found


class _State(NamedTuple):
    number: Array
    side: Array
    end: Minimum
    again: Array


def minimise(
    within: Callable[[Expand, Array, Array, Array], Minimum],
    expand: Expand,
    start: Array,
    low: Array,
    high: Array,
    free: Array,
    where: np.ndarray,
) -> Minimum:
    """A minimum, which may be at kinks.

    Args:
        within: minimises an expansion from a start between bounds.
        expand: the expansion of what is minimised.
        start, low, high, free: shapes (npars,).
        where: parameters with a kink at 0.
    """

    def beside(pars: Array, side: Array) -> Array:
        return jnp.where(where & (pars == 0), side * _BESIDE, pars)

    def step(state: _State) -> _State:
        side = state.side
        lowest = jnp.where(side > 0, jnp.maximum(low, 0.0), low)
        highest = jnp.where(side < 0, jnp.minimum(high, 0.0), high)
        begin = jnp.clip(state.end.pars, lowest, highest)
        end = within(lambda pars: expand(beside(pars, side)), begin, lowest, highest)

        at_zero = where & free & (end.pars == 0)
        is_first, converged = state.number == 0, end.status == CONVERGED
        looked = jnp.where(is_first, jnp.ones_like(side), -side)
        slope = looked * expand(beside(end.pars, looked)).gradient
        falls = slope < -_SLOPE * (1.0 + jnp.abs(end.gradient))
        first = jnp.where(end.pars == 0, jnp.where(falls, 1.0, -1.0), jnp.sign(end.pars))
        later = jnp.where(at_zero & falls, -side, side)
        again = jnp.where(
            is_first, (end.status == STALLED) | (end.status == EXHAUSTED), converged & (at_zero & falls).any()
        )
        return _State(state.number + 1, jnp.where(where, jnp.where(is_first, first, later), 0.0), end, again)

    nowhere = jnp.zeros(start.shape)
    whole = jnp.asarray(0)
    begin = Minimum(start, free, jnp.asarray(0.0), nowhere, whole, whole, jnp.asarray(0.0))
    state = _State(whole, nowhere, begin, jnp.asarray(True))
    return jax.lax.while_loop(lambda s: s.again & (s.number <= _CHANGES), step, state).end
