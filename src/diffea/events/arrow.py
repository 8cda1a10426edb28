"""Arrow: columns of a Parquet file as plain awkward arrays, and the form that NanoEvents takes of them.

A column may be a number, a list, a record, or any nesting of these; each number in it is a *leaf*, read by itself: ``Jet.pt`` of a list of
records ``Jet``. Other kinds (texts, dates, decimals, maps) are left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import awkward as ak
import numpy as np
import pyarrow as pa
from coffea.nanoevents.util import quote

from diffea.errors import ColumnError
from diffea.types import JSONDict


@dataclasses.dataclass(frozen=True)
class Leaf:
    """The numbers at one place of a column.

    Attributes:
        names: of the column, and of the records' fields below it.
        path: by which Parquet knows it.
        depth: of the lists around each number.
        kind: NumPy's.
    """

    names: tuple[str, ...]
    path: str
    depth: int
    kind: str

    @property
    def name(self) -> str:
        return ".".join(self.names)

    def of(self, column: pa.ChunkedArray) -> ak.Array:
        """Its numbers, in lists alone.

        Raises:
            ColumnError: if some are missing.
        """
        try:
            array = ak.Array(_plain(ak.from_arrow(column, highlevel=False)))
        except _MissingError as error:
            msg = f"column {self.name!r} has {error} missing values (nulls); fill them when the file is written"
            raise ColumnError(msg) from error
        for name in self.names[1:]:
            array = array[name]
        return array

    def key(self, depth: int) -> str:
        """What NanoEvents asks for to get the offsets of its lists at this depth, or its numbers below all of them."""
        return f"{self.name},!load" + ",!content" * depth

    def form(self) -> JSONDict:
        """Of its numbers in lists alone."""
        form = _numbers(self.kind, self.key(self.depth), self.name)
        for depth in reversed(range(self.depth)):
            form = _list(form, self.key(depth))
        return form


class _MissingError(Exception):
    """Raised with the number of values that are missing."""


class Columns:
    """What there is in a Parquet file.

    Args:
        schema: of its columns.
        paths: Parquet's, of all leaves in order.

    Attributes:
        leaves: by name.
        others: the types of those that are no numbers, by name.
        form: of events whose records stay records.
    """

    def __init__(self, schema: pa.Schema, paths: Iterable[str]) -> None:
        self.leaves: dict[str, Leaf] = {}
        self.others: dict[str, str] = {}
        rest = iter(paths)
        found = {field.name: self._form((field.name,), 0, field.type, rest) for field in schema}
        self.form = _record({name: form for name, (form, _) in found.items() if form})

    def flat(self) -> tuple[JSONDict, dict[str, Leaf]]:
        """The form of events in NanoAOD's names: ``Jet_pt``, and ``nJet`` where lists come without their counts.

        Returns:
            the form; and the lists that each of these counts is of.
        """
        contents = {"_".join(leaf.names): leaf.form() for leaf in self.leaves.values()}
        counts: dict[str, Leaf] = {}
        for leaf in self.leaves.values():
            name = "n" + leaf.names[0].partition("_")[0]
            if leaf.depth and name not in contents:
                counts.setdefault(name, leaf)
        return _record(contents | {name: _numbers("int32", f"{name},!load", name) for name in counts}), counts

    def _form(
        self, names: tuple[str, ...], depth: int, kind: pa.DataType, paths: Iterator[str]
    ) -> tuple[JSONDict | None, Leaf | None]:
        """Of what is at one place, with the first leaf below; None where no numbers are."""
        while isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        if pa.types.is_struct(kind):
            below = {field.name: self._form((*names, field.name), depth, field.type, paths) for field in kind}
            contents = {name: form for name, (form, _) in below.items() if form}
            return _record(contents) if contents else None, next((leaf for _, leaf in below.values() if leaf), None)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            content, leaf = self._form(names, depth + 1, kind.value_type, paths)
            return (_list(content, leaf.key(depth)), leaf) if content and leaf else (None, None)
        path, *_ = [next(paths) for _ in range(_count(kind))]
        known = not {",", "!"} & set("".join(names))  # which NanoEvents divides its keys by
        if known and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            leaf = Leaf(names, path, depth, np.dtype(kind.to_pandas_dtype()).name)
            self.leaves[leaf.name] = leaf
            return _numbers(leaf.kind, leaf.key(depth), leaf.name), leaf
        self.others[".".join(names)] = str(kind)
        return None, None


def _count(kind: pa.DataType) -> int:
    """How many leaves a column of this type has in Parquet."""
    return sum(_count(kind.field(number).type) for number in range(kind.num_fields)) or 1


def _plain(layout: ak.contents.Content) -> ak.contents.Content:
    """Lists with offsets of 64 bits, records and numbers, nothing else."""
    if layout.is_option:
        if missing := np.count_nonzero(layout.mask_as_bool(valid_when=False)):
            raise _MissingError(missing)
        return _plain(layout.project())
    if layout.is_indexed:
        return _plain(layout.project())
    if layout.is_list:
        lists = layout.to_ListOffsetArray64(True)
        return ak.contents.ListOffsetArray(lists.offsets, _plain(lists.content[: lists.offsets[-1]]))
    if layout.is_record:
        contents = [_plain(layout[name]) for name in layout.fields]
        return ak.contents.RecordArray(contents, layout.fields, length=len(layout))
    return layout


def _numbers(kind: str, key: str, doc: str) -> JSONDict:
    return {
        "class": "NumpyArray",
        "primitive": kind,
        "inner_shape": [],
        "parameters": {"__doc__": doc},
        "form_key": quote(key),
    }


def _list(content: JSONDict, key: str) -> JSONDict:
    return {
        "class": "ListOffsetArray",
        "offsets": "i64",
        "content": content,
        "parameters": {},
        "form_key": quote(key),
    }


def _record(contents: dict[str, JSONDict]) -> JSONDict:
    return {
        "class": "RecordArray",
        "fields": list(contents),
        "contents": list(contents.values()),
        "parameters": {},
        "form_key": None,
    }
