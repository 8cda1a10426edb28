"""Minimisation with bounds: damped scoring steps on the free parameters, in one while loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from diffea.statistics.likelihood import Expansion

CONVERGED, EXHAUSTED, NOT_FINITE, STALLED, NO_ROOT, NO_BACKGROUND, AT_EDGE, NO_DEGREES, LOST_TOYS, NO_END, NO_TOYS = (
    range(11)
)

REASONS = {
    EXHAUSTED: "the iterations ran out; look for parameters that nothing constrains, or allow more (max_iterations)",
    NOT_FINITE: "the likelihood is not finite at the initial values (a NaN, a negative expectation, or none where "
    "there are events)",
    STALLED: "no step lowers the likelihood although its gradient is not zero (a jump of interpolation code 2, or yields too "
    "large for 64 bits); codes 4 and 4p have neither kinks nor jumps",
    NO_ROOT: "no value of the parameter of interest is excluded at this confidence level; is there any signal?",
    NO_BACKGROUND: "signal without background, where the asymptotic formulae do not hold and an optimiser finds "
    "significance for nothing: merge bins, widen the kernel, or add a floor to the background",
    AT_EDGE: "the likelihood rises up to where a bin is expected to have no events, beyond which it is not defined; keep "
    "the signal from being negative (test statistic 'qtilde' or 'ttilde'), or give the parameters bounds",
    NO_DEGREES: "there are no degrees of freedom (as many free parameters without constraint as bins), so any data may be "
    "described and the statistic says nothing; fix parameters, or take more bins",
    LOST_TOYS: "the fits to more than 1 % of them did not converge, and p-values without those would be biased; allow more "
    "steps (max_iterations), or use another test statistic",
    NO_END: "the likelihood does not fall enough however far the parameter goes; does anything measure it on this side?",
    NO_TOYS: "no toy without signal is as far from the tested value as the data, so that CLs is 0/0; draw more toys, or take "
    "calculator='asymptotics'",
}


@dataclass(frozen=True)
class Solver:
    """How fits are done.

    Attributes:
        method: ``"scoring"`` (damped Fisher scoring with bounds), or one of jaxopt's: ``"lbfgsb"``,
            ``"projected-gradient"``.
        tolerance: of ``"scoring"``, the largest last step in units of each parameter's conditional uncertainty (that step is
            still made, and steps converge quadratically); of jaxopt's methods, the norm of the projected gradient.
        max_iterations: steps after which a fit is given up.
        throw: raise `FitError` for a fit that did not converge (under `jax.jit` too); otherwise only its status says so.
    """

    method: str = "scoring"
    tolerance: float = 1e-6
    max_iterations: int = 200
    throw: bool = True


class Minimum(NamedTuple):
    """Where a minimisation ended.

    Attributes:
        pars: parameters; `free`: which of them are neither fixed nor at a bound.
        value: of the function; `gradient`: its derivative in all parameters (the free ones' vanishes).
        status: 0 or why it failed; `iterations`: evaluations.
        floor: events that bins without any were taken to have (0, but at the edge of what is defined).
    """

    pars: Array
    free: Array
    value: Array
    gradient: Array
    status: Array
    iterations: Array
    floor: Array


class _State(NamedTuple):
    pars: Array
    at: Expansion
    trial: Array
    predicted: Array
    damping: Array
    outside: Array
    iterations: Array
    status: Array


_RUNNING = -1
_RIDGE = 1e-13
_LARGEST_DAMPING = 1e10
_RECENT = 20


def movable(pars: Array, gradient: Array, low: Array, high: Array, free: Array) -> Array:
    """Free parameters that are not held at a bound by the gradient."""
    return free & ~((pars <= low) & (gradient > 0)) & ~((pars >= high) & (gradient < 0))


def scoring(
    expand: Callable[[Array], Expansion],
    start: Array,
    low: Array,
    high: Array,
    free: Array,
    solver: Solver,
    damping: float = 1e-2,
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
        damping: the first λ; smaller when the start is close to the minimum.
    """

    def step(state: _State) -> _State:
        new = expand(state.trial)
        noise = 1e-13 * (1.0 + jnp.abs(new.value))
        gain = state.at.value - new.value + noise
        accept = jnp.isfinite(new.value) & (gain >= 1e-4 * state.predicted)
        raised = jnp.maximum(state.damping, 1e-4) * 10
        damping = jnp.where(accept, state.damping * jnp.where(gain >= 0.25 * state.predicted, 0.1, 2.0), raised)
        pars, at = jax.tree.map(lambda a, b: jnp.where(accept, a, b), (state.trial, new), (state.pars, state.at))

        move = movable(pars, at.gradient, low, high, free) & (at.scale > 0)
        scale = jnp.where(move, 1.0 / jnp.sqrt(jnp.where(move, at.scale, 1.0)), 0.0)
        damped = at.hessian * scale[:, None] * scale + jnp.diag(jnp.where(move, damping + _RIDGE, 1.0))
        y = -jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(damped), True), scale * at.gradient)
        trial = jnp.clip(pars + scale * y, low, high)
        change = trial - pars
        predicted = -(at.gradient @ change + 0.5 * change @ at.hessian @ change)

        iterations = state.iterations + 1
        small = jnp.all(jnp.abs(y) < solver.tolerance)  # not by a maximum, in which XLA may lose a NaN
        done = accept & small & (damping < 1e-2)
        outside = jnp.where(jnp.isfinite(new.value), state.outside, iterations)
        stuck, spent = damping > _LARGEST_DAMPING, iterations >= solver.max_iterations
        at_edge = (stuck | spent) & (iterations < outside + _RECENT)
        status = jnp.select(
            [done, ~jnp.isfinite(at.value), at_edge, stuck, spent],
            [CONVERGED, NOT_FINITE, AT_EDGE, STALLED, EXHAUSTED],
            _RUNNING,
        )
        return _State(pars, at, trial, predicted, damping, outside, iterations, status)

    n = len(start)
    nowhere = Expansion(jnp.asarray(jnp.inf), jnp.zeros(n), jnp.zeros((n, n)), jnp.zeros(n))
    never = jnp.asarray(-_RECENT)
    state = _State(
        start, nowhere, start, jnp.asarray(0.0), jnp.asarray(damping), never, jnp.asarray(0), jnp.asarray(_RUNNING)
    )
    end = jax.lax.while_loop(lambda s: s.status == _RUNNING, step, state)
    inside = movable(end.pars, end.at.gradient, low, high, free) & (end.at.scale > 0)
    pars = jnp.where(end.status == CONVERGED, end.trial, end.pars)
    return Minimum(pars, inside, end.at.value, end.at.gradient, end.status, end.iterations, jnp.asarray(0.0))
