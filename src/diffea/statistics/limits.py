r"""Upper limits on the parameter of interest by root finding, differentiable by the implicit function theorem."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from diffea.errors import MethodError
from diffea.notebook import tables
from diffea.statistics import asymptotics, likelihood
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import free_poi_index, poi_index
from diffea.statistics.fits import Fit, anchored, at_poi, ensure, minimise, profiles
from diffea.statistics.given import level
from diffea.statistics.implicit import solution
from diffea.statistics.information import covariance
from diffea.statistics.rates import Prepared
from diffea.statistics.ratios import Statistic, asimov, check_name, poi_range
from diffea.statistics.roots import begin, find_root, last_fit
from diffea.statistics.solver import NO_ROOT, Minimum, Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Limit:
    """Upper limits on the parameter of interest, differentiable in the yields and the data.

    Attributes:
        observed: limit of the data; None without data.
        expected: median expected limit.
        band: expected limits at −2, −1, 0, 1, 2 σ, shape (5,); None if it was not asked for.
        steps: values of the parameter of interest tried for the median expected limit.
        fits: the last fits, by what they are (their parameters without derivatives).
    """

    observed: Array | None
    expected: Array
    band: Array | None
    steps: Array
    fits: dict[str, Fit]

    def _repr_html_(self) -> str:
        return tables.of_limit(self)


class Line(Protocol):
    """A profile likelihood ratio along the parameter of interest; a pytree."""

    def __call__(self, poi: Array, last: Minimum) -> tuple[Array, Array, Minimum]:
        """Ratio q, its slope and the minimum, starting at the last one."""

    def differentiable(self, poi: Array, minimum: Minimum) -> Array:
        """The ratio at a minimum that was found, with its derivatives."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Line:
    """The profile likelihood ratio along the parameter of interest, on one data set; 0 below the best fit."""

    bound: BoundModel
    prepared: Prepared
    data: Array
    best: Array | float
    lowest: Array | float
    solver: Solver = field(metadata={"static": True})

    def __call__(self, poi: Array, last: Minimum) -> tuple[Array, Array, Minimum]:
        """Ratio q, its slope (envelope theorem: the partial derivative) and the minimum, starting at the last one."""
        index = poi_index(self.bound.layout, self.bound.settings)
        held = at_poi(self.bound, poi)
        end = minimise(self.bound, self.prepared, self.data, held, self.solver, last.pars, damping=1e-4)
        above = poi >= self.best
        ratio = jnp.where(above, jnp.maximum(2.0 * (end.value - self.lowest), 0.0), 0.0)
        return ratio, jnp.where(above, 2.0 * end.gradient[index], 0.0), end

    def differentiable(self, poi: Array, minimum: Minimum) -> Array:
        """The ratio at a minimum that was found, with its derivatives."""
        _, value = anchored(self.bound, self.prepared, self.data, at_poi(self.bound, poi), minimum)
        return jnp.maximum(2.0 * (value - self.lowest), 0.0)


def expected_limit(line: Line, pars: Array, guess: Array, goal: Array) -> tuple[Array, Array, Fit]:
    r"""Where $\sqrt{q_A(\mu)}$ reaches a goal: the limit, the number of steps and the last fit."""
    still = jax.lax.stop_gradient(line)

    def gap(poi: Array, last: Minimum) -> tuple[Array, Array, Minimum]:
        q, slope, end = still(poi, last)
        root = asymptotics.root(q)
        return goal - root, -slope / (2.0 * jnp.where(root > 0, root, 1.0)), end

    end = find_root(gap, jax.lax.stop_gradient(guess * goal), begin(pars))
    limit = solution(_expected_gap, jax.lax.stop_gradient(end.at), (line, goal, end.carry))
    return limit, end.steps, last_fit(end, end.carry, NO_ROOT)


def _expected_gap(poi: Array, given: tuple[Line, Array, Minimum]) -> Array:
    line, goal, end = given
    return goal - asymptotics.root(line.differentiable(poi, end))


def observed_limit(
    on_data: Line, on_asimov: Line, pars: Array, start: Array, cl: float, test_stat: Statistic
) -> tuple[Array, Fit, Fit]:
    """Where the observed CLs falls to 1 − cl: the limit and the last fits on data and on Asimov data, made in one loop."""
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), on_data, on_asimov)
    still, excess = jax.lax.stop_gradient(both), functools.partial(_log_excess, cl, test_stat)

    def gap(poi: Array, last: Minimum) -> tuple[Array, Array, Minimum]:
        q, slope, ends = jax.vmap(lambda line, last: line(poi, last))(still, last)
        value, slope = jax.jvp(excess, tuple(q), tuple(slope))
        return value, slope, ends

    first = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), begin(pars))
    end = find_root(gap, jax.lax.stop_gradient(start), first)
    seen, asimov_end = (jax.tree.map(lambda leaf, n=number: leaf[n], end.carry) for number in range(2))
    limit = solution(functools.partial(_observed_gap, excess), jax.lax.stop_gradient(end.at), (both, end.carry))
    return limit, last_fit(end, seen, NO_ROOT), last_fit(end, asimov_end, NO_ROOT)


