"""Parameters φ: any pytree of numbers and arrays, as 64-bit floating-point arrays."""

from __future__ import annotations

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import ParameterError
from diffea.types import Params, PyTree

MODULE = (
    "of a module (of equinox, say) give the arrays alone, `arrays, rest = equinox.partition(module, equinox.is_inexact_array)`, "
    "and put it together within `fill`: `equinox.combine(params, rest)`"
)


def as_arrays(params: Params) -> Params:
    """The same pytree with float64 JAX arrays as leaves.

    Raises:
        ParameterError: if a leaf is not a real number or an array of them, or (where its value is known) not finite; if two leaves
            have one name.
    """
    try:
        leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    except (TypeError, ValueError) as error:
        msg = (
            f"parameters must be a pytree, whose dictionaries have keys of one type each, got {params!r:.300} ({error})"
        )
        raise ParameterError(msg) from error
    if twice := [name for name, count in Counter(name_of(path) for path, _ in leaves).items() if count > 1]:
        msg = (
            f"each parameter must have a name of its own, got several called {', '.join(map(repr, twice))}: rename them"
        )
        raise ParameterError(msg)
    return jax.tree.unflatten(tree, [_as_array(path, leaf) for path, leaf in leaves])


TOLD = 64  # numbers that are told one by one


def told(params: Params) -> dict[str, float]:
    """Parameters by name, such as ``mt`` or ``edges[2]``; of more numbers than ``TOLD`` the norm of each array, as ``|weights|``."""
    leaves = [(name_of(path), np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
    if sum(array.size for _, array in leaves) > TOLD:
        return {f"|{name}|": float(np.linalg.norm(array)) for name, array in leaves}
    values = (float(number) for _, array in leaves for number in array.ravel())
    return dict(zip(number_names(params), values, strict=True))


def number_names(params: Params) -> list[str]:
    """A name for each number of the parameters, such as ``mt`` or ``edges[2]``, in the order of ``ravel_pytree``."""
    return [
        name_of(path) + "".join(f"[{place}]" for place in index)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        for index in np.ndindex(np.shape(leaf))
    ]


def not_numbers(leaf: object) -> str | None:
    """What a leaf is, and what to do, if it is not of real numbers."""
    kind = type(leaf).__name__
    if callable(leaf):
        return f"{kind}, which is a function: {MODULE}"
    try:
        dtype = leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype
    except (TypeError, ValueError) as error:
        return f"{kind} ({error})"
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return f"{kind} of complex numbers: make real and imaginary part a parameter each"
    if isinstance(leaf, np.ma.MaskedArray) and np.ma.is_masked(leaf):
        return f"{kind} with masked entries: leave them out, or fill them"
    whole = jnp.issubdtype(dtype, jnp.integer) and not jnp.issubdtype(dtype, np.timedelta64)
    if whole or jnp.issubdtype(dtype, jnp.floating):
        return None
    return f"{kind} of type {dtype}: only real numbers can be optimised"


def names(params: Params) -> list[str]:
    """The name of each leaf, such as ``mt`` or ``layers[0].weight``."""
    return [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def name_of(path: tuple) -> str:
    """A leaf's path in words."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def finite(tree: PyTree) -> bool:
    """Whether no number of a pytree is NaN or infinite."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def brief(params: Params) -> str:
    """Parameters for a message."""
    text = str(jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), params))
    return text if len(text) < 300 else f"{text[:300]}…"


def _as_array(path: tuple, leaf: object) -> jax.Array:
    which = f"parameter {name_of(path)!r}" if path else "the parameter"
    if wrong := not_numbers(leaf):
        msg = f"{which} must be a number or an array of numbers, got {wrong}"
        raise ParameterError(msg)
    array = jnp.asarray(leaf, dtype=float)
    if not isinstance(array, jax.core.Tracer) and not np.isfinite(array).all():
        msg = f"{which} must be finite, got {leaf}"
        raise ParameterError(msg)
    return array
