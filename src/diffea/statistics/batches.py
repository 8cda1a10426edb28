"""Many fits in one compiled loop, some at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

_SIZE = 50
_SMALL = 30
T = TypeVar("T")


def in_batches(function: Callable[..., T], parameters: int, *points: Any) -> T:
    """A function over the first axes of arrays, by `jax.vmap` in equal batches of up to 50 points.

    Fits of many parameters are made one after another: a batch takes as many steps and searches as its slowest fit, which cost
    2.3 times as much on a likelihood of 64 parameters.

    Args:
        function: of one point.
        parameters: number of parameters that it fits.
        points: arrays of equal first axes.
    """
    if parameters > _SMALL:
        return jax.lax.map(lambda point: function(*point), points)
    number = len(jax.tree.leaves(points)[0])
    batches = math.ceil(number / _SIZE)
    size = math.ceil(number / batches)

    def divided(leaf: Any) -> Any:
        filled = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], batches * size - number, axis=0)])
        return filled.reshape(batches, size, *leaf.shape[1:])

    results = jax.lax.map(lambda batch: jax.vmap(function)(*batch), jax.tree.map(divided, points))
    return jax.tree.map(lambda leaf: leaf.reshape(batches * size, *leaf.shape[2:])[:number], results)
