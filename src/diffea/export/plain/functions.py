"""Functions of JAX that NumPy has not."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-np.asarray(x, float)))


def relu(x: Any) -> Any:
    """x where it is positive, 0 elsewhere."""
    return np.maximum(x, 0)


def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return np.logaddexp(x, 0.0)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x), divided by its sum."""
    shifted = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return shifted / np.sum(shifted, axis=axis, keepdims=True)


def one_hot(x: Any, classes: int) -> Any:
    """1 in the column of each number, 0 elsewhere."""
    return (np.asarray(x)[..., None] == np.arange(classes)).astype(float)


def unchanged(x: Any) -> Any:
    """The same: nothing is differentiated here."""
    return x


def stable_argsort(x: Any, axis: int = -1) -> Any:
    """The order that sorts x; what is equal stays in its order."""
    return np.argsort(x, axis=axis, kind="stable")


def changed(x: Any, sign: str, y: Any) -> Any:
    """What `x += y` (or another sign) makes of x: an array is made anew, so that nobody else who holds it sees a change."""
    names = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow"}
    names |= {"@": "matmul", "&": "and_", "|": "or_", "^": "xor", "<<": "lshift", ">>": "rshift"}
    name = names[sign.removesuffix("=")]
    return getattr(operator, name if isinstance(x, np.ndarray) else f"i{name.rstrip('_')}")(x, y)
