"""Kinds: what a column is, which must be the same in all chunks of a dataset, however they are cut and batched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import awkward as ak
import numpy as np
from awkward.types import ListType, NumpyType, OptionType, RegularType, UnknownType

from diffea.errors import ColumnError
from diffea.events.ragged import signed
from diffea.events.scalars import Static

OBJECTS = None  # in place of a length: a changing number


@dataclasses.dataclass(frozen=True)
class Kind:
    """What ``fill`` sees of a column, apart from its numbers.

    Attributes:
        value: of a plain Python value, how Python writes it.
        shape: of the entry of one event: ``()``, ``(OBJECTS,)`` if jagged, or fixed lengths; None where there is no event.
        type: ``"float"`` of whatever width (all are made one), ``"bool"``, or that of the whole numbers, signed; None where there is none.
    """

    value: str | None = None
    shape: tuple[int | None, ...] | None = None
    type: str | None = None

    def __str__(self) -> str:
        if self.value is not None:
            return f"the plain value {self.value}"
        if self.shape is None:
            return "an array without events"
        entry = (
            "a list" if self.shape == (OBJECTS,) else f"an array of shape {self.shape}" if self.shape else "a number"
        )
        return f"{entry} of type {self.type} for each event"

    def meets(self, other: Kind) -> Kind | None:
        """The kind of both together, if there is one."""
        if self.value is None and other.value is None and None in (self.shape, other.shape):
            return other if self.shape is None else self
        if (self.value, self.shape) == (other.value, other.shape) and (
            self.type == other.type or None in (self.type, other.type)
        ):
            return other if self.type is None else self
        return None


EventArray: TypeAlias = ak.Array | np.ndarray
"""A column on the host, of one entry an event."""

Signature = Mapping[str, Kind]
"""The kinds of all columns, by name."""


def kind_of(value: EventArray | Static) -> Kind:
    """The kind of a column.

    Args:
        value: a plain Python value, or an awkward or NumPy array of one entry an event.

    Raises:
        ColumnError: if it is none that JAX can hold.
    """
    if isinstance(value, Static):
        return Kind(value=repr(value))
    shape, dtype = _form(value)
    if OBJECTS in shape and shape != (OBJECTS,):
        msg = f"expected one entry an event or a jagged column of shape events * var, got {ak.type(value)}"
        raise ColumnError(msg)
    if dtype is not None and dtype.kind not in "biuf":
        got = ak.type(value) if isinstance(value, ak.Array) else dtype
        msg = (
            f"expected numbers or booleans, got {got}; take one field of a record, the real and the imaginary part of "
            "complex numbers, and dates and texts as numbers"
        )
        raise ColumnError(msg)
    if not len(value):
        return Kind()
    if dtype is None or (shape == (OBJECTS,) and not ak.count(value)):
        return Kind(shape=shape)
    return Kind(shape=shape, type="float" if dtype.kind == "f" else signed(np.empty(0, dtype)).dtype.name)


def is_jagged(array: EventArray) -> bool:
    """Whether a column has a changing number of objects an event."""
    return OBJECTS in _form(array)[0]


def _form(array: EventArray) -> tuple[tuple[int | None, ...], np.dtype | None]:
    """Shape of one event's entry, and the type of the numbers; None if awkward does not know it, ``object`` if there are none."""
    if not isinstance(array, ak.Array):
        array = np.asanyarray(array)
        return array.shape[1:], array.dtype
    form = array.type.content
    shape: list[int | None] = []
    while isinstance(form, OptionType | RegularType | ListType) and "__array__" not in form.parameters:
        if not isinstance(form, OptionType):
            shape.append(form.size if isinstance(form, RegularType) else OBJECTS)
        form = form.content
    if isinstance(form, UnknownType):
        return tuple(shape), None
    return tuple(shape), np.dtype(form.primitive if isinstance(form, NumpyType) else object)


def agree(found: Iterable[tuple[str, Signature]]) -> Signature:
    """The signature that chunks of one dataset share.

    Args:
        found: where a chunk is from, and its signature.

    Raises:
        ColumnError: if they have none in common, naming two of them.
    """
    first: dict[str, tuple[str, Kind]] = {}
    for where, signature in found:
        if not first:
            first = {name: (where, kind) for name, kind in signature.items()}
            other = where
        if odd := sorted(set(first) ^ set(signature)):
            having, lacking = (where, other) if odd[0] in signature else (other, where)
            msg = f"all chunks of a dataset must have the same columns: {having} has {', '.join(map(repr, odd))}, {lacking} has not"
            raise ColumnError(msg)
        for name, kind in signature.items():
            place, known = first[name]
            both = known.meets(kind)
            if both is None:
                msg = (
                    f"a column must be the same in all chunks of a dataset: {name!r} is {known} from {place} and {kind} from {where}; "
                    "make them alike in `columns` (plain Python values from the dataset's metadata, numbers by ak.values_astype), or "
                    "make datasets of their own of the files that differ"
                )
                raise ColumnError(msg)
            if both is not known:
                first[name] = where, both
    return {name: kind for name, (_, kind) in first.items()}