def _log_excess(cl: float, test_stat: Statistic, q: Array, q_asimov: Array) -> Array:
    """Logarithm of the observed CLs over 1 − cl."""
    root_asimov = asymptotics.root(q_asimov)
    value = asymptotics.statistic(asymptotics.root(q), root_asimov, test_stat)
    return asymptotics.log_p_values(value, root_asimov)[2] - jnp.log(1.0 - cl)


def _observed_gap(excess: Callable[[Array, Array], Array], poi: Array, given: tuple[Line, Minimum]) -> Array:
    return excess(*jax.vmap(lambda line, end: line.differentiable(poi, end))(*given))


@functools.partial(jax.jit, static_argnames=("cl", "band", "test_stat", "solver"), inline=True)
def _upper_limit(
    bound: BoundModel, data: Array | None, cl: float, band: bool, test_stat: Statistic, solver: Solver
) -> Limit:
    prepared, layout, settings = bound.prepared(), bound.layout, bound.settings
    index, name = poi_index(layout, settings), settings.poi_name
    free = null = None
    if data is not None:
        free, null = profiles(bound, prepared, data, [None, 0.0], solver, poi_range(bound, test_stat))
    sample = asimov(bound, prepared, 0.0, null)
    line = _Line(bound, prepared, sample.data, 0.0, 0.0, solver)
    scale = poi_scale(bound, prepared, sample.pars)
    guess = jnp.where(jnp.isfinite(scale), scale, 1.0)
    all_limits = observed = None
    if band:
        goals = asymptotics.target(cl, asymptotics.SIGMAS)
        all_limits, all_steps, fit = jax.vmap(lambda goal: expected_limit(line, sample.pars, guess, goal))(goals)
        limit, steps = all_limits[2], all_steps[2]
    else:
        limit, steps, fit = expected_limit(line, sample.pars, guess, asymptotics.target(cl, 0.0))
    fits = {f"at {name} = expected limit on Asimov data": fit}
    if free is not None and null is not None and data is not None:
        seen = _Line(bound, prepared, data, free.pars[index], free.deviance, solver)
        start = jnp.maximum(limit + free.pars[index], 0.1 * limit)
        observed, on_data, on_asimov = observed_limit(seen, line, sample.pars, start, cl, test_stat)
        fits |= {
            f"at {name} = 0 on data": null,
            "of all parameters on data": free,
            f"at {name} = observed limit on data": on_data,
            f"at {name} = observed limit on Asimov data": on_asimov,
        }
    return Limit(observed, limit, all_limits, steps, fits)


def poi_scale(bound: BoundModel, prepared: Prepared, pars: Array) -> Array:
    """Uncertainty of the parameter of interest from the Fisher information at these parameters."""
    information = likelihood.fisher_information(bound.layout, bound.settings, prepared, pars)
    index = poi_index(bound.layout, bound.settings)
    return jnp.sqrt(covariance(information, ~prepared.fixed)[index, index])


def upper_limit(
    bound: BoundModel,
    cl: float = 0.95,
    data: Any = None,
    *,
    band: bool = False,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Limit:
    """Upper limits from CLs in the asymptotic limit (arXiv:1007.1727; ``pyhf.infer.intervals.upper_limits``).

    >>> data = [60.0, 65.0, 0.0]  # events of the two bins, then the auxiliary measurement of norm
    >>> limit = statistics.upper_limit(bound, data=data)
    >>> round(float(limit.observed), 2), round(float(limit.expected), 2)
    (2.54, 1.97)

    Args:
        bound: the model.
        cl: confidence level.
        data: events of all bins and auxiliary data. Without them only the expected limits are made, from
            background-only Asimov data at the nuisance parameters' initial values; with them the Asimov data are
            made at the nuisance parameters that fit the data best without signal.
        band: expected limits at −2 … 2 σ too.
        test_stat: ``"qtilde"`` or ``"q"``.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if a fit does not converge, or no value is excluded.
        SpecError: if there is no parameter of interest, or a fixed one.
        MethodError: for another statistic or a level outside of (0, 1).
    """
    check_name(test_stat)
    if test_stat not in ("q", "qtilde"):
        msg = f"an upper limit needs test_stat 'q' or 'qtilde', got {test_stat!r}"
        raise MethodError(msg)
    cl = level(cl, "upper_limit")
    free_poi_index(bound.layout, bound.settings)
    solver = solver or Solver()
    given = None if data is None else bound.whole(data)
    result = _upper_limit(bound, given, cl, band, test_stat, solver)
    ensure(bound.layout, solver, result.fits)
    return result
