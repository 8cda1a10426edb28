"""Columns: what a processor reads of a chunk, checked, and packed for JAX."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import awkward as ak
import numpy as np
from coffea.nanoevents.mapping.base import Accessed

from diffea.errors import ColumnError, DiffeaError, FileReadError, MissingBranchError, NotFiniteError
from diffea.events.collections import Partition
from diffea.events.failures import AT_ONCE, while_reading
from diffea.events.filesets import Chunk
from diffea.events.kinds import EventArray, Signature, agree, is_jagged, kind_of
from diffea.events.opening import open_file
from diffea.events.parquet import ParquetFile
from diffea.events.ragged import Ragged, signed
from diffea.events.replicas import event_hashes
from diffea.events.scalars import Static, plain
from diffea.events.servers import reason
from diffea.events.splits import Split, identity
from diffea.events.tracking import Tracked
from diffea.types import Events


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of some events, as ``columns`` of a processor returned them.

    Attributes:
        arrays: awkward or NumPy arrays of one entry an event.
        static: plain Python values.
        rows: number of events.
        where: they come from.
        hashes: of what identifies each event, shape ``(rows,)``; None where that is not known, or was not asked for.
    """

    arrays: Mapping[str, EventArray]
    static: Mapping[str, Static]
    rows: int
    where: str = ""
    hashes: np.ndarray | None = None

    @property
    def signature(self) -> Signature:
        """The kind of each column."""
        return {name: kind_of(value) for name, value in (*self.arrays.items(), *self.static.items())}

    def of(self, events: np.ndarray) -> Columns:
        """The columns of some of the events, given by their numbers."""
        arrays = {name: array[events] for name, array in self.arrays.items()}
        hashes = None if self.hashes is None else self.hashes[events]
        return dataclasses.replace(self, arrays=arrays, rows=len(events), hashes=hashes)


def read(
    chunk: Chunk,
    columns: Callable[[Events], Mapping[str, object]],
    schemaclass: type,
    split: Split | None,
    *,
    identify: bool = False,
    needed: set[str] | None = None,
) -> Columns:
    """Open a chunk as NanoEvents, and keep the columns of the events that belong to the split.

    Args:
        chunk: what to read.
        columns: of the processor.
        schemaclass: of NanoEvents.
        split: which events to keep, if not all.
        identify: whether to keep a hash of what identifies each event too.
        needed: branches that other chunks needed, which are read at once; those that this one needs are added.

    Raises:
        FileReadError: if the file cannot be read.
        MissingBranchError: if ``columns`` asks for a branch that is not there.
        ColumnError, NotFiniteError: if a column is not one finite entry an event.
    """
    if isinstance(chunk, Partition):
        return check(chunk.compute(), chunk.rows, str(chunk))
    accessed: list[Accessed] = []
    events = open_events(chunk, schemaclass, accessed, frozenset(needed or ()))
    try:
        known = identity(events, str(chunk.file.uuid), chunk.start) if split is not None or identify else ()
        if identify:
            found = _identified(chunk, columns, events, known, split)
        else:
            some = events if split is None else events[split.mask(known)]
            found = check(columns(some), len(some), str(chunk))
    except DiffeaError:
        raise
    except Exception as error:
        if missing := _missing_branch(error, events, chunk):
            raise missing from error
        if while_reading(error):
            why = reason(chunk.file.path, chunk.file.options, error)
            msg = f"{chunk}: reading a branch failed: {type(error).__name__}: {why}"
            raise FileReadError(msg) from error
        error.add_note(f"in `columns`, reading {chunk}")
        raise
    if needed is not None:
        needed.update(access.branch for access in accessed)
    return found


def branches(chunk: Chunk, columns: Callable[[Events], object], schemaclass: type) -> tuple[str, ...]:
    """The branches of a chunk that ``columns`` reads, in the order of their names."""
    accessed: list[Accessed] = []
    events = open_events(chunk, schemaclass, accessed)
    check(columns(events), len(events), str(chunk))  # which reads what is still virtual
    return tuple(sorted({access.branch for access in accessed}))


def _identified(
    chunk: Chunk,
    columns: Callable[[Events], Mapping[str, object]],
    events: Events,
    known: tuple[np.ndarray, ...],
    split: Split | None,
) -> Columns:
    """The columns with the hashes of their events, as far as the selections in ``columns`` tell which those are."""
    tracked = Tracked(events, None if split is None else split.mask(known))
    found = check(columns(tracked.events), len(tracked.events), str(chunk))
    rows = tracked.rows(found.rows)
    return dataclasses.replace(found, hashes=None if rows is None else event_hashes(known, chunk.file.dataset)[rows])


