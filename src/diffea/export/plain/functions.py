"""Functions of JAX that NumPy has not."""

from __future__ import annotations

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
