"""Gathered: the selected events of a split in this process, for what learns from tables, such as boosted trees."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import awkward as ak
from coffea.nanoevents import NanoAODSchema

from diffea.events.columns import Columns, concatenate, read
from diffea.events.filesets import Chunk
from diffea.events.kinds import EventArray, is_jagged
from diffea.events.patience import patiently
from diffea.events.plan import plan
from diffea.events.scalars import Static
from diffea.events.servers import check_options
from diffea.events.splits import Split
from diffea.processor import DifferentiableProcessor
from diffea.types import Fileset


@dataclasses.dataclass(frozen=True)
class Gathered:
    """The selected events of a dataset.

    Attributes:
        sample: that it belongs to.
        columns: as ``processor.columns`` made them: NumPy arrays of one entry an event, awkward where these are lists; plain Python
            values as they are.
        events: how many.
        scale: what weights are to be multiplied with, to stand for all events.
    """

    sample: str
    columns: Mapping[str, EventArray | Static]
    events: int
    scale: float


def gathered(
    processor: DifferentiableProcessor,
    fileset: Fileset,
    *,
    split: Split | None = None,
    schemaclass: type = NanoAODSchema,
    chunksize: int = 100_000,
    uproot_options: Mapping[str, object] | None = None,
) -> dict[str, Gathered]:
    """The very events that ``distribute`` would hold with this split, in the memory of this process.

    Args:
        processor: whose ``columns`` are read.
        fileset: coffea's own; datasets that are marked as data are left alone.
        split: keep its train part only, or the part that it names.
        schemaclass: of NanoEvents.
        chunksize: entries that are read at once.
        uproot_options: by which files on servers are opened, see ``distribute``.

    Returns:
        by dataset.

    Raises:
        FilesetError, FileReadError, MissingBranchError, ColumnError, NotFiniteError: as of ``distribute``.
    """
    chunks: dict[str, list[Chunk]] = {}
    for chunk in plan(fileset, chunksize, options=check_options(uproot_options))[0]:
        chunks.setdefault(chunk.file.dataset, []).append(chunk)
    scale = 1.0 if split is None else split.scale
    found: dict[str, Gathered] = {}
    for dataset, parts in chunks.items():
        all_ = concatenate([_read(chunk, processor, schemaclass, split) for chunk in parts])
        arrays = {name: array if is_jagged(array) else ak.to_numpy(array) for name, array in all_.arrays.items()}
        found[dataset] = Gathered(parts[0].file.sample, {**arrays, **all_.static}, all_.rows, scale)
    return found


def _read(chunk: Chunk, processor: DifferentiableProcessor, schemaclass: type, split: Split | None) -> Columns:
    ask = partial(read, chunk, processor.columns, schemaclass, split)
    return patiently(ask, chunk.file.path, chunk.file.options)
