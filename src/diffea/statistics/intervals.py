r"""Profile-likelihood intervals, as MINOS makes them: $-2\Delta\ln L(v) = \chi^2_1$ at the confidence level."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtri

from diffea.statistics import asymptotics, likelihood, named
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import poi_index
from diffea.statistics.fits import Fit, Held, anchored, bounds, ensure, minimise, own_range, profile
from diffea.statistics.given import level
from diffea.statistics.implicit import solution
from diffea.statistics.information import covariance
from diffea.statistics.rates import Prepared
from diffea.statistics.roots import begin, find_root, last_fit
from diffea.statistics.solver import NO_END, Minimum, Solver

_SIDES = ("lower", "upper")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Interval:
    """A profile-likelihood interval, its ends differentiable in the yields and the data.

    Attributes:
        parameter: its name; `cl`: the confidence level.
        best: the parameter's best-fit value.
        ends: lower and upper end, shape (2,).
        at_bound: whether an end is the parameter's bound, which the likelihood does not exclude, shape (2,).
        fit: the fit of all parameters; `end_fits`: those at the ends (their parameters without derivatives).
    """

    parameter: str = field(metadata={"static": True})
    cl: float = field(metadata={"static": True})
    best: Array
    ends: Array
    at_bound: Array
    fit: Fit
    end_fits: Fit

    @property
    def errors(self) -> Array:
        """Distances of the ends from the best fit, negative and positive, shape (2,)."""
        return self.ends - self.best

    @property
    def notes(self) -> list[str]:
        """In words, which end is a bound; empty if none is. Outside of compiled functions."""
        return [
            f"the {side} end of {self.parameter!r} is its bound {float(end):g}, where the likelihood has not fallen enough"
            for side, end, at in zip(_SIDES, self.ends, self.at_bound, strict=True)
            if bool(at)
        ]

    def __str__(self) -> str:
        down, up = (float(error) for error in self.errors)
        text = f"{self.parameter} = {float(self.best):.4g} {up:+.3g} {down:+.3g} ({100 * self.cl:.4g} %)"
        return "; ".join([text, *self.notes])


class _Ends(NamedTuple):
    best: Array
    ends: Array
    at_bound: Array
    fit: Fit
    end_fits: Fit


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _interval(bound: BoundModel, data: Array, place: Array, cl: Array, solver: Solver) -> _Ends:
    """The place and the level are traced: one program serves all parameters of a model."""
    layout, prepared = bound.layout, bound.prepared()
    goal = ndtri(0.5 * (1.0 + cl))
    free = profile(bound, prepared, data, None, solver, poi_range=own_range(bound))
    best = jax.lax.stop_gradient(free.pars[place])
    width = goal * _width(bound, prepared, data, free, place)
    low, high = bounds(layout)
    unlimited = named.mask(layout, [] if bound.settings.poi_name is None else [poi_index(layout, bound.settings)])
    edges = jnp.stack([jnp.asarray(low)[place], jnp.where(unlimited, jnp.inf, high)[place]])

    def end(sign: Array, edge: Array) -> tuple[Array, Array, Fit]:
        farthest = sign * (edge - best)
        held, still = jnp.arange(layout.npars) == place, jax.lax.stop_gradient((prepared, data, free.deviance))

        def gap(distance: Array, last: Minimum) -> tuple[Array, Array, Minimum]:
            """How far the root of the rise is below its goal; 0 where the bound is within the interval."""
            at = Held(held, best + sign * jnp.minimum(distance, farthest))
            found = minimise(bound, still[0], still[1], at, solver, last.pars, own_range(bound), damping=1e-4)
            root = asymptotics.root(2.0 * (found.value - still[2]))
            within = (distance >= farthest) & (root < goal)
            slope = -sign * found.gradient[place] / jnp.where(root > 0, root, 1.0)
            return jnp.where(within, 0.0, goal - root), slope, found

        search = find_root(gap, jnp.minimum(width, farthest), begin(free.pars))
        at_bound = search.at >= farthest
        at = jax.lax.stop_gradient(jnp.where(at_bound, edge, best + sign * search.at))
        rise = _Rise(bound, prepared, data, held, search.carry, free.deviance, at_bound, edge, goal)
        return solution(_excess, at, rise), at_bound, last_fit(search, search.carry, NO_END)

    ends, at_bound, fits = jax.vmap(end)(jnp.array([-1.0, 1.0]), edges)
    return _Ends(free.pars[place], ends, at_bound, free, fits)


class _Rise(NamedTuple):
    """What the likelihood's rise from the best fit to an end depends on."""

    bound: BoundModel
    prepared: Prepared
    data: Array
    held: Array
    minimum: Minimum
    least: Array
    at_bound: Array
    edge: Array
    goal: Array


def _excess(value: Array, rise: _Rise) -> Array:
    """The rise above what the confidence level allows, or the distance from the bound."""
    _, deviance = anchored(rise.bound, rise.prepared, rise.data, Held(rise.held, value), rise.minimum)
    return jnp.where(rise.at_bound, value - rise.edge, 2.0 * (deviance - rise.least) - rise.goal**2)


def _width(bound: BoundModel, prepared: Prepared, data: Array, fit: Fit, place: Array) -> Array:
    """The parameter's uncertainty from the curvature at the best fit, 1 if there is none: where the search begins."""
    layout, settings = bound.layout, bound.settings
    prepared, pars = jax.lax.stop_gradient((prepared, fit.pars))
    hessian = likelihood.expansion(layout, settings, prepared, pars, jax.lax.stop_gradient(data)).hessian
    variance = covariance(hessian, ~prepared.fixed)[place, place]
    known = (variance > 0) & jnp.isfinite(variance)
    return jnp.where(known, jnp.sqrt(jnp.where(known, variance, 1.0)), 1.0)


def interval(
    bound: BoundModel, data: Any, parameter: str, cl: float = 0.6827, *, solver: Solver | None = None
) -> Interval:
    """Where the profile likelihood of a parameter has not fallen by more than its confidence level allows.

    Both ends, each by its own search, all other parameters fitted at every step: what iminuit's MINOS gives. An end stays inside
    of the parameter's bounds, and `Interval.notes` says where it is one; the parameter of interest has no upper bound.

    Args:
        bound: the model.
        data: events of all bins and auxiliary data.
        parameter: its name (``"mu"``, ``"gamma[3]"``).
        cl: confidence level; 0.6827 is one standard deviation.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if a fit does not converge, or the likelihood never falls enough.
        MethodError: for a confidence level that is not between 0 and 1.
        SpecError: for a parameter that is none, a set of several, or fixed.
    """
    cl = level(cl, "interval")
    place, solver = jnp.asarray(named.free_index(bound, parameter)), solver or Solver()
    ends = _interval(bound, bound.whole(data), place, jnp.asarray(cl, float), solver)
    result = Interval(parameter, cl, *ends)
    ensure(bound.layout, solver, {"of all parameters": result.fit, f"at the ends of {parameter!r}": result.end_fits})
    return result
