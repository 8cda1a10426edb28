"""Whether a model describes the data, by formula and by toys."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaincc

from diffea.statistics import likelihood
from diffea.statistics.batches import in_batches
from diffea.statistics.bound import BoundModel
from diffea.statistics.fits import Fit, ensure, ensure_codes, initial, own_range, profile
from diffea.statistics.given import toys_and_seed
from diffea.statistics.rates import Prepared, derivatives
from diffea.statistics.solver import CONVERGED, LOST_TOYS, NO_DEGREES, Solver
from diffea.statistics.toys import BEARABLE, sample_data

_TIE, _ALIKE = 1e-8, 1e-8


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GoodnessOfFit:
    """Twice the log-likelihood ratio to the saturated model, and how often it is as large or larger.

    Attributes:
        statistic: of the data.
        degrees: degrees of freedom.
        p_value: asymptotic, from the χ² distribution; or the fraction of toys, if there are any.
        error: standard deviation of the fraction of toys; None without toys.
        toys: statistics of the toys, shape (toys,), NaN where their fit did not converge; None without.
        fit: the fit to the data.
    """

    statistic: Array
    degrees: Array
    p_value: Array
    error: Array | None
    toys: Array | None
    fit: Fit


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _by_formula(bound: BoundModel, data: Array, solver: Solver) -> GoodnessOfFit:
    prepared = bound.prepared()
    fit = _fit(bound, prepared, data, solver)
    degrees, statistic = _degrees(bound, prepared, fit.pars), 2.0 * fit.deviance
    p_value = jnp.where(degrees > 0, gammaincc(0.5 * jnp.maximum(degrees, 1), 0.5 * statistic), jnp.nan)
    return GoodnessOfFit(statistic, degrees, p_value, None, None, fit)


def _fit(bound: BoundModel, prepared: Prepared, data: Array, solver: Solver) -> Fit:
    """The fit of all parameters, with the auxiliary data of fixed ones as they expect them: no fit describes those."""
    layout = bound.layout
    parameters, places = np.concatenate([layout.normal, layout.poisson], axis=1)
    expected = likelihood.expected_auxdata(layout, prepared, jnp.asarray(initial(layout)))[places]
    there = layout.nbins_total + places
    seen = data.at[there].set(jnp.where(prepared.fixed[parameters], expected, data[there]))
    return profile(bound, prepared, seen, None, solver, poi_range=own_range(bound))


def _degrees(bound: BoundModel, prepared: Prepared, pars: Array) -> Array:
    """Fitted bins that may hold events, less what free parameters without constraint do to them independently of each other."""
    layout = bound.layout
    unconstrained = np.ones(layout.npars, bool)
    unconstrained[np.concatenate([layout.normal[0], layout.poisson[0]])] = False
    at = jax.lax.stop_gradient(derivatives(layout, bound.settings, prepared, pars))
    which = likelihood.counted(layout, bound.settings)
    filled = ((at.rates > 0) | (at.jacobian != 0).any(axis=0)) & (True if which is None else which)
    shifts = jnp.where(filled, at.jacobian / jnp.sqrt(jnp.where(at.rates > 0, at.rates, 1.0)), 0.0)
    lengths = jnp.linalg.norm(shifts, axis=1)
    fitted = unconstrained & ~prepared.fixed & (lengths > 0)
    directions = jnp.where(fitted[:, None], shifts / jnp.where(fitted, lengths, 1.0)[:, None], 0.0)
    return jnp.sum(filled) - jnp.linalg.matrix_rank(directions, rtol=_ALIKE)


@functools.partial(jax.jit, static_argnames=("toys", "solver"))
def _statistics_of_toys(bound: BoundModel, pars: Array, key: Array, toys: int, solver: Solver) -> Array:
    prepared = bound.prepared()

    def one(key: Array) -> Array:
        toy = sample_data(bound, prepared, pars, key)
        fit = _fit(bound, prepared, toy, solver)
        return jnp.where(fit.status == CONVERGED, 2.0 * fit.deviance, jnp.nan)

    return in_batches(one, bound.layout.npars, jax.random.split(key, toys))


def _by_toys(bound: BoundModel, seen: GoodnessOfFit, toys: int, seed: int, solver: Solver) -> GoodnessOfFit:
    drawn = _statistics_of_toys(bound, jax.lax.stop_gradient(seen.fit.pars), jax.random.key(seed), toys, solver)
    kept = jnp.sum(jnp.isfinite(drawn))
    tie = _TIE * (1.0 + seen.statistic)
    p_value = jnp.sum(drawn >= seen.statistic - tie) / kept
    status = jnp.where(toys - kept > BEARABLE * toys, LOST_TOYS, CONVERGED)
    ensure_codes(bound.layout, solver, {"the goodness of fit with toys": (status, jnp.full_like(status, -1))})
    return GoodnessOfFit(
        seen.statistic, seen.degrees, p_value, jnp.sqrt(p_value * (1.0 - p_value) / kept), drawn, seen.fit
    )


def goodness_of_fit(
    bound: BoundModel, data: Any, *, toys: int | None = None, seed: int = 0, solver: Solver | None = None
) -> GoodnessOfFit:
    """How well the best fit describes data: the saturated-model test (Baker and Cousins, NIM 221 (1984) 437).

    Every constrained parameter brings its own auxiliary datum, so the degrees of freedom are the bins less the free
    parameters without constraint, two that do the same counting once. Bins in which no event is ever expected, and auxiliary data
    of fixed parameters, do not count. Where bins hold few events the statistic has no χ² distribution: toys, drawn at the best
    fit with their auxiliary data and fitted in one compiled loop, have the right one. One with the outcome of the data counts as
    large, whatever the rounding of its fit.

    >>> data = [60.0, 65.0, 0.0]  # events of the two bins, then the auxiliary measurement of norm
    >>> round(float(statistics.goodness_of_fit(bound, data).p_value), 3)
    0.393

    Args:
        bound: the model.
        data: events of all bins and auxiliary data.
        toys: number of toys for the p-value (not differentiable); by formula without.
        seed: of the toys' random numbers.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if the fit does not converge, or those to more than 1 % of the toys, or there are no degrees of freedom.
        MethodError: for toys that are not a whole number of them, at least one.
    """
    if toys is not None:
        toys, seed = toys_and_seed(toys, seed)
    solver = solver or Solver()
    result = _by_formula(bound, bound.whole(data), solver)
    ensure(bound.layout, solver, {"of all parameters": result.fit})
    status = jnp.where(result.degrees > 0, CONVERGED, NO_DEGREES)
    ensure_codes(bound.layout, solver, {"the goodness of fit": (status, jnp.full_like(status, -1))})
    return result if toys is None else _by_toys(bound, result, toys, seed, solver)
