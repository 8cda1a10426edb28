r"""What a fit does when one minimisation is not enough: at the edge of the likelihood, and where it has several minima.

A variation may empty a bin in which nothing was seen: the likelihood rises up to the edge of what is defined. There the
minimisation is repeated with ever fewer events in such bins, down to 1e-9, whose logarithm keeps it inside; everything
stays differentiable, and the deviance is right to about 1e-8.

A variation moves the bins by its odd part $O$, which has the sign of $\alpha$, and its even part $E$, which has not. For its even part
the likelihood may have a minimum on either side of $\alpha = 0$: what a fit has left unexplained, of length $\sqrt{2D}$, bends
the likelihood down by at most $2\sqrt{2D}\,\lVert E\rVert$, constraint and odd part bend it up by $1 + \lVert O\rVert^2$, lengths counted
in uncertainties of the data. Only where the first can outweigh the second does a fit start again, so a perfect one never does.
At a kink (codes 0 and 1) the even part bends without limit; there a fit starts again if that is the larger part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.statistics.information import covariance
from diffea.statistics.interpolation import code4p
from diffea.statistics.kinks import kinked
from diffea.statistics.layout import Layout
from diffea.statistics.likelihood import fisher_information, weights
from diffea.statistics.rates import Prepared, derivatives, shifts_at_one_sigma
from diffea.statistics.settings import Settings
from diffea.statistics.solver import AT_EDGE, CONVERGED, Minimum

_FLOORS = (0.0, 1e-3, 1e-6, 1e-9)
ASIDE = 0.01
_DISTANCES = (1.5, 0.5)
_FEW = 6
_GRID = np.linspace(-4.0, 4.0, 33)
_NEAR, _SLACK = 0.5, 0.5
_MASKS = (1, 2, 4, 8, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15)
_SIGNS = np.array([[(-1.0) ** (row & mask).bit_count() for mask in _MASKS] for row in range(16)])


def with_floor(layout: Layout, nu: Array, data: Array, floor: Array | float) -> Array:
    """Data with these events in bins that saw none and expect some."""
    main = data[: layout.nbins_total]
    return data.at[: layout.nbins_total].set(jnp.where((main == 0) & (nu > 0), floor, main))


def up_to_the_edge(minimise: Callable[[Array, Array], Minimum], start: Array, aside: Array) -> Minimum:
    """A minimum from `start`, by `minimise` with events in empty bins if it ends at the edge of the likelihood.

    The start itself may be a maximum, along a variation that moves the bins the same way up and down: no gradient leads away from there,
    and the second minimisation begins at a point `aside` of it.
    """

    def again(state: tuple[Array, Minimum]) -> tuple[Array, Minimum]:
        number, last = state
        floor = jnp.asarray(_FLOORS)[number]
        begin = jnp.where(number == 1, aside, jnp.where(number == 0, start, last.pars))
        end = minimise(begin, floor)
        return number + 1, end._replace(floor=floor)

    def more(state: tuple[Array, Minimum]) -> Array:
        number, last = state
        at_edge = (last.status == AT_EDGE) | (last.floor > 0)
        return (number == 0) | (at_edge & (number < len(_FLOORS)))

    return jax.lax.while_loop(more, again, (jnp.asarray(0), _nothing(start)))[1]


def _nothing(start: Array) -> Minimum:
    zero, whole = jnp.zeros(start.shape), jnp.asarray(0)
    return Minimum(zero, jnp.zeros(start.shape, bool), jnp.asarray(0.0), zero, whole, whole, jnp.asarray(0.0))


class Sides(NamedTuple):
    """Odd and even part of every parameter's shift, in uncertainties of the data; shapes (parameters, bins)."""

    odd: Array
    even: Array


def sides(layout: Layout, settings: Settings, prepared: Prepared, pars: Array) -> Sides:
    """What a variation by one sigma up and down does to the expectation."""
    nu, up, down = shifts_at_one_sigma(layout, settings, prepared, pars)
    width, keep = jnp.sqrt(jnp.where(nu > 0, nu, 1.0)), weights(layout, settings)
    return Sides(keep * (0.5 * (up - down) / width), keep * (0.5 * (up + down) / width))


def bends(shift: Sides, residual: Array | float) -> Array:
    """Parameters whose even part could make a second minimum, if so much is left unexplained; shape (parameters,).

    An even part along the odd one and not larger only makes one side steeper than the other, and does not count.
    """
    odd, even = (jnp.linalg.norm(part, axis=1) for part in shift)
    along = jnp.abs(jnp.sum(shift.odd * shift.even, axis=1)) / jnp.where(odd > 0, odd, 1.0)
    across = jnp.sqrt(jnp.maximum(even**2 - along**2, 0.0))
    turning = jnp.hypot(across, jnp.maximum(along - odd, 0.0))
    return 2.0 * turning * residual > 1.0 + odd**2


def one_sided(shift: Sides) -> Array:
    """Parameters that move the expectation the same way up and down; shape (parameters,)."""
    odd, even = (jnp.linalg.norm(part, axis=1) for part in shift)
    return even > odd


def has_shifts(layout: Layout) -> bool:
    """Whether the model has any histosys or normsys."""
    return bool(layout.histosys_parameter.size or layout.normsys_parameter.size)


class Doubt(NamedTuple):
    """Parameters that may have a lower minimum elsewhere, and where; shapes (parameters,)."""

    doubtful: Array
    place: Array


