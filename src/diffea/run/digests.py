"""Digests: whether an analysis is the one that was run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from diffea.analysis import Analysis, Variant
from diffea.run.numbers import numbers
from diffea.run.states import describe
from diffea.sources import reachable, source_of

PLAIN = (str, bytes, int, float, complex, type(None))


def digest_of(analysis: Analysis, variant: Variant) -> str:
    """Of the text of the user's modules behind the processor, of what the processor holds, and of model, start, objective and split."""
    modules = {source_of(module) for module in reachable(type(variant.processor))}
    model = (
        variant.spec if isinstance(variant.spec, Mapping) else [repr(variant.model.spec), repr(variant.model.settings)]
    )
    parts = [sorted(modules), model, numbers(variant.params), describe(variant.objective), repr(analysis.split)]
    if held := vars(variant.processor):
        parts.append(said(held))
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def said(value: object, within: tuple[int, ...] = ()) -> object:
    """What an object holds, as JSON values: the same in every process, and nothing of where in memory it lies.

    Args:
        value: any object.
        within: identities of those that it is a part of, of which none is told again.
    """
    if isinstance(value, PLAIN):
        return repr(value)
    if id(value) in within:
        return len(within)
    within = (*within, id(value))
    if isinstance(value, Mapping):
        return [[said(key, within), said(one, within)] for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [said(one, within) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(str(said(one, within)) for one in value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        numbers_or_objects = said(array.tolist(), within) if array.dtype == object else array.tobytes().hex()
        return [str(array.dtype), array.shape, numbers_or_objects]
    return [type(value).__module__, type(value).__qualname__, said(_state(value), within)]


def _state(value: object) -> object:
    """What an object is pickled as; of those that cannot be, the attributes."""
    try:
        made = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001  (whatever a class raises that cannot be pickled)
        return getattr(value, "__dict__", {})
    return made if isinstance(made, str) else [*made[1:3], *map(list, filter(None, made[3:5]))]
