"""Tests and limits of a likelihood of one's own, by the formulae of the others."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from diffea.errors import MethodError
from diffea.statistics import asymptotics, hypotests
from diffea.statistics.fits import Fit, ensure
from diffea.statistics.given import level, strength
from diffea.statistics.information import covariance
from diffea.statistics.limits import Limit, expected_limit, observed_limit
from diffea.statistics.own import BoundLikelihood, Box, anchored, asimov, at_poi, minimise, poi_place, profile, value
from diffea.statistics.ratios import Statistic, rise
from diffea.statistics.solver import Minimum, Solver
from diffea.types import PyTree


def _box(bound: BoundLikelihood, test_stat: Statistic) -> Box:
    """As `ratios.poi_range`."""
    low = float(bound.likelihood.limits[0][poi_place(bound)])
    if test_stat in ("qtilde", "q0"):
        return Box(max(0.0, low))
    return Box(low if low < 0 else -jnp.inf)


def _null(bound: BoundLikelihood, poi: float | Array, fit: Fit | None) -> tuple[BoundLikelihood, Array]:
    """Asimov data of a hypothesis, other parameters where they start or where a fit has put them; and these parameters."""
    pars = jnp.asarray(bound.likelihood.flat).at[poi_place(bound)].set(poi) if fit is None else fit.pars
    return bound.likelihood(asimov(bound, pars)), pars


class _Seen(NamedTuple):
    q: Array
    best: Array
    fits: dict[str, Fit]


def _ratio(
    bound: BoundLikelihood, poi: float | Array, test_stat: Statistic, solver: Solver, what: str, start: Array | None
) -> _Seen:
    """A test statistic of the data that the templates hold."""
    name = bound.likelihood.poi
    fixed = profile(bound, at_poi(bound, poi), solver, start)
    free = profile(bound, None, solver, start, _box(bound, test_stat))
    best = free.pars[poi_place(bound)]
    q = rise(fixed.deviance, free.deviance)
    above, below = test_stat in ("q", "qtilde"), test_stat == "q0"
    q = jnp.where((above & (best > poi)) | (below & (best <= poi)), 0.0, q)
    return _Seen(q, best, {f"at {name} = test value on {what}": fixed, f"of all parameters on {what}": free})


@functools.partial(jax.jit, static_argnames=("test_stat", "solver"), inline=True)
def _hypotest(
    bound: BoundLikelihood, poi: Array, data: PyTree, test_stat: Statistic, solver: Solver
) -> hypotests.HypoTest:
    q, null = None, None
    fits: dict[str, Fit] = {}
    if data is not None:
        bound = bound.likelihood(data)
        null = profile(bound, at_poi(bound, 0.0), solver)
        q, _, fits = _ratio(bound, poi, test_stat, solver, "data", None)
        fits |= {f"at {bound.likelihood.poi} = 0 on data": null}
    sample, pars = _null(bound, 0.0, null)
    seen = _ratio(sample, poi, "qtilde", solver, "Asimov data", jax.lax.stop_gradient(pars))
    return hypotests.of_statistics(q, seen.q, test_stat, fits | seen.fits)


def hypotest(
    bound: BoundLikelihood, poi: float | Array, data: PyTree, test_stat: Statistic, solver: Solver | None
) -> hypotests.HypoTest:
    """As `hypotests.hypotest`; `data` are templates with the data in them.

    Raises:
        FitError: if a fit does not converge.
        MethodError: if the likelihood does not say what is expected; for another statistic.
        SpecError: if there is no parameter of interest.
    """
    if test_stat not in ("q", "qtilde"):
        msg = f"test_stat: CLs is made of 'q' or 'qtilde', got {test_stat!r}"
        raise MethodError(msg)
    poi_place(bound)
    solver = solver or Solver()
    result = _hypotest(bound, strength(poi, "poi_test"), data, test_stat, solver)
    ensure(None, solver, result.fits)
    return result


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _discovery(bound: BoundLikelihood, poi_true: Array, data: PyTree, solver: Solver) -> hypotests.Discovery:
    if data is None:
        sample, pars = _null(bound, poi_true, None)
        seen = _ratio(sample, 0.0, "q0", solver, "Asimov data", jax.lax.stop_gradient(pars))
    else:
        seen = _ratio(bound.likelihood(data), 0.0, "q0", solver, "data", None)
    significance = asymptotics.root(seen.q)
    log_p = asymptotics.log_tail(-significance)
    return hypotests.Discovery(jnp.exp(log_p), significance, log_p, seen.q, seen.fits)


def discovery(
    bound: BoundLikelihood, data: PyTree, poi_true: float | Array, solver: Solver | None
) -> hypotests.Discovery:
    """As `hypotests.discovery`; with data no ``expected`` is needed.

    Raises:
        FitError: if a fit does not converge.
        MethodError: without data, if the likelihood does not say what is expected.
        SpecError: if there is no parameter of interest.
    """
    poi_place(bound)
    solver = solver or Solver()
    result = _discovery(bound, strength(poi_true, "poi_true"), data, solver)
    ensure(None, solver, result.fits)
    return result


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Line:
    """The profile likelihood ratio along the parameter of interest; 0 below the best fit."""

    bound: BoundLikelihood
    best: Array
    lowest: Array
    solver: Solver = field(metadata={"static": True})

    def __call__(self, poi: Array, last: Minimum) -> tuple[Array, Array, Minimum]:
        """Ratio q, its slope and the minimum, starting at the last one."""
        end = minimise(self.bound, at_poi(self.bound, poi), self.solver, last.pars, damping=1e-4)
        above = poi >= self.best
        ratio = jnp.where(above, jnp.maximum(2.0 * (end.value - self.lowest), 0.0), 0.0)
        return ratio, jnp.where(above, 2.0 * end.gradient[poi_place(self.bound)], 0.0), end

    def differentiable(self, poi: Array, minimum: Minimum) -> Array:
        """The ratio at a minimum that was found, with its derivatives."""
        _, height = anchored(self.bound, at_poi(self.bound, poi), minimum)
        return jnp.maximum(2.0 * (height - self.lowest), 0.0)


def _line(bound: BoundLikelihood, free: Fit, solver: Solver) -> _Line:
    return _Line(bound, free.pars[poi_place(bound)], free.deviance, solver)


@functools.partial(jax.jit, static_argnames=("cl", "test_stat", "solver"), inline=True)
def _upper_limit(bound: BoundLikelihood, data: PyTree, cl: float, test_stat: Statistic, solver: Solver) -> Limit:
    name, place, null, observed, fits = bound.likelihood.poi, poi_place(bound), None, None, {}
    box = _box(bound, test_stat)
    if data is not None:
        bound = bound.likelihood(data)
        null, free = profile(bound, at_poi(bound, 0.0), solver), profile(bound, None, solver, box=box)
        fits = {f"at {name} = 0 on data": null, "of all parameters on data": free}
    sample, pars = _null(bound, 0.0, null)
    start = jax.lax.stop_gradient(pars)
    background = profile(sample, None, solver, start, _box(sample, "qtilde"))
    on_asimov = _line(sample, background, solver)
    hessian = jax.hessian(functools.partial(value, sample.likelihood, templates=sample.templates))(start)
    scale = jnp.sqrt(covariance(hessian, jnp.ones(start.shape, bool))[place, place])
    guess = jnp.where(jnp.isfinite(scale) & (scale > 0), scale, 1.0)
    limit, steps, last = expected_limit(on_asimov, start, guess, asymptotics.target(cl, 0.0))
    fits |= {"of all parameters on Asimov data": background, f"at {name} = expected limit on Asimov data": last}
    if data is not None:
        begin = jnp.maximum(limit + free.pars[place], 0.1 * limit)
        seen = _line(bound, free, solver)
        observed, last, last_asimov = observed_limit(seen, on_asimov, start, begin, cl, test_stat)
        fits |= {f"at {name} = observed limit on data": last, f"at {name} = observed limit on Asimov data": last_asimov}
    return Limit(observed, limit, None, steps, fits)


def upper_limit(bound: BoundLikelihood, cl: float, data: PyTree, test_stat: Statistic, solver: Solver | None) -> Limit:
    """As `limits.upper_limit`, without band; `data` are templates with the data in them.

    Raises:
        FitError: if a fit does not converge, or no value is excluded.
        MethodError: if the likelihood does not say what is expected; for another statistic or a level outside of (0, 1).
        SpecError: if there is no parameter of interest.
    """
    if test_stat not in ("q", "qtilde"):
        msg = f"an upper limit needs test_stat 'q' or 'qtilde', got {test_stat!r}"
        raise MethodError(msg)
    cl = level(cl, "upper_limit")
    poi_place(bound)
    solver = solver or Solver()
    result = _upper_limit(bound, data, cl, test_stat, solver)
    ensure(None, solver, result.fits)
    return result
