"""CLs against the parameter of interest, with the expected band."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax import Array

from diffea.errors import ParameterError
from diffea.statistics.batches import in_batches
from diffea.statistics.bound import BoundModel
from diffea.statistics.fits import ensure
from diffea.statistics.given import numbers
from diffea.statistics.hypotests import HypoTest, run_hypotest
from diffea.statistics.limits import Limit, upper_limit
from diffea.statistics.ratios import Statistic
from diffea.statistics.solver import Solver
from diffea.statistics.yields import is_concrete


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LimitScan:
    """CLs at values of the parameter of interest, and where it crosses; differentiable.

    Attributes:
        poi: name of the parameter of interest; `cl`: confidence level of the limits.
        pois: tested values, shape (points,).
        observed: CLs of the data, shape (points,); None without data.
        band: expected CLs at −2, −1, 0, 1, 2 σ, shape (points, 5).
        limit: the upper limits, by root finding and not from the points, with their band.
        tests: all that was found at the points.
    """

    poi: str = field(metadata={"static": True})
    cl: float = field(metadata={"static": True})
    pois: Array
    observed: Array | None
    band: Array
    limit: Limit
    tests: HypoTest

    @property
    def expected(self) -> Array:
        """Median expected CLs, shape (points,)."""
        return self.band[:, 2]


@functools.partial(jax.jit, static_argnames=("test_stat", "solver"), inline=True)
def _tests(bound: BoundModel, pois: Array, data: Array | None, test_stat: Statistic, solver: Solver) -> HypoTest:
    return in_batches(lambda poi: run_hypotest(bound, poi, data, test_stat, solver), bound.layout.npars, pois)


def limit_scan(
    bound: BoundModel,
    pois: Any,
    data: Any = None,
    *,
    cl: float = 0.95,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> LimitScan:
    """`hypotest` at many values of the parameter of interest in one compiled loop, with `upper_limit` and its band.

    Args:
        bound: the model.
        pois: tested values, shape (points,).
        data: events of all bins and auxiliary data; without, the expected CLs alone, blinded.
        cl: confidence level of the limits.
        test_stat: ``"qtilde"`` or ``"q"``.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many.
        FitError: if a fit does not converge, or no value is excluded.
        SpecError: if there is no parameter of interest, or a fixed one.
        MethodError: for another statistic or a level outside of (0, 1).
        ParameterError: for values that are not finite, or none.
    """
    values = numbers(pois, "limit_scan", ParameterError)
    if values.ndim != 1 or not values.size or (is_concrete(values) and not np.isfinite(values).all()):
        msg = f"limit_scan: expected a list of finite values of the parameter of interest, got {pois!r}"
        raise ParameterError(msg)
    solver = solver or Solver()
    limit = upper_limit(bound, cl, data, band=True, test_stat=test_stat, solver=solver)
    tests = _tests(bound, values, None if data is None else bound.whole(data), test_stat, solver)
    ensure(bound.layout, solver, tests.fits)
    observed = None if data is None else tests.cls
    return LimitScan(str(bound.settings.poi_name), float(cl), values, observed, tests.band, limit, tests)
