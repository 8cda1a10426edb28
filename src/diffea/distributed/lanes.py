"""Lanes: where shards live and steps run: in this process, or on a dask cluster (``cluster``)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from diffea.distributed import compiling
from diffea.distributed.reading import Reading
from diffea.distributed.reduction import Partial, merge
from diffea.distributed.shards import Content, Shard, Source, load
from diffea.distributed.steps import AnyMode, step
from diffea.events.batches import Batch, shares
from diffea.portable import Portable
from diffea.runtime import cores
from diffea.templates import Layout
from diffea.types import PyTree

FAN_IN = 32  # sums that one task adds up, so that no worker has to take in those of a large cluster

T = TypeVar("T")
R = TypeVar("R")


class Lane(Protocol):
    """What ``distribute`` needs of a place to run."""

    @property
    def workers(self) -> int:
        """How many tasks run at once."""

    @property
    def remote(self) -> int:
        """How many tasks a pass sends to other processes."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        """Apply a function to each item."""

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        """Read all batches, and keep them."""

    def step(self, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> Partial:
        """Sum over all batches; arguments as for ``steps.step``."""

    def close(self) -> None:
        """Let go of the shards."""


class InProcess:
    """Shards in this process, one thread a core."""

    remote = 0

    def __init__(self) -> None:
        self.workers = cores()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="diffea")
        self._shards: list[Shard] = []
        self._known: set[Hashable] = set()

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        return self._pool.map(function, items)

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        runs = shares(batches, 2 * self.workers)  # two a thread even out unlike batches
        reading = Reading(runs)
        self._shards = []
        for shard in self._pool.map(lambda run: load(source, run), runs):
            self._shards.append(shard)
            reading.tell([number < len(self._shards) for number in range(len(runs))])
        contents = [Content.of(shard) for shard in self._shards]
        reading.end(contents)
        return contents

    def step(self, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> Partial:
        if (kind := compiling.kind_of(mode, layout, arguments)) not in self._known:
            compiling.tell(mode)
        partial = merge(self._pool.map(lambda shard: step(shard, mode, layout, *arguments), self._shards))
        self._known.add(kind)
        return partial

    def close(self) -> None:
        self._shards = []
        self._pool.shutdown()