def open_events(
    chunk: Chunk, schemaclass: type, accessed: list[Accessed], needed: frozenset[str] = frozenset()
) -> Events:
    """NanoEvents of a chunk, with the metadata that coffea's Runner gives.

    Args:
        chunk: of a file.
        schemaclass: of NanoEvents.
        accessed: to which coffea adds each branch when it is asked for.
        needed: branches to read at once.

    Raises:
        FilesetError: if the file has other entries, or another UUID, than planned.
        FileReadError: if the file cannot be read.
    """
    opened = open_file(chunk.file)
    metadata = {
        **chunk.file.metadata,
        "filename": chunk.file.path,
        "treename": chunk.file.tree,
        "fileuuid": chunk.file.uuid,
        "entrystart": chunk.start,
        "entrystop": chunk.stop,
    }
    try:
        return opened.events(chunk, schemaclass, metadata, accessed, needed)
    except DiffeaError:
        raise
    except Exception as error:
        why = reason(chunk.file.path, chunk.file.options, error)
        if needed and while_reading(error, AT_ONCE):
            msg = f"{chunk}: reading a branch failed: {type(error).__name__}: {why}"
        else:
            msg = f"{chunk}: {schemaclass.__name__} cannot open it: {why}"
        raise FileReadError(msg) from error


def check(columns: object, events: int, where: str) -> Columns:
    """Part static values from arrays, and see that every array has one finite entry for each selected event.

    Args:
        columns: what the processor's ``columns`` returned.
        events: how many it was given, of which it may have selected some.
        where: what is being read, for the message.

    Raises:
        ColumnError: if a column has another length, or a type that JAX cannot hold.
        NotFiniteError: if a column holds a NaN or an infinity.
    """
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for name in columns):
        msg = f"{where}: `columns` must return a dict of names and arrays, got {_short(columns)}"
        raise ColumnError(msg)
    found = {name: _readable(value, f"{where}: column {name!r}") for name, value in columns.items()}
    static = {name: value for name, value in found.items() if isinstance(value, Static)}
    arrays = {name: value for name, value in found.items() if name not in static}
    if not arrays:
        msg = f"{where}: `columns` returned no array, got {sorted(columns)}"
        raise ColumnError(msg)
    lengths = {name: len(array) for name, array in arrays.items()}
    rows = next(iter(lengths.values()))
    if set(lengths.values()) != {rows} or rows > events:
        msg = f"{where}: all columns must have one entry for each selected one of the {events} events, got {lengths}"
        raise ColumnError(msg)
    for name, array in arrays.items():
        _check_numbers(array, f"{where}: column {name!r}")
    return Columns(arrays, static, rows, where)


def concatenate(parts: Sequence[Columns]) -> Columns:
    """The columns of several chunks of one dataset, one after the other.

    Raises:
        ColumnError: if the chunks disagree on names, kinds, or a plain Python value.
    """
    agree((part.where, part.signature) for part in parts)
    first = parts[0]
    filled = [part for part in parts if part.rows] or [first]
    arrays = {
        name: filled[0].arrays[name] if len(filled) == 1 else ak.concatenate([part.arrays[name] for part in filled])
        for name in first.arrays
    }
    hashes = [part.hashes for part in parts if part.hashes is not None]
    known = np.concatenate(hashes) if len(hashes) == len(parts) else None
    return Columns(arrays, first.static, sum(part.rows for part in parts), first.where, known)


def pack(columns: Columns, dtype: np.dtype) -> dict[str, np.ndarray | Ragged]:
    """NumPy arrays and padded ``Ragged`` ones, floating-point numbers in ``dtype``, whole ones signed and of as many bits, or more.

    JAX takes a quotient, a root or a logarithm of whole numbers in as many bits as these have.

    Raises:
        NotFiniteError: if a number is too large for ``dtype``, or all numbers of a column too small.
    """
    packed = {}
    for name, array in columns.arrays.items():
        with np.errstate(over="raise"):
            try:
                packed[name] = _pack(array, dtype)
            except FloatingPointError as error:
                msg = f"{columns.where}: column {name!r} has numbers that are infinite in {dtype}; use precision='float64', or cut them"
                raise NotFiniteError(msg) from error
        _check_kept(array, dtype, f"{columns.where}: column {name!r}")
    return packed


