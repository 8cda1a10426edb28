"""Parquet: an open file, whose row groups are what is read at once.

A Parquet file has no UUID. What stands for it is a hash of its size, its footer (which has the place, size and extremes of every column in every
row group) and its first 64 kB: a file that was written again has another one, a copy the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate

import awkward as ak
import fsspec
import numpy as np
import pyarrow.parquet as pq
from coffea.nanoevents import BaseSchema, NanoEventsFactory
from coffea.nanoevents.mapping import PreloadedSourceMapping
from coffea.nanoevents.mapping.base import Accessed, BaseSourceMapping
from coffea.nanoevents.util import tuple_to_key

from diffea.errors import ColumnError
from diffea.events.arrow import Columns, Leaf
from diffea.events.filesets import Chunk
from diffea.events.servers import Part, fsspec_options, is_remote
from diffea.types import Events, PyTree

HEAD = 65_536  # bytes


@dataclasses.dataclass(frozen=True)
class ParquetFile:
    """An open Parquet file.

    Attributes:
        path: of the file.
        uuid: what stands for it.
    """

    path: str
    uuid: str
    _table: pq.ParquetFile
    _options: Mapping[str, object]

    @classmethod
    def open(cls, path: str, options: Mapping[str, object]) -> ParquetFile:
        """Open a file by its path or address.

        Raises:
            OSError, ValueError: as fsspec and pyarrow, if it is not there or no whole Parquet file.
        """
        handle = Part(path, options) if is_remote(path) else fsspec.open(path, "rb").open()
        return cls(path, _identity(handle), pq.ParquetFile(handle, pre_buffer=True), options)

    @property
    def entries(self) -> int:
        return self._table.metadata.num_rows

    @property
    def row_groups(self) -> tuple[int, ...]:
        """Where they begin, and the last ends."""
        groups = self._table.metadata
        return tuple(accumulate((groups.row_group(n).num_rows for n in range(groups.num_row_groups)), initial=0))

    @cached_property
    def columns(self) -> Columns:
        """What there is to read."""
        schema = self._table.schema
        return Columns(self._table.schema_arrow, (schema.column(n).path for n in range(len(schema))))

    def is_stated(self, uuid: str) -> bool:
        """Whether it is the file that a preprocessed fileset means by what awkward calls a UUID, or by ours."""
        return (
            uuid == self.uuid
            or uuid
            == ak.metadata_from_parquet(self.path, storage_options=fsspec_options(self.path, self._options))["uuid"]
        )

    def events(
        self,
        chunk: Chunk,
        schemaclass: type,
        metadata: Mapping[str, object],
        accessed: list[Accessed],
        needed: frozenset[str],
    ) -> Events:
        """NanoEvents of a chunk: what is known to be needed is read at once, any other column when it is asked for.

        A schema that leaves branches as they are (``BaseSchema``) meets records as records; any other meets the names that NanoAOD gives
        their fields, and the counts of lists.
        """
        as_they_are = schemaclass.__init__ is BaseSchema.__init__  # type: ignore[misc]
        form, counts = (self.columns.form, {}) if as_they_are else self.columns.flat()
        form["parameters"] = {"__doc__": self.path, "metadata": dict(metadata)}
        key = self.uuid, "", f"{chunk.start}-{chunk.stop}"
        mapping = _Lazy(_Source(self, chunk, counts, needed), accessed)
        mapping.preload_column_source(key[0], key[1], mapping.source)
        return NanoEventsFactory(schemaclass(form), mapping, tuple_to_key(key), mode="virtual").events()

    def close(self) -> None:
        """Let go of the file."""
        self._table.close(force=True)

    def read(self, leaves: Iterable[Leaf], chunk: Chunk) -> dict[str, ak.Array]:
        """Numbers of a chunk, by the names of their leaves, read at once.

        Raises:
            OSError: as pyarrow, of a file that cannot be read.
            ColumnError: of missing values.
        """
        leaves = list(leaves)
        bounds = np.asarray(self.row_groups)
        groups = np.flatnonzero((bounds[:-1] < chunk.stop) & (bounds[1:] > chunk.start))
        table = self._table.read_row_groups(groups.tolist(), columns=[leaf.path for leaf in leaves], use_threads=False)
        part = table.slice(chunk.start - int(bounds[groups[0]]), chunk.rows)
        try:
            return {leaf.name: leaf.of(part.column(leaf.names[0])) for leaf in leaves}
        except ColumnError as error:
            msg = f"{chunk}: {error}"
            raise ColumnError(msg) from error


class _Source(Mapping[str, "_Column"]):
    """The columns of a chunk, each with what was read of it."""

    def __init__(self, file: ParquetFile, chunk: Chunk, counts: Mapping[str, Leaf], needed: frozenset[str]) -> None:
        self.chunk = chunk
        self._file = file
        self._counts = counts
        at_once = {leaf.name: leaf for leaf in map(self._leaf, sorted(needed & set(self)))}
        self._found = file.read(at_once.values(), chunk) if at_once else {}

    def __getitem__(self, name: str) -> _Column:
        return _Column(self, name)

    def __iter__(self) -> Iterator[str]:
        yield from (*self._file.columns.leaves, *self._counts)

    def __len__(self) -> int:
        return len(self._file.columns.leaves) + len(self._counts)

    def read(self, name: str) -> ak.Array:
        """The numbers of a leaf, or the counts of its lists."""
        leaf = self._leaf(name)
        if leaf.name not in self._found:
            self._found |= self._file.read([leaf], self.chunk)
        found = self._found[leaf.name]
        return ak.values_astype(ak.num(found), np.int32) if name in self._counts else found

    def _leaf(self, name: str) -> Leaf:
        return self._counts.get(name) or self._file.columns.leaves[name]


@dataclasses.dataclass(frozen=True)
class _Column:
    """A column, which coffea takes by the slice of the chunk."""

    source: _Source
    name: str

    def __getitem__(self, where: slice) -> ak.Array:
        return self.source.read(self.name)


class _Lazy(PreloadedSourceMapping):
    """coffea's source of arrays, asked for each when it is needed."""

    def __init__(self, source: _Source, accessed: list[Accessed]) -> None:
        BaseSourceMapping.__init__(self, None, source.chunk.start, source.chunk.stop, access_log=accessed, virtual=True)
        self.source = source


def _identity(handle: PyTree) -> str:
    """Of what the file has inside."""
    size = handle.seek(0, 2)
    handle.seek(max(size - 8, 0))
    footer = int.from_bytes(handle.read(4), "little") + 8
    handle.seek(max(size - footer, 0))
    content = handle.read(footer)
    handle.seek(0)
    head = handle.read(HEAD)
    digest = hashlib.sha256(b"%d" % size + content + head).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))
