"""What a fit did to the nuisance parameters, and how well a model knows them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from diffea.notebook import tables
from diffea.statistics import likelihood
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import parameter_names, poi_index
from diffea.statistics.fits import Fit, ensure, ensure_codes, initial, own_range, profile
from diffea.statistics.given import strength
from diffea.statistics.information import covariance, informed
from diffea.statistics.rates import Prepared, rates
from diffea.statistics.solver import CONVERGED, NOT_FINITE, Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nuisances:
    """Parameters after a fit, each of shape (npars,) in the order of ``config.par_names``; differentiable.

    Attributes:
        parameters: their names.
        values: best-fit values.
        priors: widths of the constraints, infinite for free parameters, 0 for fixed ones.
        uncertainties: from the inverse Hessian at the best fit, over all parameters that are not fixed (one at its bound
            has the width of the likelihood there).
        pulls: (value − auxiliary datum) / prior width; 0 without a constraint.
        constraints: uncertainty / prior width: 1 is untouched, small is constrained by the data; NaN without a prior.
        impacts: shift of the parameter of interest when a parameter moves by its uncertainty and all others are
            refitted, $\\mathrm{cov}(\\mu, \\theta_j) / \\sigma_j$ (linear; sign included); NaN where there is none of interest.
        fit: the fit; None without data, where the Asimov data's best fit is known.
    """

    parameters: tuple[str, ...] = field(metadata={"static": True})
    values: Array
    priors: Array
    uncertainties: Array
    pulls: Array
    constraints: Array
    impacts: Array
    fit: Fit | None

    def _repr_html_(self) -> str:
        return tables.of_nuisances(self)


def at_asimov(bound: BoundModel, poi_true: float | Array) -> Array:
    """Initial parameters with the parameter of interest, if there is one, at its true value: the best fit to their Asimov data."""
    pars = jnp.asarray(initial(bound.layout))
    if bound.settings.poi_name is None:
        return pars
    return pars.at[poi_index(bound.layout, bound.settings)].set(poi_true)


def prior_widths(bound: BoundModel, prepared: Prepared) -> Array:
    """Widths of the constraints, shape (npars,): infinite for free parameters, 0 for fixed ones."""
    widths = jnp.full(bound.layout.npars, jnp.inf)
    widths = widths.at[bound.layout.normal[0]].set(prepared.sigmas)
    widths = widths.at[bound.layout.poisson[0]].set(1.0 / jnp.sqrt(prepared.factors))
    return jnp.where(prepared.fixed, 0.0, widths)


def information(
    bound: BoundModel, prepared: Prepared, poi_true: float | Array, data: Array | None, solver: Solver
) -> tuple[Array, Array, Fit | None]:
    """Hessian of the negative log-likelihood at the best fit, which parameters are not fixed, and the fit.

    Without data: the Fisher information at the initial parameters, where their Asimov data have their best fit.
    """
    if data is None:
        pars = at_asimov(bound, poi_true)
        fisher = likelihood.fisher_information(bound.layout, bound.settings, prepared, pars)
        return fisher, ~prepared.fixed, None
    fit = profile(bound, prepared, data, None, solver, poi_range=own_range(bound))
    hessian = likelihood.expansion(bound.layout, bound.settings, prepared, fit.pars, data).hessian
    return hessian, ~prepared.fixed, fit


@functools.partial(jax.jit, inline=True)
def _expectation(bound: BoundModel, poi_true: Array) -> tuple[Array, Array]:
    """Whether Asimov data are data, and the first bin in which they are not: one that expects less than no events tells nothing."""
    nu = rates(bound.layout, bound.settings, bound.prepared(), at_asimov(bound, poi_true))
    bad = ~(nu >= 0)
    which = likelihood.counted(bound.layout, bound.settings)
    bad = bad if which is None else bad & which
    return jnp.where(bad.any(), NOT_FINITE, CONVERGED), jnp.where(bad.any(), jnp.argmax(bad), -1)


def ensure_described(bound: BoundModel, solver: Solver, fit: Fit | None, poi_true: Array) -> None:
    """See that the fit converged, or without one that its Asimov data are data.

    Raises:
        FitError: likewise.
    """
    if fit is not None:
        ensure(bound.layout, solver, {"of all parameters to data": fit})
    else:
        ensure_codes(bound.layout, solver, {"the expected data": _expectation(bound, poi_true)})


def described(
    bound: BoundModel,
    prepared: Prepared,
    fit: Fit | None,
    values: Array,
    measured: Array,
    cov: Array,
    poi: Array | int | None,
) -> Nuisances:
    """All parameters after a fit, with impacts on the one at the place `poi`.

    Args:
        bound, prepared: the model.
        fit: the fit, None if none was needed.
        values: best-fit values.
        measured: auxiliary data.
        cov: covariance of all parameters.
        poi: the parameter that the others have an impact on; None for none.
    """
    layout = bound.layout
    variance = jnp.diagonal(cov)
    known = (variance > 0) & jnp.isfinite(variance)
    sigma = jnp.where(known, jnp.sqrt(jnp.where(known, variance, 1.0)), variance)
    prior = prior_widths(bound, prepared)
    has = jnp.isfinite(prior) & (prior > 0)
    shifts = jnp.full(layout.npars, jnp.nan) if poi is None else cov[poi] / jnp.where(known, sigma, 1.0)
    aux = jnp.zeros(layout.npars)
    aux = aux.at[layout.normal[0]].set(measured[layout.normal[1]])
    aux = aux.at[layout.poisson[0]].set(measured[layout.poisson[1]] / prepared.factors)
    return Nuisances(
        parameters=tuple(parameter_names(layout)),
        values=values,
        priors=prior,
        uncertainties=sigma,
        pulls=jnp.where(has, (values - aux) / jnp.where(has, prior, 1.0), 0.0),
        constraints=jnp.where(has, sigma / jnp.where(has, prior, 1.0), jnp.nan),
        impacts=jnp.where(known, shifts, 0.0),
        fit=fit,
    )


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _nuisances(bound: BoundModel, data: Array | None, poi_true: Array, solver: Solver) -> Nuisances:
    prepared, layout = bound.prepared(), bound.layout
    matrix, free, fit = information(bound, prepared, poi_true, data, solver)
    values = at_asimov(bound, poi_true) if fit is None else fit.pars
    measured = likelihood.expected_auxdata(layout, prepared, values) if data is None else data[layout.nbins_total :]
    poi = None if bound.settings.poi_name is None else poi_index(layout, bound.settings)
    return described(bound, prepared, fit, values, measured, covariance(matrix, free), poi)


def nuisances(bound: BoundModel, data: Any = None, *, poi_true: float = 0.0, solver: Solver | None = None) -> Nuisances:
    """Pulls, constraints and impacts of all parameters.

    Args:
        bound: the model.
        data: events of all bins and auxiliary data; Asimov data of `poi_true` by default (then all pulls are 0).
        poi_true: value of the parameter of interest behind the Asimov data.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if the fit does not converge, or the model expects less than no events where it is to make the data.
        ParameterError: if the signal strength is not one finite number.
    """
    solver, poi = solver or Solver(), strength(poi_true, "poi_true")
    given = None if data is None else bound.whole(data)
    result = _nuisances(bound, given, poi, solver)
    ensure_described(bound, solver, result.fit, poi)
    return result


@functools.partial(jax.jit, inline=True)
def fisher_condition(bound: BoundModel, poi_true: float = 0.0) -> Array:
    """Condition number of the Fisher information in units of each parameter's own uncertainty (its correlations).

    Large (above about 1e8) means that some combination of parameters is not measured by anything; at most 4.5e15, the
    inverse of the rounding error.

    Args:
        bound: the model.
        poi_true: value of the parameter of interest at which it is taken.
    """
    prepared = bound.prepared()
    matrix, free, _ = information(bound, prepared, poi_true, None, Solver())
    keep = informed(matrix, free)
    scale = jnp.where(keep, 1.0 / jnp.sqrt(jnp.where(keep, jnp.diagonal(matrix), 1.0)), 0.0)
    scaled = matrix * scale[:, None] * scale
    eigenvalues = jnp.linalg.eigvalsh(scaled + jnp.diag(jnp.where(keep, 0.0, 1.0)))
    largest = eigenvalues[-1]
    return largest / jnp.maximum(eigenvalues[0], jnp.finfo(largest.dtype).eps * largest)


@functools.partial(jax.jit, inline=True)
def effective_events(bound: BoundModel) -> Array:
    r"""Effective number of MC events behind every bin, $(\sum_s N_s)^2 / \sum_s \delta_s^2$ from its staterrors.

    Infinite where a bin has no staterror, or one of 0: its content is known exactly.
    """
    prepared, layout = bound.prepared(), bound.layout
    effective = jnp.full(layout.nbins_total, jnp.inf)
    for table, mask, _ in layout.staterror:
        variance = jnp.sum(jnp.append(bound.yields.staterror, 0.0)[table] ** 2, axis=0)
        total = jnp.sum(jnp.where(table < bound.yields.staterror.size, prepared.nominal, 0.0), axis=0)
        exact = jnp.where(total > 0, jnp.inf, 0.0)
        events = jnp.where(variance > 0, total**2 / jnp.where(variance > 0, variance, 1.0), exact)
        effective = jnp.where(mask, jnp.minimum(effective, events), effective)
    return effective


@functools.partial(jax.jit, inline=True)
def background_and_signal(bound: BoundModel) -> tuple[Array, Array]:
    """Expectations at initial nuisance parameters: background, and signal of strength 1; shapes (bins,), 0 where not fitted."""
    prepared = bound.prepared()
    background, both = (rates(bound.layout, bound.settings, prepared, at_asimov(bound, poi)) for poi in (0.0, 1.0))
    keep = likelihood.weights(bound.layout, bound.settings)
    return keep * background, keep * (both - background)
