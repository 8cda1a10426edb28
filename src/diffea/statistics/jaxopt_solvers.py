"""jaxopt's solvers behind the same door as diffea's own."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from diffea.errors import MethodError
from diffea.statistics.solver import CONVERGED, EXHAUSTED, NOT_FINITE, Minimum, Solver, movable

METHODS = ("lbfgsb", "projected-gradient")


def minimise(
    function: Callable[[Array], Array], start: Array, low: Array, high: Array, free: Array, solver: Solver
) -> Minimum:
    """Minimise within bounds by a solver of jaxopt; its tolerance is on the projected gradient.

    Raises:
        MethodError: for a method that is none.
    """
    import jaxopt

    box = (jnp.where(free, low, start), jnp.where(free, high, start))
    if solver.method == "lbfgsb":
        run = jaxopt.LBFGSB(function, maxiter=solver.max_iterations, tol=solver.tolerance, implicit_diff=False)
    elif solver.method == "projected-gradient":
        run = jaxopt.ProjectedGradient(
            function,
            jaxopt.projection.projection_box,
            maxiter=solver.max_iterations,
            tol=solver.tolerance,
            implicit_diff=False,
        )
    else:
        msg = f"no method {solver.method!r}: expected 'scoring' or one of {METHODS}"
        raise MethodError(msg)
    end = run.run(start, bounds=box) if solver.method == "lbfgsb" else run.run(start, hyperparams_proj=box)
    value, gradient = jax.value_and_grad(function)(end.params)
    status = jnp.where(end.state.error <= solver.tolerance, CONVERGED, EXHAUSTED)
    status = jnp.where(jnp.isfinite(function(start)), status, NOT_FINITE)
    inside = movable(end.params, gradient, low, high, free)
    return Minimum(end.params, inside, value, gradient, status, end.state.iter_num, jnp.asarray(0.0))
