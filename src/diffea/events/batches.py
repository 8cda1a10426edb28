"""Batches: consecutive chunks of a dataset that are computed as one, so that small chunks cost no more than large ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from diffea.events.filesets import Chunk, File

ROWS = 131_072


@dataclasses.dataclass(frozen=True)
class Batch:
    """The unit of partial sums; batches depend on the data and the chunk size, never on the workers.

    Attributes:
        index: its place in the fixed order of summation.
        chunks: of one dataset, in order.
    """

    index: int
    chunks: tuple[Chunk, ...]

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)

    @property
    def file(self) -> File:
        return self.chunks[0].file


def batches_of(chunks: Iterable[Chunk]) -> list[Batch]:
    """Coalesce consecutive chunks of a dataset until a batch has at least ``ROWS`` rows."""
    groups: list[list[Chunk]] = []
    for chunk in chunks:
        full = groups and sum(other.rows for other in groups[-1]) >= ROWS
        if not groups or full or groups[-1][0].file.dataset != chunk.file.dataset:
            groups.append([])
        groups[-1].append(chunk)
    return [Batch(index, tuple(group)) for index, group in enumerate(groups)]


def shares(batches: Sequence[Batch], number: int) -> list[tuple[Batch, ...]]:
    """Divide the batches, in order, into at most ``number`` runs of about equal rows."""
    total = sum(batch.rows for batch in batches) or 1
    runs: list[list[Batch]] = [[] for _ in range(number)]
    before = 0
    for batch in batches:
        middle = before + batch.rows / 2
        runs[min(int(middle / total * number), number - 1)].append(batch)
        before += batch.rows
    return [tuple(run) for run in runs if run]
