"""Shards: the batches whose columns stay on one worker."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from diffea.errors import FileReadError
from diffea.events.batches import Batch
from diffea.events.blocks import Blocks
from diffea.events.columns import Columns, concatenate, read
from diffea.events.filesets import Chunk
from diffea.events.patience import patiently
from diffea.events.splits import Split
from diffea.processor import Structure, structured
from diffea.runtime import Portable, check_worker


@dataclasses.dataclass(frozen=True)
class Source:
    """How to read: what is the same for all shards.

    Attributes:
        processor: pickled once.
        schemaclass: of NanoEvents.
        split: which events to keep, if not all.
        dtype: of floating-point columns.
        block: rows of a block.
        batches: their number in the whole data set.
        skip: whether to leave out chunks whose file stays bad.
        versions: of the driver's packages.
    """

    processor: Portable
    schemaclass: type
    split: Split | None
    dtype: np.dtype
    block: int
    batches: int
    skip: bool
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Held:
    """A batch in memory.

    Attributes:
        batch: of the chunks that could be read.
        kept: number of selected events of each chunk.
    """

    batch: Batch
    structure: Structure
    blocks: Blocks
    kept: tuple[int, ...]


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
    """Some batches, their columns in memory.

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
        return sum(held.blocks.nbytes for held in self.held)


@dataclasses.dataclass(frozen=True)
class Content:
    """What the driver knows of a shard.

    Attributes:
        structures: those that occur, each with its sample.
        chunks: what was read, each with its number of selected events.
        skipped: what was left out.
        nbytes: of columns.
        seconds: that reading took.
    """

    structures: frozenset[tuple[str, Structure]]
    chunks: tuple[tuple[Chunk, int], ...]
    skipped: tuple[Skipped, ...]
    nbytes: int
    seconds: float

    @classmethod
    def of(cls, shard: Shard) -> Content:
        """Tell the driver what a shard holds."""
        return cls(
            frozenset((held.batch.file.sample, held.structure) for held in shard.held),
            tuple(pair for held in shard.held for pair in zip(held.batch.chunks, held.kept, strict=True)),
            shard.skipped,
            shard.__sizeof__(),
            shard.seconds,
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
    processor = source.processor.value
    held, empty, skipped = [], [], []
    for batch in batches:
        parts = []
        for chunk in batch.chunks:
            try:
                columns = patiently(partial(read, chunk, processor.columns, source.schemaclass, source.split))
            except FileReadError as error:
                if not source.skip:
                    raise
                skipped.append(Skipped(chunk.file.dataset, chunk.file.path, chunk.rows, str(error)))
            else:
                parts.append((chunk, columns))
        if parts:
            held.append(_hold(source, batch.index, parts))
        else:
            empty.append(batch.index)
    return Shard(source, tuple(held), tuple(empty), tuple(skipped), time.perf_counter() - began)


def _hold(source: Source, index: int, parts: list[tuple[Chunk, Columns]]) -> Held:
    structure, blocks = structured(concatenate([columns for _, columns in parts]), source.dtype, source.block)
    batch = Batch(index, tuple(chunk for chunk, _ in parts))
    return Held(batch, structure, blocks, tuple(columns.rows for _, columns in parts))
