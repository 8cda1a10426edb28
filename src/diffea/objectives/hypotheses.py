"""Objectives that test hypotheses: CLs, upper limits, discovery."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from diffea.statistics import diagnostics
from diffea.statistics import hypotests as _tests
from diffea.statistics import limits as _limits
from diffea.statistics import own_tests as _own
from diffea.statistics.bound import BoundModel
from diffea.statistics.fits import Fit, codes, ensure_codes
from diffea.statistics.given import level, strength
from diffea.statistics.own import Bound, BoundLikelihood
from diffea.statistics.ratios import Statistic
from diffea.statistics.solver import CONVERGED, NO_BACKGROUND, Solver

_Ends = dict[str, tuple[Array, Array]]


def cls(
    bound: Bound,
    poi_test: float | Array = 1.0,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""CLs of a value of the parameter of interest; by default the median expected one (neos, arXiv:2203.05570).

    $CL_s = \Phi(-(t + \sqrt{q_A})) / \Phi(-t)$ (arXiv:1007.1727); on background-only Asimov data $2\Phi(-\sqrt{q_A})$.

    It falls like $e^{-q_A/2}$: a signal excluded by more than some 10 sigma has a CLs whose gradient moves nothing, and at 38
    sigma both are exactly 0. Minimise `log_cls` there, which has the same minimum.

    >>> round(float(objectives.cls(bound, poi_test=1.0)), 4)
    0.3059

    Args:
        poi_test: tested value.
        test_stat: ``"qtilde"`` or ``"q"``.
    """
    return _tested(bound, poi_test, data, test_stat, solver)[0]


def log_cls(
    bound: Bound,
    poi_test: float | Array = 1.0,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""Natural logarithm of `cls`, with all digits and a gradient however strong the signal.

    It is made of logarithms of the normal distribution's tail, and never of CLs itself; $\exp$ of it is `cls`.

    >>> round(float(jnp.exp(objectives.log_cls(bound, poi_test=1.0))), 4)
    0.3059

    Args:
        poi_test: tested value.
        test_stat: ``"qtilde"`` or ``"q"``.
    """
    return _tested(bound, poi_test, data, test_stat, solver)[1]


def upper_limit(
    bound: Bound,
    cl: float = 0.95,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""Upper limit on the parameter of interest from CLs; by default the median expected one.

    The μ at which $CL_s(\mu) = 1 - \mathrm{cl}$; expected: $\sqrt{q_A(\mu)} = \Phi^{-1}(1 - (1-\mathrm{cl})/2)$
    (arXiv:1007.1727, section 4.3, with CLs).

    >>> round(float(objectives.upper_limit(bound)), 3)
    1.92

    Args:
        cl: confidence level.
        test_stat: ``"qtilde"`` or ``"q"``.

    Raises:
        FitError: also if no value is excluded.
    """
    solver = solver or Solver()
    if isinstance(bound, BoundLikelihood):
        found = _own.upper_limit(bound, cl, data, test_stat, solver)
        return found.expected if found.observed is None else found.observed
    limit, ends = _limit(bound, level(cl, "upper_limit"), _whole(bound, data), test_stat, solver)
    ensure_codes(bound.layout, solver, ends)
    return limit


def discovery(bound: Bound, data: Any = None, *, poi_true: float | Array = 1.0, solver: Solver | None = None) -> Array:
    r"""p-value of the background-only hypothesis, $p_0 = \Phi(-\sqrt{q_0})$ (arXiv:1007.1727, eqs. 12 and 52).

    Args:
        poi_true: signal strength of the Asimov data.
    """
    return _discovered(bound, data, poi_true, solver)[0]


def discovery_significance(
    bound: Bound, data: Any = None, *, poi_true: float | Array = 1.0, solver: Solver | None = None
) -> Array:
    r"""Discovery significance $Z = \sqrt{q_0}$ (arXiv:1007.1727, eq. 53); larger is better, so minimise its negative.

    >>> round(float(objectives.discovery_significance(bound)), 3)
    1.026

    Args:
        poi_true: signal strength of the Asimov data.
    """
    return _discovered(bound, data, poi_true, solver)[1]


def _tested(
    bound: Bound, poi: float | Array, data: Any, test_stat: Statistic, solver: Solver | None
) -> tuple[Array, Array]:
    """CLs and its logarithm."""
    if isinstance(bound, BoundLikelihood):
        test = _own.hypotest(bound, poi, data, test_stat, solver)
        return test.cls, test.log_cls
    solver = solver or Solver()
    numbers, ends = _test(bound, strength(poi, "poi_test"), _whole(bound, data), test_stat, solver)
    ensure_codes(bound.layout, solver, ends)
    return numbers


def _discovered(bound: Bound, data: Any, poi: float | Array, solver: Solver | None) -> tuple[Array, Array]:
    """The p-value and the significance."""
    if isinstance(bound, BoundLikelihood):
        test = _own.discovery(bound, data, poi, solver)
        return test.p_value, test.significance
    solver = solver or Solver()
    numbers, ends = _discover(bound, strength(poi, "poi_true"), _whole(bound, data), solver)
    ensure_codes(bound.layout, solver, ends)
    return numbers


# Only what is minimised leaves these three, and whether its fits converged: derivatives of all that a test tells besides would
# have to be compiled too.
@functools.partial(jax.jit, static_argnames=("test_stat", "solver"))
def _test(
    bound: BoundModel, poi: Array, data: Array | None, test_stat: Statistic, solver: Solver
) -> tuple[tuple[Array, Array], _Ends]:
    test = _tests.hypotest(bound, poi, data, test_stat=test_stat, solver=_quiet(solver))
    return (test.cls, test.log_cls), _ends(bound, data, test.fits)


@functools.partial(jax.jit, static_argnames=("solver",))
def _discover(bound: BoundModel, poi: Array, data: Array | None, solver: Solver) -> tuple[tuple[Array, Array], _Ends]:
    test = _tests.discovery(bound, data, poi_true=poi, solver=_quiet(solver))
    return (test.p_value, test.significance), _ends(bound, data, test.fits)


@functools.partial(jax.jit, static_argnames=("cl", "test_stat", "solver"))
def _limit(
    bound: BoundModel, cl: float, data: Array | None, test_stat: Statistic, solver: Solver
) -> tuple[Array, _Ends]:
    limit = _limits.upper_limit(bound, cl, data, test_stat=test_stat, solver=_quiet(solver))
    return limit.expected if limit.observed is None else limit.observed, _ends(bound, data, limit.fits)


def _whole(bound: BoundModel, data: Any) -> Array | None:
    return None if data is None else bound.whole(data)


def _quiet(solver: Solver) -> Solver:
    return replace(solver, throw=False)


def _ends(bound: BoundModel, data: Array | None, fits: Mapping[str, Fit]) -> _Ends:
    """How fits ended, and whether signal has no background where Asimov data are to be made of it."""
    if data is not None:
        return codes(fits)
    background, signal = diagnostics.background_and_signal(bound)
    bare = (background <= 0) & (signal > 0)
    status = jnp.where(bare.any(), NO_BACKGROUND, CONVERGED)
    return {"the expected data": (status, jnp.where(bare.any(), jnp.argmax(bare), -1)), **codes(fits)}
