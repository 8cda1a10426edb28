"""Objectives of measurements: uncertainties of parameters, and what the simulation's own statistics add to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.statistics import diagnostics, own
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import free_poi_index
from diffea.statistics.estimates import chosen, covariance_of_all
from diffea.statistics.fits import Fit
from diffea.statistics.likelihood import counted
from diffea.statistics.own import Bound, BoundLikelihood, poi_place
from diffea.statistics.rates import rates
from diffea.statistics.solver import Solver


def poi_uncertainty(
    bound: Bound, data: Any = None, *, poi_true: float | Array = 0.0, solver: Solver | None = None
) -> Array:
    r"""Uncertainty of the parameter of interest, $\sqrt{(I^{-1})_{\mu\mu}}$ (INFERNO, arXiv:1806.04743).

    On Asimov data $I$ is the Fisher information at the parameters they were made with, so no fit is needed; on other data
    it is the observed information at their best fit, at a bound of the parameter of interest too.

    >>> round(float(objectives.poi_uncertainty(bound)), 3)
    0.956

    Args:
        poi_true: value of the parameter of interest behind the Asimov data (INFERNO takes signal plus background, 1).
    """
    index = poi_place(bound) if isinstance(bound, BoundLikelihood) else free_poi_index(bound.layout, bound.settings)
    cov, _, _ = _covariance(bound, data, poi_true, solver)
    return jnp.sqrt(cov[index, index])


def nuisance_penalty(
    bound: BoundModel, data: Any = None, *, poi_true: float | Array = 0.0, solver: Solver | None = None
) -> Array:
    r"""Penalty on over- and under-constrained nuisances, $\sum_j (1 - \sigma_j/\sigma_j^\text{prior})^2$.

    neos (arXiv:2203.05570) quotes $1 - \sigma_\gamma$ of each loss. Per-bin parameters do not count.

    Args:
        poi_true: value of the parameter of interest behind the Asimov data.
    """
    cov, free, _ = covariance_of_all(bound, data, poi_true, solver)
    prior = diagnostics.prior_widths(bound, bound.prepared())
    scalar = np.concatenate([np.full(s.n_parameters, s.is_scalar) for s in bound.layout.sets.values()])
    counts = scalar & free & jnp.isfinite(prior) & (prior > 0)
    sigma = jnp.sqrt(jnp.where(counts, jnp.diagonal(cov), 1.0))
    return jnp.sum(jnp.where(counts, (1.0 - sigma / jnp.where(counts, prior, 1.0)) ** 2, 0.0))


def generalised_variance(
    bound: Bound,
    parameters: Sequence[str] | None = None,
    data: Any = None,
    *,
    poi_true: float | Array = 0.0,
    solver: Solver | None = None,
) -> Array:
    r"""Determinant of the covariance of some parameters (Wilks 1932; "D-optimality"), all others profiled.

    Of several parameters of interest, ``parameters=["mu_ggf", "mu_vbf"]``, it is the squared area of their error ellipse (over π²).
    Infinite if nothing measures one of them; fixed ones do not count.

    Args:
        parameters: names of parameters (``"mu"``, ``"gamma[3]"``) or of sets (``"gamma"``); all free ones by default.
        poi_true: value of the parameter of interest, if there is one, behind the Asimov data.

    Raises:
        SpecError: for a parameter that is none, or twice the same.
    """
    cov, free, _ = _covariance(bound, data, poi_true, solver)
    places = own.chosen(bound, parameters) if isinstance(bound, BoundLikelihood) else chosen(bound, parameters)
    block, free = cov[np.ix_(places, places)], free[places]
    unmeasured = free & jnp.isinf(jnp.diagonal(block))
    keep = free & ~unmeasured
    return jnp.where(
        unmeasured.any(), jnp.inf, jnp.linalg.det(jnp.where(keep[:, None] & keep, block, jnp.eye(len(places))))
    )


def mc_statistical_error(bound: BoundModel) -> Array:
    r"""Penalty on templates carried by few simulated events: $\frac{1}{B}\sum_b \delta_b^2 / \nu_b$. No fit.

    δ² is the variance of the simulation (from staterror and shapesys), ν the expected background: the mean ratio of
    the simulation's variance to that of the data it predicts (Barlow and Beeston, CPC 77 (1993) 219, ask for ≪ 1).
    """
    layout, prepared = bound.layout, bound.prepared()
    variance = jnp.zeros(layout.nbins_total)
    for table, _, _ in layout.staterror:
        variance += jnp.sum(jnp.append(bound.yields.staterror, 0.0)[table] ** 2, axis=0)
    for _, bins, table, _ in layout.shapesys:
        variance = variance.at[bins].add(bound.yields.shapesys[table] ** 2)
    nu = rates(layout, bound.settings, prepared, diagnostics.at_asimov(bound, 0.0))
    filled = nu > 0
    which = counted(layout, bound.settings)
    ratio = jnp.where(filled, variance / jnp.where(filled, nu, 1.0), 0.0)
    return jnp.mean(ratio if which is None else ratio[np.flatnonzero(which)])


def _covariance(
    bound: Bound, data: Any, poi_true: float | Array, solver: Solver | None
) -> tuple[Array, Array, Fit | None]:
    if isinstance(bound, BoundLikelihood):
        return own.covariance_of_all(bound, data, poi_true, solver)
    return covariance_of_all(bound, data, poi_true, solver)
