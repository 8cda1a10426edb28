r"""What a fit does when one minimisation is not enough: at the edge of the likelihood, and where it has several minima.

A variation may empty a bin in which nothing was seen: the likelihood rises up to the edge of what is defined. There the
minimisation is repeated with ever fewer events in such bins, down to 1e-9, whose logarithm keeps it inside; everything
stays differentiable, and the deviance is right to about 1e-8.

Fits start from several points for models whose variations move the expectation one way, whichever sign their parameter has.

A variation moves the bins by its odd part $O$, which has the sign of $\alpha$, and its even part $E$, which has not. For its even part
the likelihood may have a minimum on either side of $\alpha = 0$: what a fit has left unexplained, of length $\sqrt{2D}$, bends
the likelihood down by at most $2\sqrt{2D}\,\lVert E\rVert$, constraint and odd part bend it up by $1 + \lVert O\rVert^2$, lengths counted
in uncertainties of the data. Only where the first can outweigh the second does a fit start again, so a perfect one never does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.statistics.layout import Layout
from diffea.statistics.rates import Prepared, shifts_at_one_sigma
from diffea.statistics.settings import Settings
from diffea.statistics.solver import AT_EDGE, CONVERGED, Minimum

_DISTANCES = (1.5, 0.5)
_MASKS = np.array([1, 2, 4, 8, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15])
_SIGNS = np.array([[(-1.0) ** (row & mask).bit_count() for mask in _MASKS.tolist()] for row in range(16)])


_FLOORS = (0.0, 1e-3, 1e-6, 1e-9)


def with_floor(layout: Layout, nu: Array, data: Array, floor: Array | float) -> Array:
    """Data with these events in bins that saw none and expect some."""
    main = data[: layout.nbins_total]
    return data.at[: layout.nbins_total].set(jnp.where((main == 0) & (nu > 0), floor, main))


def up_to_the_edge(minimise: Callable[[Array, Array], Minimum], start: Array) -> Minimum:
    """A minimum from `start`, by `minimise` with events in empty bins if it ends at the edge of the likelihood."""

    def again(state: tuple[Array, Minimum]) -> tuple[Array, Minimum]:
        number, last = state
        floor = jnp.asarray(_FLOORS)[number]
        end = minimise(jnp.where(number < 2, start, last.pars), floor)
        return number + 1, end._replace(floor=floor)

    def more(state: tuple[Array, Minimum]) -> Array:
        number, last = state
        failed = (last.status == AT_EDGE) & (number < len(_FLOORS))
        return (number == 0) | failed | ((last.floor > 0) & (number < len(_FLOORS)))

    return jax.lax.while_loop(more, again, (jnp.asarray(0), _nothing(start)))[1]


def _nothing(start: Array) -> Minimum:
    zero = jnp.zeros(start.shape)
    whole, real = jnp.asarray(0), jnp.asarray(0.0)
    return Minimum(zero, jnp.zeros(start.shape, bool), real, zero, whole, whole, real)


class Sides(NamedTuple):
    """Lengths of the odd and the even part of every parameter's shift, and their angle: shapes (parameters,)."""

    odd: Array
    even: Array


def sides(layout: Layout, settings: Settings, prepared: Prepared, pars: Array) -> Sides:
    """What a variation by one sigma up and down does to the expectation, in uncertainties of the data."""
    nu, up, down = shifts_at_one_sigma(layout, settings, prepared, pars)
    width = jnp.sqrt(jnp.where(nu > 0, nu, 1.0))
    return Sides(*(jnp.linalg.norm(0.5 * part / width, axis=1) for part in (up - down, up + down)))


def has_shifts(layout: Layout) -> bool:
    """Whether the model has any histosys or normsys."""
    return bool(layout.histosys_parameter.size or layout.normsys_parameter.size)


def doubtful(layout: Layout, settings: Settings, prepared: Prepared, pars: Array, free: Array, value: Array) -> Array:
    """Parameters on whose other side there may be a lower minimum than this one, shape (parameters,)."""
    odd, even = sides(layout, settings, prepared, pars)
    return free & (2.0 * even * jnp.sqrt(2.0 * jnp.maximum(value, 0.0)) > 1.0 + odd**2)


def from_several(
    minimise: Callable[[Array], Minimum], doubt: Callable[[Minimum], Array], start: Array
) -> Minimum:
    """The lowest minimum from `start` and, if there is `doubt`, from points on either side of the doubtful parameters.

    Up to four parameters are tried in all combinations, more in 16 combinations in which every two of them occur with
    all signs.
    """

    def begin(number: Array, doubtful: Array) -> Array:
        column = (jnp.cumsum(doubtful) - 1) % len(_MASKS)
        combination, distance = jnp.divmod(jnp.maximum(number - 1, 0), len(_DISTANCES))
        shift = jnp.asarray(_DISTANCES)[distance] * jnp.asarray(_SIGNS)[combination][column]
        return jnp.where(doubtful & (number > 0), shift, start)

    def again(state: tuple[Array, Array, Array, Minimum]) -> tuple[Array, Array, Array, Minimum]:
        number, last, doubtful, best = state
        end = minimise(begin(number, doubtful))
        first = number == 0
        doubtful = jnp.where(first, doubt(end), doubtful)
        last = jnp.where(first, jnp.where(doubtful.any(), len(_DISTANCES) * 2 ** jnp.minimum(doubtful.sum(), 4), 0), last)
        margin = 1e-10 * (1.0 + jnp.abs(best.value))
        lower = (end.status == CONVERGED) & ((best.status != CONVERGED) | (end.value < best.value - margin))
        best = jax.tree.map(lambda new, old: jnp.where(first | lower, new, old), end, best)
        return number + 1, last, doubtful, best

    whole, none = jnp.asarray(0), jnp.zeros(start.shape, bool)
    state = (whole, whole, none, _nothing(start))
    return jax.lax.while_loop(lambda state: state[0] <= state[1], again, state)[-1]
