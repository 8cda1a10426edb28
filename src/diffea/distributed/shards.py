"""Shards: the batches whose columns stay on one worker."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import get_args
from weakref import WeakKeyDictionary

import numpy as np

from diffea.distributed.storage import Keeper, Place, Store
from diffea.errors import FileReadError, LedgerError
from diffea.events.batches import Batch
from diffea.events.blocks import Blocks
from diffea.events.columns import Columns, concatenate, read
from diffea.events.filesets import Chunk
from diffea.events.kinds import Signature
from diffea.events.patience import patiently
from diffea.events.replicas import lowest
from diffea.events.splits import Split
from diffea.portable import Portable
from diffea.program import Program, Structure, pieces
from diffea.runtime import check_worker

_needed: WeakKeyDictionary[Program, dict[tuple[type, str], set[str]]] = WeakKeyDictionary()
"""The branches that this process has needed of a dataset so far; they are read at once of its next chunk."""


@dataclasses.dataclass(frozen=True)
class Source:
    """How to read: what is the same for all shards.

    Attributes:
        program: of the processor.
        schemaclass: of NanoEvents.
        split: which events to keep, if not all.
        block: rows of a block.
        batches: their number in the whole data set.
        skip: whether to leave out chunks whose file stays bad.
        memory: bytes of columns that a worker may hold in memory; None if it is to choose.
        versions: of the driver's packages.
        identify: whether to keep what identifies the events.
    """

    program: Program
    schemaclass: Portable[type]
    split: Split | None
    block: int
    batches: int
    skip: bool
    memory: int | None
    versions: dict[str, str]
    identify: bool = False

    def read(self, chunk: Chunk) -> Columns:
        """The columns of a chunk, tried again after passing errors."""
        columns, schemaclass = self.program.processor.columns, self.schemaclass.value
        needed = _needed.setdefault(self.program, {}).setdefault((schemaclass, chunk.file.dataset), set())
        ask = partial(read, chunk, columns, schemaclass, self.split, identify=self.identify, needed=needed)
        return patiently(ask, chunk.file.path, chunk.file.options)


@dataclasses.dataclass(frozen=True)
class Held:
    """A batch.

    Attributes:
        batch: of the chunks that could be read.
        structures: of each piece.
        store: where its columns lie.
        kept: number of selected events of each chunk.
        signature: of the columns.
        events: those that each piece holds, by number.
        lowest: hashes of what identifies its events; None where that is not known.
    """

    batch: Batch
    structures: tuple[Structure, ...]
    store: Store
    kept: tuple[int, ...]
    signature: Signature
    events: tuple[range | np.ndarray, ...]
    lowest: np.ndarray | None = None

    @property
    def blocks(self) -> tuple[Blocks, ...]:
        """The columns of each piece, read or mapped anew if they are not in memory."""
        return self.store.blocks

    @property
    def rows(self) -> tuple[int, ...]:
        """Number of events of each piece."""
        return tuple(map(len, self.events))

    def within(self, start: int, stop: int) -> tuple[np.ndarray, ...]:
        """The rows of each piece that hold the events from ``start`` to ``stop`` of the batch."""
        held = map(np.asarray, self.events)
        return tuple(np.flatnonzero((start <= events) & (events < stop)) for events in held)

    @property
    def first(self) -> Chunk:
        """The first chunk with selected events, if any has."""
        pairs = zip(self.batch.chunks, self.kept, strict=True)
        return next((chunk for chunk, kept in pairs if kept), self.batch.chunks[0])


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Entries that were left out because their file stayed bad.

    Attributes:
        entries: how many; None where the file could not even be opened.
        reason: the last error.
    """

    dataset: str
    file: str
    entries: int | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some batches.

    Attributes:
        held: those of which anything could be read.
        empty: indices of the others.
        skipped: what was left out.
        seconds: that reading took.
    """

    source: Source
    held: tuple[Held, ...]
    empty: tuple[int, ...]
    skipped: tuple[Skipped, ...]
    seconds: float

    def __sizeof__(self) -> int:
        return self.nbytes["memory"]

    @property
    def nbytes(self) -> dict[Place, int]:
        """Bytes of columns, by where they lie."""
        nbytes: dict[Place, int] = dict.fromkeys(get_args(Place), 0)
        for held in self.held:
            nbytes[held.store.place] += held.store.nbytes
        return nbytes


class MovedError(Exception):
    """A bundle was asked for on another worker than that of its shards."""


@dataclasses.dataclass(frozen=True)
class Bundle(Shard):
    """The shards that one task of a step takes. They are results by themselves, so that this weighs nothing and stays where it is."""

    def __sizeof__(self) -> int:
        return object.__sizeof__(self)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Moved, ()


class Moved:
    """What arrives of a bundle elsewhere, such as where dask takes what a worker held that retires."""

    def __getattr__(self, name: str) -> None:
        raise MovedError(name)


@dataclasses.dataclass(frozen=True)
class Content:
    """What the driver knows of a shard.

    Attributes:
        structures: those that occur, each with its sample, and how many events each has.
        chunks: what was read, each with its number of selected events.
        skipped: what was left out.
        nbytes: of columns, by where they lie.
        seconds: that reading took.
        signatures: of each batch's columns, with its first chunk that has events.
        lowest: hashes of what identifies events, of each batch in which that is known, with its dataset.
    """

    structures: Mapping[tuple[str, Structure], int]
    chunks: tuple[tuple[Chunk, int], ...]
    skipped: tuple[Skipped, ...]
    nbytes: dict[Place, int]
    seconds: float
    signatures: tuple[tuple[Chunk, Signature], ...]
    lowest: tuple[tuple[str, np.ndarray], ...] = ()

    @classmethod
    def of(cls, shard: Shard) -> Content:
        """Tell the driver what a shard holds."""
        structures: Counter[tuple[str, Structure]] = Counter()
        for held in shard.held:
            for structure, rows in zip(held.structures, held.rows, strict=True):
                structures[held.batch.file.sample, structure] += rows
        return cls(
            structures,
            tuple(pair for held in shard.held for pair in zip(held.batch.chunks, held.kept, strict=True)),
            shard.skipped,
            shard.nbytes,
            shard.seconds,
            tuple((held.first, held.signature) for held in shard.held),
            tuple((held.batch.file.dataset, held.lowest) for held in shard.held if held.lowest is not None),
        )


def load(source: Source, batches: Sequence[Batch]) -> Shard:
    """Read the columns of some batches.

    Raises:
        WorkerMismatchError: if this worker would compute other numbers than the driver.
        FileReadError: if a file stays bad, unless such are to be skipped.
        MissingBranchError, ColumnError, NotFiniteError: naming dataset, file and entries.
    """
    began = time.perf_counter()
    check_worker(source.versions)
    held, empty, skipped = [], [], []
    keeper = Keeper(source.memory)
    for batch in batches:
        parts = []
        for chunk in batch.chunks:
            try:
                columns = source.read(chunk)
            except FileReadError as error:
                if not source.skip:
                    raise
                skipped.append(Skipped(chunk.file.dataset, chunk.file.path, chunk.rows, str(error)))
            else:
                parts.append((chunk, columns))
        if parts:
            held.append(_hold(source, batch.index, parts, keeper))
        else:
            empty.append(batch.index)
    return Shard(source, tuple(held), tuple(empty), tuple(skipped), time.perf_counter() - began)


def bundle(shards: Sequence[Shard]) -> Bundle:
    """The batches of several shards, as one."""
    return Bundle(
        shards[0].source,
        tuple(held for shard in shards for held in shard.held),
        tuple(index for shard in shards for index in shard.empty),
        tuple(entry for shard in shards for entry in shard.skipped),
        sum(shard.seconds for shard in shards),
    )


def _hold(source: Source, index: int, parts: list[tuple[Chunk, Columns]], keeper: Keeper) -> Held:
    columns = concatenate([columns for _, columns in parts])
    structures, blocks, events = pieces(columns, source.program.dtype, source.block)
    batch = Batch(index, tuple(chunk for chunk, _ in parts))
    kept = tuple(columns.rows for _, columns in parts)
    store = keeper.keep(blocks, partial(_again, source, batch, kept))
    known = None if columns.hashes is None else lowest(columns.hashes)
    return Held(batch, structures, store, kept, columns.signature, events, known)


def _again(source: Source, batch: Batch, kept: tuple[int, ...]) -> tuple[Blocks, ...]:
    """Read a batch that neither memory nor disk had room for."""
    parts = [source.read(chunk) for chunk in batch.chunks]
    if (found := tuple(part.rows for part in parts)) != kept:
        msg = f"{batch.chunks[0]} and what follows had {kept} selected events at the start and {found} now: a file changed"
        raise LedgerError(msg)
    return pieces(concatenate(parts), source.program.dtype, source.block)[1]
