"""Expected events of every sample before and after a fit, with their uncertainty."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from diffea.errors import SpecError
from diffea.statistics.bound import BoundModel
from diffea.statistics.diagnostics import prior_widths
from diffea.statistics.estimates import covariance_of_all
from diffea.statistics.fits import initial
from diffea.statistics.rates import by_sample, derivatives
from diffea.statistics.solver import Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prediction:
    """Expected events; differentiable.

    Attributes:
        slices: where the bins of every channel are; `samples`: names of the samples.
        by_sample: expected events, shape (samples, bins).
        covariance: of the totals, by linear propagation of the parameters', shape (bins, bins); infinite on the diagonal where
            a parameter acts that nothing measures.
        data: events seen, shape (bins,); None if there are none to show.
    """

    slices: tuple[tuple[str, slice], ...] = field(metadata={"static": True})
    samples: tuple[str, ...] = field(metadata={"static": True})
    by_sample: Array
    covariance: Array
    data: Array | None

    @property
    def total(self) -> Array:
        """Expected events of all samples, shape (bins,)."""
        return self.by_sample.sum(axis=0)

    @property
    def uncertainty(self) -> Array:
        """Of the totals, shape (bins,)."""
        return jnp.sqrt(jnp.diagonal(self.covariance))

    def bins(self, channel: str) -> slice:
        """Where the bins of a channel are.

        Raises:
            SpecError: if there is none of this name.
        """
        slices = dict(self.slices)
        if channel not in slices:
            msg = f"no channel {channel!r}, the model has {list(slices)}"
            raise SpecError(msg)
        return slices[channel]


@functools.partial(jax.jit, inline=True)
def _predict(bound: BoundModel, pars: Array, cov: Array) -> tuple[Array, Array]:
    layout, settings, prepared = bound.layout, bound.settings, bound.prepared()
    jacobian = derivatives(layout, settings, prepared, pars).jacobian
    unmeasured = jnp.isinf(jnp.diagonal(cov))
    known = jacobian.T @ jnp.where(jnp.isinf(cov), 0.0, cov) @ jacobian
    lost = jnp.any((jacobian != 0) & unmeasured[:, None], axis=0)
    return by_sample(layout, settings, prepared, pars), known + jnp.diag(jnp.where(lost, jnp.inf, 0.0))


def _prediction(bound: BoundModel, pars: Array, cov: Array, data: Any) -> Prediction:
    layout = bound.layout
    events, covariance = _predict(bound, pars, cov)
    seen = None if data is None else bound.whole(data)[: layout.nbins_total]
    return Prediction(tuple(layout.slices.items()), layout.samples, events, covariance, seen)


@functools.partial(jax.jit, inline=True)
def _variances_before(bound: BoundModel) -> Array:
    widths = prior_widths(bound, bound.prepared())
    return jnp.where(jnp.isfinite(widths), widths, 0.0) ** 2


def prefit(bound: BoundModel, data: Any = None) -> Prediction:
    """Expected events at the initial parameters; their uncertainty is that of all constraints, free parameters have none.

    Args:
        bound: the model.
        data: events of all bins and auxiliary data, to be shown beside it.

    Raises:
        DataError: if data are too few or too many.
    """
    return _prediction(bound, jnp.asarray(initial(bound.layout)), jnp.diag(_variances_before(bound)), data)


def postfit(bound: BoundModel, data: Any, *, solver: Solver | None = None) -> Prediction:
    """Expected events at the best fit; their uncertainty is that of all fitted parameters with their correlation.

    Args:
        bound: the model.
        data: events of all bins and auxiliary data.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if the fit does not converge.
    """
    cov, _, fit = covariance_of_all(bound, bound.whole(data), 0.0, solver)
    assert fit is not None
    return _prediction(bound, fit.pars, cov, data)
