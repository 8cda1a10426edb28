"""The profile likelihood along parameters."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import ParameterError
from diffea.statistics import named
from diffea.statistics.batches import in_batches
from diffea.statistics.bound import BoundModel
from diffea.statistics.fits import Fit, Held, ensure, own_range, profile
from diffea.statistics.given import numbers
from diffea.statistics.solver import Solver
from diffea.statistics.yields import is_concrete


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scan:
    """The profile likelihood on a grid, differentiable in the yields, the data and the grid.

    Attributes:
        parameters: names of the parameters that were held.
        values: the grid's points along each of them.
        deviance: $-2\\Delta\\ln L$, by how much the best fit at a point is worse than that of all parameters; one axis for
            each parameter. Negative where a point outside of a parameter's bounds is better.
        best: the parameters' values in the fit of all parameters, shape (parameters,).
        points: the fits at the points; their ``pars`` have shape (…, npars), their ``status`` that of the grid.
        fit: the fit of all parameters.
    """

    parameters: tuple[str, ...] = field(metadata={"static": True})
    values: tuple[Array, ...]
    deviance: Array
    best: Array
    points: Fit
    fit: Fit


class _Grid(NamedTuple):
    deviance: Array
    best: Array
    points: Fit
    fit: Fit


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _scan(bound: BoundModel, data: Array, places: Array, values: tuple[Array, ...], solver: Solver) -> _Grid:
    """The places are traced: one program serves all parameters of a model."""
    prepared, where = bound.prepared(), own_range(bound)
    mask = jnp.isin(jnp.arange(bound.layout.npars), places)
    free = profile(bound, prepared, data, None, solver, poi_range=where)

    def at(point: Array) -> Fit:
        held = Held(mask, jnp.zeros(bound.layout.npars).at[places].set(point))
        return profile(bound, prepared, data, held, solver, poi_range=where)

    grid = jnp.stack(jnp.meshgrid(*values, indexing="ij"), axis=-1)
    fits = in_batches(at, bound.layout.npars, grid.reshape(-1, len(places)))
    points = jax.tree.map(lambda leaf: leaf.reshape(*grid.shape[:-1], *leaf.shape[1:]), fits)
    deviance = 2.0 * (points.deviance - free.deviance)
    return _Grid(deviance, free.pars[places], points, free)


def scan(bound: BoundModel, data: Any, parameters: Mapping[str, Any], *, solver: Solver | None = None) -> Scan:
    """The profile likelihood along one parameter, or on the grid of several: at each point all others are fitted.

    All fits are made in one compiled loop. The parameter of interest, where it is not held, has no upper bound.

    Args:
        bound: the model.
        data: events of all bins and auxiliary data.
        parameters: values of each parameter, by its name (``"mu"``, ``"gamma[3]"``); inside of its bounds or not.
        solver: how to fit; with ``throw=False`` a point that fails is told by its status alone.

    Raises:
        DataError: if data are too few or too many.
        FitError: if a fit does not converge.
        ParameterError: for values that are not finite, or none.
        SpecError: for a parameter that is none.
    """
    asked: object = parameters
    if not isinstance(asked, Mapping) or not asked:
        msg = f"scan: expected values of at least one parameter, as in {{'mu': [0, 1, 2]}}, got {parameters!r}"
        raise ParameterError(msg)
    solver = solver or Solver()
    values = {name: _line(bound, name, given) for name, given in parameters.items()}
    places = jnp.array([named.index(bound.layout, name) for name in values])
    grid = _scan(bound, bound.whole(data), places, tuple(values.values()), solver)
    result = Scan(tuple(values), tuple(values.values()), *grid)
    ensure(bound.layout, solver, {"of all parameters": result.fit, f"along {', '.join(values)}": result.points})
    return result


def _line(bound: BoundModel, name: str, given: Any) -> Array:
    named.index(bound.layout, name)
    values = numbers(given, f"scan of {name!r}", ParameterError)
    if values.ndim != 1 or not values.size or (is_concrete(values) and not np.isfinite(values).all()):
        msg = f"scan: expected a list of finite values of {name!r}, got {given!r}"
        raise ParameterError(msg)
    return values
