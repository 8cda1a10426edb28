"""Types: the words of the signatures, for what has no class of its own.

An array's shape stands in the docstring of what takes or returns it. ``object`` is what may be anything and is looked at before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

if TYPE_CHECKING:
    import boost_histogram
    from hist import axis

__all__ = [
    "AnyArray", "AnyAxis", "Axis", "Events", "Fileset", "JSONDict", "JSONMapping", "Loss", "Map", "Params", "PyTree", "Scalar",
]  # fmt: skip

AnyArray: TypeAlias = jax.Array | np.ndarray
"""An array of JAX (which may be traced) or of NumPy."""

PyTree: TypeAlias = Any
"""Nested dicts, lists, tuples and registered classes with arrays as leaves, for which JAX has no type."""

Params: TypeAlias = PyTree
"""Parameters φ, any pytree of numbers and arrays, or what is shaped like them: a gradient, a tangent, one bound of each."""

Events: TypeAlias = Any
"""NanoEvents, a dask-awkward collection of them, or an awkward array of records: branches are attributes, so none is known to a checker."""

Scalar: TypeAlias = jax.Array | float
"""A number, which JAX may trace."""

JSONMapping: TypeAlias = Mapping[str, Any]
"""A JSON object to read."""

JSONDict: TypeAlias = dict[str, Any]
"""A JSON object to write."""

Fileset: TypeAlias = object
"""A fileset of coffea, or a dask-awkward collection of events, or several by dataset; it is checked when it is read."""

Loss: TypeAlias = Callable[[Params], Scalar]
"""What is minimised: a number of the parameters."""

Map: TypeAlias = Callable[..., Iterable[Any]]
"""``map``, or that of a cluster."""

Axis: TypeAlias = "axis.Boolean | axis.IntCategory | axis.Integer | axis.Regular | axis.StrCategory | axis.Variable"
"""An axis of ``hist``."""

AnyAxis: TypeAlias = "boost_histogram.axis.Axis"
"""An axis of ``hist`` or of boost-histogram, which has no name."""
