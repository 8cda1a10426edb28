"""Ragged columns in NumPy: as many slots for every event, of which some are empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np


def per_event(other: Any) -> Any:
    """A number, or one an event, shaped to meet an array of shape (events, slots)."""
    other = np.asarray(other)
    return other[:, None] if other.ndim == 1 else other


class Ragged:
    """One number for every object of every event: values of shape (events, slots), and a mask that is true where there is an object."""

    __array_ufunc__ = None  # NumPy leaves `array * ragged` to `ragged.__rmul__`

    def __init__(self, values: Any, mask: Any) -> None:
        self.values, self.mask = np.asarray(values), np.asarray(mask)

    @classmethod
    def from_awkward(cls, array: ak.Array) -> Ragged:
        """A jagged array; a missing value is no object, and an empty slot repeats a real one."""
        if "?" in str(array.type) or "option" in str(array.type):
            array = ak.fill_none(array, [], axis=0)
            array = array[~ak.is_none(array, axis=1)]
        flat, counts = numbers(ak.flatten(array, axis=1)), ak.to_numpy(ak.num(array, axis=1))
        slots = 1 << max(int(counts.max(initial=0)) - 1, 0).bit_length()
        mask = np.arange(slots) < counts[:, None]
        values = np.full(mask.shape, flat[0] if flat.size else 1, flat.dtype)
        values[mask] = flat
        return cls(values, mask)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def where(self, outside: Any) -> Any:
        """The values, with something else in empty slots."""
        return np.where(self.mask, self.values, outside)

    def apply(self, function: Callable[..., Any], *others: Any) -> Ragged:
        """A function of each object's numbers."""
        columns = [self, *others]
        mask = np.logical_and.reduce([column.mask for column in columns if isinstance(column, Ragged)])
        inputs = [
            filled_up(column.values, mask) if isinstance(column, Ragged) else per_event(column) for column in columns
        ]
        return Ragged(np.where(mask, function(*inputs), 0), mask)

    def astype(self, dtype: Any) -> Ragged:
        return Ragged(self.values.astype(dtype), self.mask)

    def keep(self, selection: Ragged) -> Ragged:
        """The selected objects."""
        return Ragged(self.values, self.mask & selection.mask & (selection.values != 0))

    def num(self) -> Any:
        """Number of objects of each event."""
        return np.sum(self.mask, axis=-1)

    def sum(self) -> Any:
        """Sum over the objects of each event, one after the other."""
        slots = self.where(0).T
        total = slots[0]
        for slot in slots[1:]:
            total = total + slot
        return total

    def __neg__(self) -> Ragged:
        return Ragged(-self.values, self.mask)

    def __abs__(self) -> Ragged:
        return Ragged(np.abs(self.values), self.mask)

    def __invert__(self) -> Ragged:
        return Ragged(np.invert(self.values), self.mask)

    def __add__(self, other: Any) -> Ragged:
        return both(np.add, self, other)

    def __radd__(self, other: Any) -> Ragged:
        return both(np.add, other, self)

    def __sub__(self, other: Any) -> Ragged:
        return both(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Ragged:
        return both(np.subtract, other, self)

    def __mul__(self, other: Any) -> Ragged:
        return both(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Ragged:
        return both(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Ragged:
        return both(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Ragged:
        return both(np.divide, other, self)

    def __pow__(self, other: Any) -> Ragged:
        return both(np.power, self, other)

    def __rpow__(self, other: Any) -> Ragged:
        return both(np.power, other, self)

    def __and__(self, other: Any) -> Ragged:
        return both(np.bitwise_and, self, other)

    def __or__(self, other: Any) -> Ragged:
        return both(np.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Ragged:
        return both(np.bitwise_xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lt__(self, other: Any) -> Ragged:
        return both(np.less, self, other)

    def __le__(self, other: Any) -> Ragged:
        return both(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Ragged:
        return both(np.greater, self, other)

    def __ge__(self, other: Any) -> Ragged:
        return both(np.greater_equal, self, other)

    def __eq__(self, other: object) -> Ragged:  # type: ignore[override]
        return both(np.equal, self, other)

    def __ne__(self, other: object) -> Ragged:  # type: ignore[override]
        return both(np.not_equal, self, other)

    __hash__ = None  # type: ignore[assignment]


def both(function: Callable[..., Any], *sides: Any) -> Ragged:
    """An operation of two columns, one of which is ragged at least."""
    masks = [side.mask for side in sides if isinstance(side, Ragged)]
    mask = np.logical_and.reduce(masks)
    inputs = [filled_up(side.values, mask) if isinstance(side, Ragged) else per_event(side) for side in sides]
    return Ragged(function(*inputs), mask)


def filled_up(values: Any, mask: Any) -> Any:
    """The values, where empty slots hold the first object of the array."""
    return np.where(mask, values, values.reshape(-1)[np.argmax(mask)]) if values.size else values


def numbers(array: Any) -> Any:
    """A NumPy array of numbers: floating-point ones of 64 bits, whole ones of as many with a sign."""
    array = np.asarray(ak.to_numpy(array) if isinstance(array, ak.Array) else array)
    if array.dtype.kind == "f":
        return array.astype(float)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def is_jagged(array: ak.Array) -> bool:
    """Whether events have unlike numbers of entries."""
    kind = ak.type(array).content
    while isinstance(kind, ak.types.OptionType):
        kind = kind.content
    return isinstance(kind, ak.types.ListType)


def packed(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as `fill` takes them: NumPy arrays, ragged ones where events hold objects, and plain values as they are."""
    found: dict[str, Any] = {}
    for name, value in columns.items():
        if isinstance(value, str | bool | int | float | None):
            found[name] = value
        elif isinstance(value, ak.Array) and is_jagged(value):
            found[name] = Ragged.from_awkward(value)
        else:
            array = numbers(value)
            found[name] = array if array.ndim else array.item()
    return found