def has_few_shifts(layout: Layout) -> bool:
    """Whether so few parameters shift anything that all that could have a second minimum are tried."""
    return len({*layout.histosys_parameter.tolist(), *layout.normsys_parameter.tolist()}) <= _FEW


def doubt(layout: Layout, settings: Settings, prepared: Prepared, data: Array, free: Array, end: Minimum) -> Doubt:
    """Whether there may be a lower minimum than this one.

    Of many parameters that could have a second minimum those are doubtful of whose other side a quadratic expansion in
    all other parameters expects a minimum about as low.
    """
    shift = sides(layout, settings, prepared, end.pars)
    could = free & (
        bends(shift, jnp.sqrt(2.0 * jnp.maximum(end.value, 0.0))) | (kinked(layout, settings) & one_sided(shift))
    )
    if has_few_shifts(layout):
        return Doubt(could, end.pars)

    def expected() -> Doubt:
        rise = _rise(layout, settings, prepared, data, shift, end)
        inner = (rise[:, 1:-1] < rise[:, :-2]) & (rise[:, 1:-1] < rise[:, 2:])
        away = jnp.abs(_GRID[1:-1] - end.pars[:, None]) > _NEAR
        heights = jnp.where(inner & away, rise[:, 1:-1], jnp.inf)
        place = jnp.asarray(_GRID)[1 + jnp.argmin(heights, axis=1)]
        return Doubt(could & (heights.min(axis=1) < _SLACK), place)

    return jax.lax.cond(could.any(), expected, lambda: Doubt(could, end.pars))


def _rise(layout: Layout, settings: Settings, prepared: Prepared, data: Array, shift: Sides, end: Minimum) -> Array:
    """By how much the deviance rises if a parameter goes to a point of the grid, the others following; (parameters, points)."""
    at = derivatives(layout, settings, prepared, end.pars)
    width, keep = jnp.sqrt(jnp.where(at.rates > 0, at.rates, 1.0)), weights(layout, settings)
    jacobian, residual = keep * (at.jacobian / width), keep * ((data[: layout.nbins_total] - at.rates) / width)
    cov = covariance(fisher_information(layout, settings, prepared, end.pars), end.free)
    cov = jnp.where(jnp.isfinite(cov), cov, 0.0)
    own = jnp.where(jnp.diagonal(cov) > 0, jnp.diagonal(cov), 1.0)
    follow = cov @ jacobian

    def product(a: Array, b: Array) -> Array:
        """Of two shifts of each parameter, as far as the other parameters cannot undo them."""
        undone = jnp.sum(((a @ jacobian.T) @ cov) * (b @ jacobian.T), axis=1)
        by_itself = jnp.sum(a * follow, axis=1) * jnp.sum(b * follow, axis=1) / own
        return (jnp.sum(a * b, axis=1) - undone + by_itself)[:, None]

    (up, down), (up_here, down_here) = code4p(jnp.asarray(_GRID)), code4p(end.pars)
    step = _GRID - end.pars[:, None]
    even = (up - down) - (up_here - down_here)[:, None]
    linear = (shift.odd @ residual)[:, None] * step + (shift.even @ residual)[:, None] * even
    squares = product(shift.odd, shift.odd) * step**2 + product(shift.even, shift.even) * even**2
    return 0.5 * (squares + _GRID**2 - end.pars[:, None] ** 2) + product(shift.odd, shift.even) * step * even - linear


class _Search(NamedTuple):
    number: Array
    last: Array
    doubt: Doubt
    first: Array
    best: Minimum


def from_several(
    minimise: Callable[[Array], Minimum], doubt: Callable[[Minimum], Doubt], start: Array, *, around_zero: bool
) -> Minimum:
    """The lowest minimum from `start` and, if there is doubt, from points on the other sides of the doubtful parameters.

    Up to four parameters are tried in all combinations, more in 16 in which every two of them have all signs: on either
    side of 0 at two distances, or where they are and where their other minimum is expected.
    """
    distances = _DISTANCES if around_zero else (0.0,)

    def begin(search: _Search) -> Array:
        doubtful, place = search.doubt
        combination, distance = jnp.divmod(jnp.maximum(search.number - 1, 0), len(distances))
        column = (jnp.cumsum(doubtful) - 1) % len(_MASKS)
        signs = jnp.asarray(_SIGNS)[-1 - combination % len(_SIGNS)][column]
        if around_zero:
            other = jnp.where(doubtful, jnp.asarray(distances)[distance] * signs, start)
        else:
            other = jnp.where(doubtful & (signs < 0), place, search.first)
        return jnp.where(search.number == 0, start, other)

    def again(search: _Search) -> _Search:
        end, best = minimise(begin(search)), search.best
        is_first = search.number == 0
        doubts = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), doubt(end), search.doubt)
        last = jnp.where(doubts.doubtful.any(), len(distances) * 2 ** jnp.minimum(doubts.doubtful.sum(), 4), 0)
        margin = 1e-10 * (1.0 + jnp.abs(best.value))
        lower = (end.status == CONVERGED) & ((best.status != CONVERGED) | (end.value < best.value - margin))
        best = jax.tree.map(lambda new, old: jnp.where(is_first | lower, new, old), end, best)
        return _Search(search.number + 1, last, doubts, jnp.where(is_first, end.pars, search.first), best)

    whole, zero = jnp.asarray(0), jnp.zeros(start.shape)
    search = _Search(whole, whole, Doubt(jnp.zeros(start.shape, bool), zero), zero, _nothing(start))
    return jax.lax.while_loop(lambda search: search.number <= search.last, again, search).best
