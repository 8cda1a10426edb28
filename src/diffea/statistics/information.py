"""Covariance of the parameters from an information matrix, with parameters that nothing constrains left out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve

_SMALLEST = 1e-6


def informed(information: Array, free: Array) -> Array:
    """Free parameters about which there is any information, shape (parameters,)."""
    return free & (jnp.diagonal(information) > 0)


def covariance(information: Array, free: Array) -> Array:
    """Inverse of an information matrix over its free parameters; 0 for fixed ones.

    Infinite for parameters about which there is no information, and for those of which only a combination with others is
    known.

    Args:
        information: shape (parameters, parameters), symmetric.
        free: shape (parameters,).
    """
    keep = informed(information, free)
    diagonal = jnp.where(keep, jnp.diagonal(information), 1.0)
    scale = jnp.where(keep, 1.0 / jnp.sqrt(diagonal), 0.0)
    identity = jnp.eye(len(scale))
    scaled = information * scale[:, None] * scale + jnp.diag(jnp.where(keep, 0.0, 1.0))
    singular = ~jnp.all(jnp.diagonal(jnp.linalg.cholesky(scaled)) > _SMALLEST)  # a minimum may lose a NaN
    regular = jnp.where(singular, identity, scaled)
    inverse, unknown = jax.lax.cond(singular, lambda: _of_the_known(scaled), lambda: (_inverse(regular), ~keep))
    inverse = jnp.where(keep[:, None] & keep, inverse, 0.0) * scale[:, None] * scale
    return inverse + jnp.diag(jnp.where(free & (unknown | ~keep), jnp.inf, 0.0))


def _inverse(matrix: Array) -> Array:
    return cho_solve((jnp.linalg.cholesky(matrix), True), jnp.eye(len(matrix)))


def _of_the_known(matrix: Array) -> tuple[Array, Array]:
    """Inverse over the combinations of parameters that are known, and the parameters that have a part in another one."""
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(matrix))
    lost = jnp.where(values < _SMALLEST**2 * values[-1], vectors, 0.0)
    projector = lost @ lost.T
    return _inverse(matrix + projector) - projector, jnp.diagonal(projector) > _SMALLEST
