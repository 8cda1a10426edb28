"""Numbers as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from diffea.parameters import name_of
from diffea.types import PyTree


def numbers(tree: PyTree) -> object:
    """A pytree as JSON values; None for what is infinite, such as a bound that is none."""
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
