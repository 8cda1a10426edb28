"""Parameters φ: any pytree of numbers and arrays, as 64-bit floating-point arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import ParameterError


def as_arrays(params: Any) -> Any:
    """The same pytree with float64 JAX arrays as leaves.

    Raises:
        ParameterError: if a leaf is not a number or an array of them, or (where its value is known) not finite.
    """
    return jax.tree_util.tree_map_with_path(_as_array, params)


def names(params: Any) -> list[str]:
    """The name of each leaf, such as ``mt`` or ``layers[0].weight``."""
    return [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def name_of(path: Any) -> str:
    """A leaf's path in words."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def finite(tree: Any) -> bool:
    """Whether no number of a pytree is NaN or infinite."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def brief(params: Any) -> str:
    """Parameters for a message."""
    text = str(jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), params))
    return text if len(text) < 300 else f"{text[:300]}…"


def _as_array(path: Any, leaf: Any) -> jax.Array:
    which = f"parameter {name_of(path)!r}" if path else "the parameter"
    try:
        array = jnp.asarray(leaf, dtype=float)
    except (TypeError, ValueError) as error:
        msg = f"{which} must be a number or an array of numbers, got {type(leaf).__name__}"
        raise ParameterError(msg) from error
    if not isinstance(array, jax.core.Tracer) and not np.isfinite(array).all():
        msg = f"{which} must be finite, got {leaf}"
        raise ParameterError(msg)
    return array
