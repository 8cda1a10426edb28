"""Digests: whether an analysis is the one that was run."""

from __future__ import annotations

import hashlib
import json
import types
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


def said(value: object) -> object:
    """What an object holds, as JSON values: the same in every process, and nothing of where in memory it lies."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, Mapping):
        return [[said(key), said(one)] for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [said(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, map(said, value)))
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.ModuleType):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        array = np.asarray(value)
        return [str(array.dtype), array.shape, said(array.tolist()) if array.dtype == object else array.tobytes().hex()]
    known = vars(value) if hasattr(value, "__dict__") else {}
    return [type(value).__module__, type(value).__qualname__, said(known)]