def _check_kept(array: EventArray, dtype: np.dtype, place: str) -> None:
    """See that a column is not all zeros only for want of an exponent."""
    if dtype == np.float64 or kind_of(array).type != "float":
        return
    largest = np.abs(_flat(array)).max(initial=0.0)
    if 0.0 < largest < np.finfo(dtype).tiny:
        msg = f"{place} has no number above {largest:g}, which is none in {dtype}; use precision='float64', or scale the column"
        raise NotFiniteError(msg)


def _pack(array: EventArray, dtype: np.dtype) -> np.ndarray | Ragged:
    if is_jagged(array):
        ragged = Ragged.from_awkward(array)
        return Ragged(_as(np.asarray(ragged.values), dtype), np.asarray(ragged.mask))
    return _as(ak.to_numpy(array) if isinstance(array, ak.Array) else np.asarray(array), dtype)


def _as(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    array = signed(array)
    types = {"f": dtype, "i": np.promote_types(array.dtype, f"i{dtype.itemsize}")}
    return np.ascontiguousarray(array, dtype=types.get(array.dtype.kind))


def _readable(value: object, place: str) -> Any:
    """A plain Python value, or an awkward or NumPy array of at least one dimension."""
    value = plain(value)
    if isinstance(value, Static | ak.Array):
        return value
    try:
        array = np.asanyarray(value)
    except (ValueError, TypeError) as error:
        msg = f"{place} cannot become an array of numbers: {error}"
        raise ColumnError(msg) from error
    if array.ndim == 0:
        msg = (
            f"{place} is neither an array of one entry an event nor a plain value (a number, text, boolean or None), got "
            f"{_short(value)}"
        )
        raise ColumnError(msg)
    return array


def _check_numbers(array: EventArray, place: str) -> None:
    try:
        kind_of(array)
        flat = signed(_flat(array))
    except (ColumnError, ValueError, TypeError) as error:
        if while_reading(error):
            raise
        msg = f"{place}: {error}"
        raise ColumnError(msg) from error
    bad = np.flatnonzero(~np.isfinite(flat))
    if bad.size:
        msg = (
            f"{place} has {len(bad)} values that are NaN or infinite, the first is number {bad[0]} "
            f"({flat[bad[0]]}); mask or replace them in `columns`"
        )
        raise NotFiniteError(msg)


def _flat(array: EventArray) -> np.ndarray:
    missing = "has missing values; fill them (ak.fill_none), or drop them"
    if not isinstance(array, ak.Array):
        if np.ma.is_masked(array):
            raise ColumnError(missing)
        return np.asarray(array).reshape(-1)
    optional = any(sign in str(array.type) for sign in ("?", "option"))
    if optional and any(ak.any(ak.is_none(array, axis=axis), axis=None) for axis in range(array.ndim)):
        raise ColumnError(missing)
    return np.asarray(ak.to_numpy(ak.flatten(array, axis=None)))


def _short(value: object) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) < 100 else f"{text[:97]}…"


def _missing_branch(error: Exception, events: Events, chunk: Chunk) -> MissingBranchError | None:
    asked = re.search(r"no field (?:named )?['\"]?(\w+)", str(error))
    if asked is None or not isinstance(error, AttributeError | ak.errors.FieldNotFoundError):
        return None
    known = [
        *events.fields,
        *(f"{name}.{field}" for name in events.fields for field in getattr(events[name], "fields", ())),
    ]
    near = get_close_matches(asked[1], known, n=5, cutoff=0.5) or sorted(known)[:20]
    msg = f"{chunk}: there is no branch {asked[1]!r} (read by `columns`){_kind_of_others(asked[1], chunk)}; near to it: {', '.join(near)}"
    return MissingBranchError(msg)


def _kind_of_others(name: str, chunk: Chunk) -> str:
    """What a column is that Parquet has, and that cannot be read."""
    opened = open_file(chunk.file)
    others = opened.columns.others if isinstance(opened, ParquetFile) else {}
    kinds = {
        other: kind for other, kind in others.items() if name in (other, other.replace(".", "_"), *other.split("."))
    }
    return "".join(f", since {other!r} in the file is of the type {kind}, no number" for other, kind in kinds.items())
