"""Glance: the first chunks of each dataset, held one dataset by one, for a look at an analysis before it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import islice

from diffea.distributed.function import Templates
from diffea.distributed.lanes import InProcess
from diffea.distributed.ledger import Ledger
from diffea.distributed.shards import Source
from diffea.distributed.storage import budget_of
from diffea.events.batches import batches_of
from diffea.events.blocks import block_rows
from diffea.events.columns import branches
from diffea.events.filesets import Chunk, File
from diffea.events.plan import plan
from diffea.events.servers import check_options
from diffea.portable import Portable
from diffea.program import Program
from diffea.runtime import versions
from diffea.types import Fileset


@dataclasses.dataclass(frozen=True)
class Glance:
    """A part of a dataset.

    Attributes:
        file: that it begins with.
        templates: of the events read.
        entries: of all files of the dataset.
        read: of them.
        branches: that ``columns`` asked for; empty where the schema does not tell.
    """

    file: File
    templates: Templates
    entries: int
    read: int
    branches: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What yields are multiplied by, as if all entries were like those read."""
        return self.entries / self.read


def glance(
    program: Program,
    fileset: Fileset,
    schemaclass: type,
    chunksize: int,
    chunks: int,
    uproot_options: Mapping[str, object] | None = None,
) -> list[Glance]:
    """The first chunks of each dataset, in this process.

    Args:
        program: of the processor.
        fileset: coffea's own.
        schemaclass: of NanoEvents.
        chunksize: entries that are read at once.
        chunks: how many of each dataset.
        uproot_options: by which files on servers are opened.

    Raises:
        FilesetError, FileReadError, MissingBranchError, ColumnError, NotFiniteError: as of ``distribute``.
    """
    planned: dict[str, list[Chunk]] = {}
    for chunk in plan(fileset, chunksize, options=check_options(uproot_options))[0]:
        planned.setdefault(chunk.file.dataset, []).append(chunk)
    pairs = [(all_, list(islice(all_, chunks))) for all_ in planned.values()]
    block = block_rows(
        batch.rows for _, some in pairs for batch in batches_of(some)
    )  # one, to compile as little as may be
    return [_glance(program, schemaclass, block, *pair) for pair in pairs]


def _glance(program: Program, schemaclass: type, block: int, planned: list[Chunk], chunks: list[Chunk]) -> Glance:
    batches, lane = batches_of(chunks), InProcess()
    source = Source(program, Portable(schemaclass), None, block, len(batches), False, budget_of("auto"), versions())
    templates = Templates(program, lane, Ledger.of(chunks, lane.load(source, batches), ()), "auto")
    entries, read = (sum(chunk.rows for chunk in some) for some in (planned, chunks))
    asked = branches(chunks[0], program.processor.columns, schemaclass)
    return Glance(chunks[0].file, templates, entries, read, asked)
