r"""Profile likelihood ratios $t_\mu$, $\tilde t_\mu$, $q_\mu$, $\tilde q_\mu$ and $q_0$ (arXiv:1007.1727, section 2)."""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import MethodError
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import free_poi_index, poi_index
from diffea.statistics.fits import Fit, Range, at_poi, bounds, ensure, initial, profile, profiles
from diffea.statistics.given import strength
from diffea.statistics.likelihood import expected_auxdata
from diffea.statistics.rates import Prepared, rates
from diffea.statistics.solver import Solver

Statistic = Literal["t", "ttilde", "q", "qtilde", "q0"]

_ROUNDING, _DIGITS = 1e-20, 1e-14


def rise(deviance: Array, least: Array | float) -> Array:
    """Twice by how much a deviance is above the least one; 0, and without a slope, where that is no more than fits leave by rounding.

    Of a signal that other free parameters imitate exactly, a test statistic that is 0, nothing else is left, and its root has any slope.
    """
    ratio = 2.0 * (deviance - least)
    return jnp.where(ratio <= _ROUNDING + _DIGITS * jnp.abs(least), 0.0, ratio)


class Asimov(NamedTuple):
    """Asimov data and the parameters they were made with."""

    data: Array
    pars: Array


def poi_range(bound: BoundModel, test_stat: Statistic) -> Range:
    """Where the free fit may find the parameter of interest.

    From 0 for the tilde statistics, and for q0, which is 0 for a best fit below; for the others from the model's own lower
    bound, if that is negative, or anywhere. There is no upper bound: a best fit that stops at one is none.
    """
    low = float(bounds(bound.layout)[0][poi_index(bound.layout, bound.settings)])
    if test_stat in ("qtilde", "ttilde", "q0"):
        return Range(max(0.0, low))
    return Range(low if low < 0 else -np.inf)


def asimov(bound: BoundModel, prepared: Prepared, poi: float | Array, fit: Fit | None = None) -> Asimov:
    """Asimov data of a hypothesis: nuisance parameters at their initial values, or where a fit at `poi` has put them.

    Their best fit is known without a fit: the parameters they were made with, where the deviance is 0.
    """
    index = poi_index(bound.layout, bound.settings)
    pars = jnp.asarray(initial(bound.layout)).at[index].set(poi) if fit is None else fit.pars
    main = rates(bound.layout, bound.settings, prepared, pars)
    return Asimov(jnp.concatenate([main, expected_auxdata(bound.layout, prepared, pars)]), pars)


def on_asimov(
    bound: BoundModel, prepared: Prepared, poi: float | Array, sample: Asimov, solver: Solver
) -> tuple[Array, Fit]:
    """The likelihood ratio of a hypothesis on Asimov data of another: one fit."""
    fit = profile(bound, prepared, sample.data, at_poi(bound, poi), solver, jax.lax.stop_gradient(sample.pars))
    return rise(fit.deviance, 0.0), fit


class OnData(NamedTuple):
    """A test statistic on data with its fits: at the hypothesis, of all parameters, and at 0 (if asked for)."""

    value: Array
    fixed: Fit
    free: Fit
    null: Fit | None

    def fits(self, poi_name: str | None) -> dict[str, Fit]:
        """The fits by what they are."""
        named = {f"at {poi_name} = test value on data": self.fixed, "of all parameters on data": self.free}
        return named | ({} if self.null is None else {f"at {poi_name} = 0 on data": self.null})


def on_data(
    bound: BoundModel,
    prepared: Prepared,
    poi: float | Array,
    data: Array,
    test_stat: Statistic,
    solver: Solver,
    *,
    null: bool = False,
) -> OnData:
    """The test statistic on any data, all fits in one loop; `null` adds the fit without signal."""
    seen = _compare(bound, prepared, poi, data, poi_range(bound, test_stat), solver, null)
    return seen._replace(value=_one_sided(bound, seen, poi, test_stat))


def _compare(
    bound: BoundModel,
    prepared: Prepared,
    poi: float | Array,
    data: Array,
    where: Range,
    solver: Solver,
    null: bool,
) -> OnData:
    """The two-sided ratio of likelihoods."""
    fixed, free, *more = profiles(bound, prepared, data, [poi, None, 0.0] if null else [poi, None], solver, where)
    return OnData(rise(fixed.deviance, free.deviance), fixed, free, more[0] if more else None)


def _one_sided(bound: BoundModel, seen: OnData, poi: float | Array, test_stat: Statistic) -> Array:
    """The ratio, or 0 where the best fit is on the side that does not count against the hypothesis."""
    best = seen.free.pars[poi_index(bound.layout, bound.settings)]
    if test_stat in ("q", "qtilde"):
        return jnp.where(best > poi, 0.0, seen.value)
    if test_stat == "q0":
        return jnp.where(best <= poi, 0.0, seen.value)
    return seen.value


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _evaluate(bound: BoundModel, poi: Array, data: Array, where: Range, solver: Solver) -> OnData:
    return _compare(bound, bound.prepared(), poi, data, where, solver, null=False)


def likelihood_ratio(
    bound: BoundModel, poi: float | Array, data: Any, *, test_stat: Statistic = "qtilde", solver: Solver | None = None
) -> Array:
    """A test statistic on data, a scalar.

    Args:
        bound: the model.
        poi: hypothesis for the parameter of interest (0 for q0).
        data: events of all bins and auxiliary data.
        test_stat: ``"t"`` (eq. 8), ``"ttilde"`` (11), ``"q0"`` (12), ``"q"`` (14), ``"qtilde"`` (16). Those with a tilde
            keep the parameter of interest at 0 or above in the free fit, the others let it go below (q0 is 0 there).
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if a fit does not converge.
        SpecError: if there is no parameter of interest, or a fixed one.
        MethodError: for an unknown statistic.
    """
    check_name(test_stat)
    free_poi_index(bound.layout, bound.settings)
    solver, poi = solver or Solver(), strength(poi, "poi")
    where = jax.tree.map(jnp.asarray, poi_range(bound, test_stat))
    seen = _evaluate(bound, poi, bound.whole(data), where, solver)
    ensure(bound.layout, solver, seen.fits(bound.settings.poi_name))
    return _one_sided(bound, seen, poi, test_stat)


def check_name(test_stat: str) -> None:
    """Refuse a name that is no test statistic."""
    if test_stat not in get_args(Statistic):
        msg = f"test_stat: expected one of {get_args(Statistic)}, got {test_stat!r}"
        raise MethodError(msg)
