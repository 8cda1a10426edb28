"""Discrete axes: bins that an event is in or not, or in with a probability of its own; nothing is smeared."""

from __future__ import annotations

import dataclasses
from typing import Any

import boost_histogram
import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import HistogramError
from diffea.histograms.window import Window, in_one_bin
from diffea.types import AnyArray, AnyAxis

__all__ = ["Categories", "categories_of", "category_values"]


@dataclasses.dataclass(frozen=True)
class Categories:
    """What stands in the place of bin edges on a discrete axis.

    An observable there is either the number of each event's category, shape (events,), or the probability of each
    category, shape (events, categories), such as ``jnp.stack([soft.exactly(n, cut) for n in range(4)], axis=1)``.

    Attributes:
        values: the whole number that stands for each category.
        flow: whether smaller and larger numbers go to the underflow and the overflow; otherwise, as in a category axis of
            boost-histogram, whatever is no category overflows.
        circular: whether the numbers after the last category are again the first ones.
        truth: whether the second category, 1, has all numbers other than 0.
    """

    values: tuple[int, ...]
    flow: bool = False
    circular: bool = False
    truth: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def window(self, x: jax.Array) -> Window:
        """Which bins each event is in.

        Raises:
            HistogramError: when ``x`` has probabilities of another number of categories.
        """
        size = len(self.values)
        if x.ndim == 2:
            if self.circular:
                msg = "expected the number of each event's category on a circular axis, got probabilities, some of which may be of none"
                raise HistogramError(msg)
            if x.shape[1] != size:
                msg = f"expected the probabilities of {size} categories, got shape {x.shape}"
                raise HistogramError(msg)
            rest = 1.0 - jnp.sum(x, axis=1, keepdims=True)
            return Window(None, jnp.concatenate([jnp.zeros_like(rest), x, rest], axis=1), size + 2)
        whole = jnp.floor(x)
        if self.circular:
            whole = self.values[0] + jnp.mod(whole - self.values[0], size)
        if self.truth:
            whole = jnp.where((whole == 0) | jnp.isnan(whole), whole, 1)
        first = jnp.full(x.shape, size + 1, jnp.int32)
        for place, value in enumerate(self.values):
            first = jnp.where(whole == value, place + 1, first)
        if self.flow:
            first = jnp.where(whole < min(self.values), 0, first)
        return Window(first, in_one_bin, size + 2)


def categories_of(axis: AnyAxis) -> Categories:
    """The categories of a discrete axis; one of strings has the categories 0, 1, … in the order of its names."""
    values: list[Any] = list(axis)
    if any(isinstance(value, str) for value in values):
        return Categories(tuple(range(len(values))))
    return Categories(
        tuple(int(value) for value in values),
        flow=bool(axis.traits.ordered),
        circular=bool(axis.traits.circular),
        truth=isinstance(axis, boost_histogram.axis.Boolean),
    )


def category_values(axis: AnyAxis, x: AnyArray) -> np.ndarray:
    """What boost-histogram takes for an observable of a discrete axis: names, or whole numbers.

    Args:
        axis: discrete, of ``hist`` or boost-histogram.
        x: the number, or the probabilities (0 or 1), of each event's category, as ``Categories`` takes them.
    """
    numbers, values = np.asarray(x), np.array(categories_of(axis).values)
    if numbers.ndim == 2:
        numbers = np.where(numbers.sum(axis=1) > 0.5, values[np.argmax(numbers, axis=1)], values.max() + 1)
    whole = np.floor(numbers).astype(int)
    if isinstance(axis.value(0), str):
        return np.array([*axis, ""])[np.where((whole < 0) | (whole >= len(values)), len(values), whole)]
    return whole
