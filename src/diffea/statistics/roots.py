"""Roots of falling functions of a positive number."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from diffea.statistics.fits import Fit
from diffea.statistics.solver import CONVERGED, Minimum
from diffea.types import PyTree

_STEPS = 60
_TOLERANCE = 1e-9


class Search(NamedTuple):
    """Where a search stands, and what its function handed on last."""

    at: Array
    low: Array
    high: Array
    change: Array
    steps: Array
    carry: PyTree

    @property
    def found(self) -> Array:
        """Whether it ended at a root."""
        return self.change <= _TOLERANCE


def find_root(function: Callable[[Array, PyTree], tuple[Array, Array, PyTree]], start: Array, carry: PyTree) -> Search:
    """Zero of a falling function of a positive number, by Newton steps that stay inside of the bracket found so far.

    `function` gives value, slope and what to hand on to its next call.
    """

    def step(state: Search) -> Search:
        value, slope, carry = function(state.at, state.carry)
        low = jnp.where(value > 0, state.at, state.low)
        high = jnp.where(value > 0, state.high, state.at)
        closed = jnp.isfinite(high)
        middle = jnp.where(closed, 0.5 * (low + high), 2.0 * state.at)
        newton = state.at - value / slope
        newton = jnp.where(closed, newton, jnp.minimum(newton, 10.0 * state.at))
        at = jnp.where((newton > low) & (newton < high) & (slope < 0), newton, middle)
        change = jnp.where(value == 0, 0.0, jnp.abs(at - state.at) / state.at)
        at = jnp.where(value == 0, state.at, at)
        return Search(at, low, high, change, state.steps + 1, carry)

    def more(state: Search) -> Array:
        return (state.change > _TOLERANCE) & (state.steps < _STEPS)

    zero = jnp.zeros_like(start)
    begin = Search(start, zero, zero + jnp.inf, zero + jnp.inf, jnp.asarray(0), carry)
    return jax.lax.while_loop(more, step, begin)


def begin(pars: Array) -> Minimum:
    """A minimum to start from, before there is one."""
    pars = jax.lax.stop_gradient(pars)
    whole = jnp.asarray(0)
    return Minimum(
        pars, jnp.ones(pars.shape, bool), jnp.asarray(0.0), jnp.zeros_like(pars), whole, whole, jnp.asarray(0.0)
    )


def last_fit(search: Search, minimum: Minimum, failure: int) -> Fit:
    """The last fit of a search, with this status if the search found nothing."""
    lost = (minimum.status == CONVERGED) & ~search.found
    status = jnp.where(lost, failure, minimum.status)
    nowhere = jnp.full_like(status, -1)
    return Fit(minimum.pars, minimum.value, minimum.free, status, minimum.iterations, nowhere)
