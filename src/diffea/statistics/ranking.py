"""How much each nuisance parameter moves the parameter of interest, by refits."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import SpecError
from diffea.notebook import tables
from diffea.statistics import named
from diffea.statistics.batches import in_batches
from diffea.statistics.bound import BoundModel
from diffea.statistics.diagnostics import Nuisances, described, information
from diffea.statistics.fits import Fit, Held, bounds, ensure, own_range, profile
from diffea.statistics.information import covariance
from diffea.statistics.solver import Solver


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ranking:
    """Impacts of all other parameters on one, differentiable; in the order of ``config.par_names``.

    Attributes:
        poi: name of the parameter that is moved; `parameters`: names of the others.
        prefit: shift of `poi` when a parameter is held one width of its constraint above and below its best fit and all
            others are refitted, shape (parameters, 2); NaN without a constraint, 0 for fixed ones.
        postfit: the same with the parameter's uncertainty after the fit, shape (parameters, 2).
        at_bound: whether the best fit of `poi` is at a bound.
        nuisances: pulls, constraints and linear impacts of the same parameters.
        fit: the fit of all parameters; `refits`: the others, statuses of shape (parameters, 4).
    """

    poi: str = field(metadata={"static": True})
    parameters: tuple[str, ...] = field(metadata={"static": True})
    prefit: Array
    postfit: Array
    at_bound: Array
    nuisances: Nuisances
    fit: Fit
    refits: Fit

    def _repr_html_(self) -> str:
        return tables.of_ranking(self)

    @property
    def order(self) -> list[int]:
        """Rows by post-fit impact, largest first; where these are alike (0), by the linear one. Outside of compiled functions."""
        largest = np.nan_to_num(np.abs(np.asarray(self.postfit))).max(axis=1, initial=0.0)
        linear = np.nan_to_num(np.abs(np.asarray(self.nuisances.impacts)))
        return np.lexsort((-linear, -largest)).tolist()

    @property
    def notes(self) -> list[str]:
        """In words, what makes refits say little; empty if nothing does. Outside of compiled functions."""
        if not bool(self.at_bound):
            return []
        return [
            (
                f"the best fit of {self.poi!r} is at its bound: a shift that pushes it further has no impact by refits; the linear "
                "impacts are those of the likelihood there"
            )
        ]


class _Refitted(NamedTuple):
    prefit: Array
    postfit: Array
    at_bound: Array
    nuisances: Nuisances
    fit: Fit
    refits: Fit


@functools.partial(jax.jit, static_argnames=("poi", "solver"), inline=True)
def _ranking(bound: BoundModel, data: Array, poi: int, solver: Solver) -> _Refitted:
    layout, prepared = bound.layout, bound.prepared()
    hessian, free, fit = information(bound, prepared, 0.0, data, solver)
    assert fit is not None
    cov = covariance(hessian, free)
    after = described(bound, prepared, fit, fit.pars, data[layout.nbins_total :], cov, poi)
    rows = np.delete(np.arange(layout.npars), poi)
    low, high = (jnp.asarray(edge)[rows] for edge in bounds(layout))
    here = fit.pars[rows]

    def shifted(widths: Array) -> Array:
        """Two values of each parameter, (parameters, 2), inside of its bounds; its best fit where it has no width."""
        width = jnp.where(jnp.isfinite(widths), widths, 0.0)
        return jnp.clip(jnp.stack([here + width, here - width], axis=-1), low[:, None], high[:, None])

    values = jnp.concatenate([shifted(after.priors[rows]), shifted(after.uncertainties[rows])], axis=-1)

    def refit(place: Array, value: Array) -> Fit:
        held = Held(jnp.arange(layout.npars) == place, value)
        return profile(bound, prepared, data, held, solver, poi_range=own_range(bound))

    fits = in_batches(refit, layout.npars, jnp.repeat(jnp.asarray(rows), 4), values.ravel())
    refits = jax.tree.map(lambda leaf: leaf.reshape(len(rows), 4, *leaf.shape[1:]), fits)
    impacts = refits.pars[..., poi] - fit.pars[poi]
    none = jnp.stack([jnp.isinf(after.priors[rows]), jnp.isinf(after.uncertainties[rows])], axis=-1)
    impacts = jnp.where(jnp.repeat(none, 2, axis=-1), jnp.nan, impacts)
    names = tuple(after.parameters[row] for row in rows)
    others = jax.tree.map(lambda leaf: leaf[rows], dataclasses.replace(after, parameters=names, fit=None))
    at_bound = ~fit.free[poi]
    return _Refitted(impacts[:, :2], impacts[:, 2:], at_bound, others, fit, refits)


def ranking(bound: BoundModel, data: Any, poi: str | None = None, *, solver: Solver | None = None) -> Ranking:
    """Impact of every parameter on one of them: pre-fit and post-fit by refits, and linear (`nuisances`).

    As cabinetry and the experiments define it: the shift of the parameter of interest between the fit of all parameters and one
    in which another is held at its best fit ± its width. A value beyond that parameter's bounds is taken to the bound. All refits,
    four for each parameter, are made in one compiled loop.

    Args:
        bound: the model.
        data: events of all bins and auxiliary data (``bound.expected_data(pars)`` for a blinded ranking).
        poi: name of the parameter that is moved; the model's parameter of interest by default.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if a fit does not converge.
        SpecError: for a parameter that is none, a set of several, or fixed; and if the model has none of interest.
    """
    poi = poi or bound.settings.poi_name
    if poi is None:
        msg = "ranking: the model has no parameter of interest: name the parameter that the others shift, poi=…"
        raise SpecError(msg)
    place, solver = named.free_index(bound, poi), solver or Solver()
    refitted = _ranking(bound, bound.whole(data), place, solver)
    result = Ranking(poi, refitted.nuisances.parameters, *refitted)
    ensure(bound.layout, solver, {"of all parameters": result.fit, "with one parameter shifted": result.refits})
    return result
