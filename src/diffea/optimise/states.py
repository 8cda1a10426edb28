"""The state of a run as plain arrays, and back."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import CheckpointError
from diffea.types import PyTree

OTHER = "its state is of another optimizer"


def plain(tree: PyTree) -> list[np.ndarray]:
    """The leaves as arrays of types that NumPy can write."""
    return [_plain(jnp.asarray(leaf)) for leaf in jax.tree.leaves(tree)]


def restored(like: PyTree, arrays: Sequence[np.ndarray]) -> PyTree:
    """The inverse of ``plain``.

    Args:
        like: a pytree of the same structure, shapes and types.
        arrays: its leaves.

    Raises:
        CheckpointError: if they are another's, or hold NaN.
    """
    leaves, tree = jax.tree.flatten(like)
    kinds = [(array.shape, array.dtype) for array in plain(like)]
    if kinds != [(array.shape, array.dtype) for array in arrays]:
        raise CheckpointError(OTHER)
    if any(np.isnan(array).any() for array in arrays):
        msg = "its state holds NaN"
        raise CheckpointError(msg)
    return jax.tree.unflatten(
        tree, [_restored(jnp.asarray(leaf), array) for leaf, array in zip(leaves, arrays, strict=True)]
    )


def finite(*arrays: np.ndarray) -> None:
    """See that arrays of a checkpoint are of finite float64 numbers.

    Raises:
        CheckpointError: if not.
    """
    if any(array.dtype != np.float64 for array in arrays):
        raise CheckpointError(OTHER)
    if not all(np.isfinite(array).all() for array in arrays):
        msg = "its state holds NaN or infinite numbers"
        raise CheckpointError(msg)


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: jax.Array) -> np.ndarray:
    if _is_key(leaf):
        return np.asarray(jax.random.key_data(leaf))
    array = np.asarray(leaf)
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)  # as bfloat16


def _restored(leaf: jax.Array, array: np.ndarray) -> jax.Array:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
    return jnp.asarray(array, leaf.dtype)
