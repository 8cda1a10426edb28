"""The Poisson-binomial distribution: how many of several independent trials succeed, one trial after the other."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["distribution"]

_UNROLL = 16


def distribution(trial: Callable[[jax.Array | int], jax.Array], trials: int, most: int) -> tuple[jax.Array, ...]:
    """Probabilities of 0, 1, …, ``most`` successes.

    Args:
        trial: gives the probabilities of the i-th trial to succeed, any shape.
        trials: how many there are.
        most: of successes, at most ``trials``.

    Returns:
        ``most + 1`` arrays of the shape of a trial.
    """

    def add(probabilities: tuple[jax.Array, ...], p: jax.Array) -> tuple[jax.Array, ...]:
        fails = [q * (1.0 - p) for q in probabilities]
        return tuple([fails[0]] + [f + q * p for f, q in zip(fails[1:], probabilities[:-1], strict=True)])

    shape = jax.eval_shape(trial, jax.ShapeDtypeStruct((), jnp.int32))
    probabilities = (jnp.ones(shape.shape, shape.dtype),) + (jnp.zeros(shape.shape, shape.dtype),) * most
    if trials <= _UNROLL:
        for i in range(trials):
            probabilities = add(probabilities, trial(i))
        return probabilities
    return jax.lax.scan(lambda q, i: (add(q, trial(i)), None), probabilities, jnp.arange(trials))[0]
