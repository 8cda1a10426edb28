"""Minimisation with bounds: damped scoring steps on the free parameters, in one while loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from diffea.statistics.likelihood import Expansion

CONVERGED, EXHAUSTED, NOT_FINITE, STALLED, NO_ROOT = range(5)

REASONS = {
    EXHAUSTED: "the iterations ran out; look for parameters that nothing constrains, or allow more (max_iterations)",
    NOT_FINITE: "the likelihood is not finite at the initial values (a NaN, a negative expectation, or none where "
    "there are events)",
    STALLED: "no step lowers the likelihood although its gradient is not zero (a kink of interpolation codes 0 or 1, "
    "a jump of code 2, or yields too large for 64 bits); codes 4 and 4p have neither kinks nor jumps",
    NO_ROOT: "no value of the parameter of interest is excluded at this confidence level; is there any signal?",
}


@dataclass(frozen=True)
class Solver:
    """How fits are done.

    Attributes:
        method: ``"scoring"`` (damped Fisher scoring with bounds), or one of jaxopt's: ``"lbfgsb"``,
            ``"projected-gradient"``.
        tolerance: largest last step, in units of each parameter's conditional uncertainty.
        max_iterations: steps after which a fit is given up.
        throw: raise `FitError` for a fit that did not converge (under `jax.jit` too); otherwise only its status says so.
    """

    method: str = "scoring"
    tolerance: float = 1e-8
    max_iterations: int = 200
    throw: bool = True


class Minimum(NamedTuple):
    """Where a minimisation ended: parameters, which of them are free there, status code and number of iterations."""

    pars: Array
    free: Array
    status: Array
    iterations: Array


class _State(NamedTuple):
    pars: Array
    at: Expansion
    damping: Array
    iterations: Array
    status: Array


_RUNNING = -1
_RIDGE = 1e-13
_LARGEST_DAMPING = 1e10


def movable(pars: Array, gradient: Array, low: Array, high: Array, free: Array) -> Array:
    """Free parameters that are not held at a bound by the gradient."""
    return free & ~((pars <= low) & (gradient > 0)) & ~((pars >= high) & (gradient < 0))


def scoring(
    expand: Callable[[Array], Expansion], start: Array, low: Array, high: Array, free: Array, solver: Solver
) -> Minimum:
    r"""Newton steps with Levenberg-Marquardt damping, projected on the bounds.

    Every step solves $(S H S + \\lambda) y = -S g$ over the parameters not held at a bound, with $S_{ii}^{-2}$ the
    diagonal of the positive part of $H$, so $y$ counts uncertainties. λ falls tenfold after a good step and rises
    after one that does not lower the function, or where the matrix is not positive.

    Args:
        expand: gives value, gradient and Hessian at given parameters.
        start, low, high: shapes (parameters,).
        free: shape (parameters,), False for parameters that stay where they are.
        solver: tolerance and number of iterations.
    """

    def step(state: _State) -> _State:
        at = state.at
        move = movable(state.pars, at.gradient, low, high, free) & (at.scale > 0)
        scale = jnp.where(move, 1.0 / jnp.sqrt(jnp.where(move, at.scale, 1.0)), 0.0)
        scaled = at.hessian * scale[:, None] * scale
        damped = scaled + jnp.diag(jnp.where(move, state.damping + _RIDGE, 1.0))
        y = -jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(damped), True), scale * at.gradient)
        trial = jnp.clip(state.pars + scale * y, low, high)
        change = trial - state.pars
        new = expand(trial)
        predicted = -(at.gradient @ change + 0.5 * change @ at.hessian @ change)
        noise = 1e-13 * (1.0 + jnp.abs(at.value))
        gain = at.value - new.value + noise
        accept = jnp.isfinite(new.value) & (gain >= 1e-4 * predicted)
        raised = jnp.maximum(state.damping, 1e-4) * 10
        damping = jnp.where(accept, state.damping * jnp.where(gain >= 0.25 * predicted, 0.1, 2.0), raised)
        done = accept & (jnp.max(jnp.abs(y)) < solver.tolerance) & (state.damping < 1e-2)
        iterations = state.iterations + 1
        status = jnp.select(
            [done, damping > _LARGEST_DAMPING, iterations >= solver.max_iterations],
            [CONVERGED, STALLED, EXHAUSTED],
            _RUNNING,
        )
        pars, at = jax.tree.map(lambda a, b: jnp.where(accept, a, b), (trial, new), (state.pars, at))
        return _State(pars, at, damping, iterations, status)

    first = expand(start)
    begin = jnp.where(jnp.isfinite(first.value), _RUNNING, NOT_FINITE)
    state = _State(start, first, jnp.asarray(1e-3), jnp.asarray(0), begin)
    end = jax.lax.while_loop(lambda s: s.status == _RUNNING, step, state)
    inside = movable(end.pars, end.at.gradient, low, high, free) & (end.at.scale > 0)
    return Minimum(end.pars, inside, end.status, end.iterations)
