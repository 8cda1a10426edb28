"""Modules of equinox and flax as parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import ParameterError
from diffea.parameters import name_of
from diffea.portable import Portable
from diffea.types import PyTree

Rest: TypeAlias = Portable[tuple[jax.tree_util.PyTreeDef, tuple[str | None, ...], list[PyTree]]]
"""The structure of a module, the name of each leaf that is a parameter, and the leaves that are none."""


@jax.tree_util.register_pytree_with_keys_class
class Module:
    """A module that is a pytree, such as those of equinox and of ``flax.nnx``, whose floating-point arrays are parameters.

    Its functions, whole numbers and keys stay what they are: they travel to a worker once, and nothing compiles again for them. It is
    itself a pytree, which stands beside other parameters, and calls the module:

    ::

        params = {"network": learning.Module(equinox.nn.MLP(10, "scalar", 32, 2, key=key)), "cut": 30.0}
        score = jax.nn.sigmoid(jax.vmap(params["network"])(x))  # within `fill`
        trained = result.params["network"].module

    Args:
        module: any pytree.

    Raises:
        ParameterError: if none of its leaves is an array of floating-point numbers.
    """

    def __init__(self, module: PyTree) -> None:
        leaves, tree = jax.tree_util.tree_flatten_with_path(module)
        names = tuple(name_of(path) if _is_parameter(leaf) else None for path, leaf in leaves)
        if not any(names):
            msg = f"{type(module).__name__} has no array of floating-point numbers, so that there is nothing in it to optimise"
            raise ParameterError(msg)
        pairs = list(zip(names, (leaf for _, leaf in leaves), strict=True))
        self._arrays: Sequence[PyTree] = [leaf for name, leaf in pairs if name]
        self._rest: Rest = Portable((tree, names, [leaf for name, leaf in pairs if not name]))

    @property
    def module(self) -> PyTree:
        """The module with the arrays that are here now."""
        tree, names, others = self._rest.value
        arrays, rest = iter(self._arrays), iter(others)
        return jax.tree_util.tree_unflatten(tree, [next(arrays if name else rest) for name in names])

    def __call__(self, *arguments: PyTree, **options: PyTree) -> PyTree:
        """What the module gives."""
        return self.module(*arguments, **options)

    def tree_flatten_with_keys(self) -> tuple[list[tuple[jax.tree_util.GetAttrKey, PyTree]], Rest]:
        """The arrays by their names in the module."""
        names = (name for name in self._rest.value[1] if name)
        return [
            (jax.tree_util.GetAttrKey(name), array) for name, array in zip(names, self._arrays, strict=True)
        ], self._rest

    @classmethod
    def tree_unflatten(cls, rest: Rest, arrays: Sequence[PyTree]) -> Module:
        """The inverse of ``tree_flatten_with_keys``."""
        made = cls.__new__(cls)
        made._arrays, made._rest = list(arrays), rest
        return made


def _is_parameter(leaf: object) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
