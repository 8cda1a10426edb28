"""Numbers as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from diffea.parameters import name_of
from diffea.types import Params, PyTree


def numbers(tree: PyTree) -> object:
    """A pytree as JSON values; None for what is infinite, such as a bound that is none."""
    tree = _by_name(tree)
    if isinstance(tree, Mapping):
        return {str(key): numbers(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [numbers(value) for value in tree]
    if tree is None:
        return None
    if not jax.tree_util.all_leaves([tree]):  # such as a module
        return {name_of(path): numbers(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    array = np.asarray(tree)
    if np.isfinite(array).all():
        return array.tolist()
    known = array.astype(object)
    known[~np.isfinite(array)] = None
    return known.tolist()


def params_of(stored: PyTree, like: Params) -> Params:
    """Parameters, from what ``numbers`` made of them.

    Args:
        stored: JSON values.
        like: parameters of the same structure.

    Raises:
        KeyError, ValueError: if these are others.
    """

    def leaf(path: tuple[object, ...], value: PyTree) -> np.ndarray:
        found: PyTree = stored
        tree: PyTree = like
        for number, key in enumerate(path):
            tree = _by_name(tree)
            if not isinstance(tree, Mapping | list | tuple):  # such as a module
                found = found[name_of(path[number:])]
                break
            step: PyTree = getattr(key, "key", getattr(key, "idx", getattr(key, "name", None)))
            found, tree = found[step if isinstance(tree, list | tuple) else str(step)], tree[step]
        array = np.asarray(found, float)
        if array.shape != np.shape(value):
            msg = f"expected the shape {np.shape(value)} of {name_of(path)}, got {array.shape}"
            raise ValueError(msg)
        return array

    return jax.tree_util.tree_map_with_path(leaf, like)


def _by_name(tree: PyTree) -> PyTree:
    """A named tuple as a dict; whatever else as it is."""
    return tree._asdict() if isinstance(tree, tuple) and hasattr(tree, "_asdict") else tree
