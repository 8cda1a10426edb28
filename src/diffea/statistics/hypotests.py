"""Hypothesis tests: CLs observed and expected, with band, and the discovery p-value."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
from jax import Array

from diffea.errors import MethodError
from diffea.notebook import tables
from diffea.statistics import asymptotics
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import free_poi_index
from diffea.statistics.fits import Fit, ensure
from diffea.statistics.given import strength, toys_and_seed
from diffea.statistics.ratios import Statistic, asimov, on_asimov, on_data
from diffea.statistics.solver import Solver
from diffea.statistics.toys import ToyTest, by_toys


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HypoTest:
    """Result of a hypothesis test; every number differentiable in the yields, the data and the hypothesis.

    Attributes:
        cls, clsb, clb: $CL_s$, $CL_{s+b}$ and $CL_b$ of the data.
        expected: median expected CLs; `band` at −2, −1, 0, 1, 2 σ, shape (5,).
        log_cls, log_expected: their logarithms, sound where the values underflow.
        q, q_asimov: test statistic of the data, and of the Asimov data.
        fits: the fits that were made, by what they are.
    """

    cls: Array
    clsb: Array
    clb: Array
    expected: Array
    band: Array
    log_cls: Array
    log_expected: Array
    q: Array
    q_asimov: Array
    fits: dict[str, Fit]

    def _repr_html_(self) -> str:
        return tables.of_hypotest(self)


@functools.partial(jax.jit, static_argnames=("test_stat", "solver"), inline=True)
def run_hypotest(bound: BoundModel, poi: Array, data: Array | None, test_stat: Statistic, solver: Solver) -> HypoTest:
    """The asymptotic test, traceable; its fits may have failed."""
    prepared = bound.prepared()
    name = bound.settings.poi_name
    seen = None if data is None else on_data(bound, prepared, poi, data, test_stat, solver, null=True)
    sample = asimov(bound, prepared, 0.0, seen and seen.null)
    q_asimov, fit = on_asimov(bound, prepared, poi, sample, solver)
    fits = {f"at {name} = test value on Asimov data": fit}
    q_asimov = jnp.where(poi < 0.0, 0.0, q_asimov)
    return of_statistics(
        None if seen is None else seen.value, q_asimov, test_stat, fits | (seen.fits(name) if seen else {})
    )


def of_statistics(q: Array | None, q_asimov: Array, test_stat: Statistic, fits: dict[str, Fit]) -> HypoTest:
    """CLs and its band from the test statistic of the data, None for the Asimov data themselves, and that of these."""
    root_asimov = asymptotics.root(q_asimov)
    if q is None:
        q, value = q_asimov, jnp.zeros_like(root_asimov)
    else:
        value = asymptotics.statistic(asymptotics.root(q), root_asimov, test_stat)
    log_clsb, log_clb, log_cls = asymptotics.log_p_values(value, root_asimov)
    *_, log_band = asymptotics.log_p_values(-jnp.asarray(asymptotics.SIGMAS), root_asimov)
    return HypoTest(
        cls=jnp.exp(log_cls),
        clsb=jnp.exp(log_clsb),
        clb=jnp.exp(log_clb),
        expected=jnp.exp(log_band[2]),
        band=jnp.exp(log_band),
        log_cls=log_cls,
        log_expected=log_band[2],
        q=q,
        q_asimov=q_asimov,
        fits=fits,
    )


@overload
def hypotest(
    bound: BoundModel,
    poi_test: float | Array = ...,
    data: Any = ...,
    *,
    test_stat: Statistic = ...,
    calculator: Literal["asymptotics"] = ...,
    solver: Solver | None = ...,
) -> HypoTest: ...
@overload
def hypotest(
    bound: BoundModel,
    poi_test: float | Array = ...,
    data: Any = ...,
    *,
    test_stat: Statistic = ...,
    calculator: Literal["toys"],
    toys: int = ...,
    seed: int = ...,
    solver: Solver | None = ...,
) -> ToyTest: ...
def hypotest(
    bound: BoundModel,
    poi_test: float | Array = 1.0,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    calculator: Literal["asymptotics", "toys"] = "asymptotics",
    toys: int = 2000,
    seed: int = 0,
    solver: Solver | None = None,
) -> HypoTest | ToyTest:
    """Test a value of the parameter of interest with CLs, as ``pyhf.infer.hypotest``.

    Without data, the data are the background-only Asimov data at the nuisance parameters' initial values: one fit,
    and observed and median expected CLs are the same number. With data, the Asimov data are made at the nuisance
    parameters that fit the data best without signal (post-fit).

    >>> data = [60.0, 65.0, 0.0]  # events of the two bins, then the auxiliary measurement of norm
    >>> test = statistics.hypotest(bound, 1.0, data)
    >>> round(float(test.cls), 4), round(float(test.expected), 4)
    (0.507, 0.309)

    Args:
        bound: the model.
        poi_test: tested value.
        data: events of all bins and auxiliary data; observed data only if given here (`BoundModel.observed_data`).
        test_stat: ``"qtilde"`` or ``"q"``.
        calculator: ``"asymptotics"``, or ``"toys"`` for a check of these with pseudo-experiments (not differentiable).
        toys: number of toys with, and without, signal.
        seed: of the toys' random numbers.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many, negative or NaN.
        FitError: if a fit does not converge, or no toy without signal is as extreme as the data.
        ParameterError: if the tested value is not one finite number.
        SpecError: if there is no parameter of interest, or a fixed one.
        MethodError: for another statistic or calculator, and toys that are not a whole number of them.
    """
    if test_stat not in ("q", "qtilde"):
        msg = f"test_stat: CLs is made of 'q' or 'qtilde', got {test_stat!r}"
        raise MethodError(msg)
    if calculator not in ("asymptotics", "toys"):
        msg = f"calculator: expected 'asymptotics' or 'toys', got {calculator!r}"
        raise MethodError(msg)
    toys, seed = toys_and_seed(toys, seed)
    free_poi_index(bound.layout, bound.settings)
    solver = solver or Solver()
    poi, given = strength(poi_test, "poi_test"), None if data is None else bound.whole(data)
    if calculator == "toys":
        return by_toys(bound, poi, given, toys, seed, test_stat, solver)
    result = run_hypotest(bound, poi, given, test_stat, solver)
    ensure(bound.layout, solver, result.fits)
    return result


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Discovery:
    """Result of a test of the background-only hypothesis.

    Attributes:
        p_value, significance: of the data; $p_0 = \\Phi(-Z)$, $Z = \\sqrt{q_0}$.
        log_p_value: sound where the value underflows.
        q: the statistic $q_0$.
        fits: the fits that were made.
    """

    p_value: Array
    significance: Array
    log_p_value: Array
    q: Array
    fits: dict[str, Fit]


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _discovery(bound: BoundModel, poi_true: Array, data: Array | None, solver: Solver) -> Discovery:
    prepared = bound.prepared()
    if data is None:
        sample = asimov(bound, prepared, poi_true)
        q, fit = on_asimov(bound, prepared, 0.0, sample, solver)
        q = jnp.where(poi_true < 0.0, 0.0, q)
        fits = {f"at {bound.settings.poi_name} = 0 on Asimov data": fit}
    else:
        seen = on_data(bound, prepared, 0.0, data, "q0", solver)
        q, fits = seen.value, seen.fits(bound.settings.poi_name)
    significance = asymptotics.root(q)
    log_p = asymptotics.log_tail(-significance)
    return Discovery(jnp.exp(log_p), significance, log_p, q, fits)


def discovery(
    bound: BoundModel, data: Any = None, *, poi_true: float | Array = 1.0, solver: Solver | None = None
) -> Discovery:
    """Test the background-only hypothesis with $q_0$ (arXiv:1007.1727, eqs. 12, 52 and 53).

    Args:
        bound: the model.
        data: events of all bins and auxiliary data; the signal-plus-background Asimov data by default.
        poi_true: signal strength of those Asimov data.
        solver: how to fit.

    Raises:
        DataError: if data are too few or too many, negative or NaN.
        FitError: if a fit does not converge.
        ParameterError: if the signal strength is not one finite number.
        SpecError: if there is no parameter of interest, or a fixed one.
    """
    free_poi_index(bound.layout, bound.settings)
    solver = solver or Solver()
    given = None if data is None else bound.whole(data)
    result = _discovery(bound, strength(poi_true, "poi_true"), given, solver)
    ensure(bound.layout, solver, result.fits)
    return result
