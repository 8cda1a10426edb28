"""Several parameters at once: their values, uncertainties and correlation after a fit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import SpecError
from diffea.notebook import tables
from diffea.statistics import named
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import parameter_names
from diffea.statistics.diagnostics import at_asimov, ensure_described, information
from diffea.statistics.fits import Fit
from diffea.statistics.given import strength
from diffea.statistics.information import covariance
from diffea.statistics.solver import Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Estimates:
    """Some parameters after a fit, all others profiled; differentiable.

    Attributes:
        parameters: their names.
        values: best-fit values, shape (n,).
        uncertainties: from the inverse Hessian, shape (n,); infinite where nothing measures a parameter, 0 for fixed ones.
        covariance: shape (n, n).
        correlation: shape (n, n); 0 with a fixed parameter, NaN with one that nothing measures.
        fit: the fit; None without data, where the Asimov data's best fit is known.
    """

    parameters: tuple[str, ...] = field(metadata={"static": True})
    values: Array
    uncertainties: Array
    covariance: Array
    correlation: Array
    fit: Fit | None

    def _repr_html_(self) -> str:
        return tables.of_estimates(self)


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _all(bound: BoundModel, poi_true: Array, data: Array | None, solver: Solver) -> tuple[Array, Array, Fit | None]:
    matrix, free, fit = information(bound, bound.prepared(), poi_true, data, solver)
    return covariance(matrix, free), free, fit


def covariance_of_all(
    bound: BoundModel, data: Any, poi_true: float | Array, solver: Solver | None
) -> tuple[Array, Array, Fit | None]:
    """Covariance of all parameters, which of them are not fixed, and the fit, if there are data.

    Raises:
        DataError: if data are too few or too many, negative or NaN.
        FitError: if the fit does not converge, or the model expects less than no events where it is to make the data.
        ParameterError: if the signal strength is not one finite number.
    """
    solver, poi = solver or Solver(), strength(poi_true, "poi_true")
    cov, free, fit = _all(bound, poi, None if data is None else bound.whole(data), solver)
    ensure_described(bound, solver, fit, poi)
    return cov, free, fit


def estimates(
    bound: BoundModel,
    data: Any = None,
    parameters: Sequence[str] | None = None,
    *,
    poi_true: float | Array = 0.0,
    solver: Solver | None = None,
) -> Estimates:
    """Values, uncertainties and correlation of some parameters, of several parameters of interest for example.

    >>> data = [60.0, 65.0, 0.0]  # events of the two bins, then the auxiliary measurement of norm
    >>> found = statistics.estimates(bound, data, ["mu"])
    >>> np.round(found.values, 2).tolist(), np.round(found.uncertainties, 2).tolist()
    ([0.72], [0.99])

    Args:
        bound: the model.
        data: events of all bins and auxiliary data; Asimov data of the initial parameters by default (then no fit is made).
        parameters: names of parameters (``"mu_ggf"``, ``"gamma[3]"``) or of sets (``"gamma"``); all by default.
        poi_true: value of the parameter of interest, if there is one, behind the Asimov data.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if the fit does not converge.
        SpecError: for a parameter that is none, or twice the same.
    """
    places = chosen(bound, parameters)
    cov, _, fit = covariance_of_all(bound, data, poi_true, solver)
    return _chosen(bound, cov, fit, strength(poi_true, "poi_true"), tuple(places.tolist()))


@functools.partial(jax.jit, static_argnames=("places",), inline=True)
def _chosen(bound: BoundModel, cov: Array, fit: Fit | None, poi_true: Array, places: tuple[int, ...]) -> Estimates:
    values = at_asimov(bound, poi_true) if fit is None else fit.pars
    block = cov[np.ix_(places, places)]
    variance = jnp.diagonal(block)
    known, unmeasured = (variance > 0) & jnp.isfinite(variance), jnp.isinf(variance)
    sigma = jnp.where(known, jnp.sqrt(jnp.where(known, variance, 1.0)), variance)
    scale = jnp.where(known, 1.0 / jnp.where(known, sigma, 1.0), 0.0)
    ratio = jnp.where(known[:, None] & known, block, 0.0) * scale[:, None] * scale
    ratio = jnp.where(unmeasured[:, None] | unmeasured, jnp.nan, ratio)
    names = parameter_names(bound.layout)
    return Estimates(tuple(names[i] for i in places), values[np.array(places)], sigma, block, ratio, fit)


def chosen(bound: BoundModel, parameters: Sequence[str] | None) -> np.ndarray:
    """Places of named parameters, all of them for None.

    Raises:
        SpecError: for a name that is none, or a parameter that is named twice.
    """
    if parameters is None:
        return np.arange(bound.layout.npars)
    places = [place for name in parameters for place in named.indices(bound.layout, name)]
    if len(set(places)) < len(places) or not places:
        msg = f"expected names of parameters, each once, got {list(parameters)}"
        raise SpecError(msg)
    return np.array(places)
