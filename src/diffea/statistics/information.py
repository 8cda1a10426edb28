"""Covariance of the parameters from an information matrix, with parameters that nothing constrains left out."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve


def informed(information: Array, free: Array) -> Array:
    """Free parameters about which there is any information, shape (parameters,)."""
    return free & (jnp.diagonal(information) > 0)


def covariance(information: Array, free: Array) -> Array:
    """Inverse of an information matrix over its free parameters; 0 for fixed ones, infinite for uninformed ones.

    Args:
        information: shape (parameters, parameters), symmetric.
        free: shape (parameters,).
    """
    keep = informed(information, free)
    diagonal = jnp.where(keep, jnp.diagonal(information), 1.0)
    scale = jnp.where(keep, 1.0 / jnp.sqrt(diagonal), 0.0)
    scaled = information * scale[:, None] * scale + jnp.diag(jnp.where(keep, 0.0, 1.0))
    identity = jnp.eye(len(scale))
    inverse = cho_solve((jnp.linalg.cholesky(scaled), True), identity) * scale[:, None] * scale
    return inverse + jnp.diag(jnp.where(free & ~keep, jnp.inf, 0.0))
