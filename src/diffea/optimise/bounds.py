"""Reading of bounds: a pytree like the parameters with (low, high) in the place of each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np
from jax.typing import ArrayLike

from diffea.errors import ParameterError
from diffea.parameters import name_of, not_numbers
from diffea.types import PyTree

NONE = (np.asarray(-np.inf), np.asarray(np.inf))
Part: TypeAlias = Hashable
"""A key, index or field on the way to a leaf."""

Leaves = list[tuple[tuple[Part, ...], ArrayLike]]


def read_bounds(leaves: Leaves, bounds: PyTree, depth: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lower and upper bound of each leaf, infinite where there is none.

    Args:
        leaves: path and value of each.
        bounds: what ``optimise`` was given, or its part for these leaves.
        depth: how much of the paths is walked.

    Raises:
        ParameterError: if a bound names no parameter, or is not a pair low < high that holds the parameter.
    """
    if bounds is None:
        return [NONE] * len(leaves)
    if len(leaves) == 1 and len(leaves[0][0]) == depth:
        return [_pair(*leaves[0], bounds)]
    groups: dict[Part, Leaves] = {}
    for path, leaf in leaves:
        groups.setdefault(path[depth], []).append((path, leaf))
    inner = _parts(bounds, groups, depth)
    return [pair for part, group in groups.items() for pair in read_bounds(group, inner[part], depth + 1)]


def _parts(bounds: PyTree, groups: Mapping[Part, Leaves], depth: int) -> dict[Part, PyTree]:
    """The bounds of each part of a container of parameters."""
    keys: dict[Part, Any] = {p: getattr(p, "key", getattr(p, "idx", getattr(p, "name", None))) for p in groups}
    if isinstance(bounds, Mapping):
        given: dict[object, PyTree] = dict(bounds)
    elif all(hasattr(part, "name") and hasattr(bounds, part.name) for part in groups):
        given = {key: getattr(bounds, key) for key in keys.values()}
    elif all(hasattr(part, "idx") for part in groups) and isinstance(bounds, list | tuple | np.ndarray):
        given = dict(enumerate(bounds))
        bare = [part for part, key in keys.items() if key not in given]
        if bare:
            raise ParameterError(_unlike(groups[bare[0]], bounds))
    else:
        raise ParameterError(_unlike(next(iter(groups.values())), bounds))
    if unknown := [key for key, inner in given.items() if key not in keys.values() and inner is not None]:
        where = name_of(next(iter(groups.values()))[0][0][:depth])
        msg = (
            f"there are bounds for {', '.join(map(repr, unknown))}{where and f' in {where!r}'}, but no such parameter; "
            f"there are: {', '.join(map(str, keys.values()))}"
        )
        raise ParameterError(msg)
    return {part: given.get(key) for part, key in keys.items()}


def _unlike(leaves: Leaves, bounds: PyTree) -> str:
    return (
        "the bounds must be a pytree like the parameters with (low, high) as leaves; "
        f"for {name_of(leaves[0][0])!r} got {bounds!r:.200}"
    )


def _pair(path: tuple[Part, ...], leaf: ArrayLike, bounds: PyTree) -> tuple[np.ndarray, np.ndarray]:
    name = name_of(path)
    which = f"the bounds of parameter {name!r}" if path else "the bounds of the parameter"
    if not isinstance(bounds, list | tuple | np.ndarray) or len(bounds) != 2:
        msg = f"{which} must be a pair (low, high), got {bounds!r:.200}"
        raise ParameterError(msg)
    for side in bounds:
        if side is not None and (wrong := not_numbers(side)):
            msg = f"{which} must be (low, high), each a number, an array of numbers or None, got {wrong}"
            raise ParameterError(msg)
    low, high = (np.asarray(end if side is None else side, float) for side, end in zip(bounds, NONE, strict=True))
    shape = np.shape(leaf)
    if any(side.ndim and side.shape != shape for side in (low, high)):
        msg = f"{which} must be numbers, or of its shape {shape}, got the shapes {low.shape} and {high.shape}"
        raise ParameterError(msg)
    if not np.all(low < high):
        msg = f"{which} must be (low, high) with low < high, got {tuple(bounds)}"
        raise ParameterError(msg)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.any(np.isinf(high - low) & np.isfinite(high) & np.isfinite(low)):
            msg = f"{which} are so far apart that their distance is no number: give None for what is no bound, got {tuple(bounds)}"
            raise ParameterError(msg)
    if not np.all((low <= leaf) & (leaf <= high)):
        msg = f"parameter {name!r} starts at {leaf}, outside of its bounds {tuple(bounds)}"
        raise ParameterError(msg)
    return low, high
