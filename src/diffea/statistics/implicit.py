"""Derivatives of what solves an equation, to any order; nothing is traced for them where none is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from diffea.types import PyTree

Equations = Callable[[Array, PyTree], Array]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def solution(equations: Equations, at: Array, given: PyTree) -> Array:
    r"""`at`, with the derivative of the solution of ``equations(at, given) = 0``.

    The implicit function theorem, $dx = -(\partial_x f)^{-1}\,\partial_T f\,dT$. (`jax.lax.custom_root` does the same, and traces
    the equations and their linear solution wherever it stands.)

    Args:
        equations: f, of the shape of `at`; it depends on its arguments alone.
        at: the solution, a scalar or shape (n,).
        given: T, all that f depends on.
    """
    del equations, given
    return at


@solution.defjvp
def _solution_jvp(equations: Equations, primals: PyTree, tangents: PyTree) -> tuple[Array, Array]:
    _, given = primals
    found = solution(equations, *primals)
    _, change = jax.jvp(functools.partial(equations, found), (given,), (tangents[1],))
    return found, -_solve(jax.jacfwd(equations)(found, given), change)


def _solve(matrix: Array, y: Array) -> Array:
    if matrix.ndim == 0:
        return y / matrix
    diagonal = jnp.abs(jnp.diagonal(matrix))
    return jnp.linalg.solve(matrix + jnp.diag(1e-13 * jnp.where(diagonal > 0, diagonal, 1.0)), y)
