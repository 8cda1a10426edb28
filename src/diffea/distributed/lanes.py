"""Lanes: where shards live and steps run: in this process, or on a dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import jax

from diffea.distributed.reduction import Partial, merge
from diffea.distributed.shards import Content, Shard, Source, content, load, step
from diffea.events.batches import Batch, shares
from diffea.runtime import Portable

LARGE = 100_000


class Lane(Protocol):
    """What ``distribute`` needs of a place to run."""

    @property
    def workers(self) -> int:
        """How many tasks run at once."""

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> Iterable[Any]:
        """Apply a function to each item."""

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        """Read all batches, and keep them."""

    def step(self, mode: Any, layout: Portable, params: Any, *more: Any) -> Partial:
        """Sum over all batches; arguments as for ``shards.step``."""

    def close(self) -> None:
        """Let go of the shards."""


class InProcess:
    """Shards in this process, one thread a core."""

    def __init__(self) -> None:
        self.workers = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="diffea")
        self._shards: list[Shard] = []

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> Iterable[Any]:
        return self._pool.map(function, items)

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        runs = shares(batches, _shards_for(self.workers))
        self._shards = list(self._pool.map(lambda run: load(source, run), runs))
        return [content(shard) for shard in self._shards]

    def step(self, mode: Any, layout: Portable, params: Any, *more: Any) -> Partial:
        return merge(self._pool.map(lambda shard: step(shard, mode, layout, params, *more), self._shards))

    def close(self) -> None:
        self._shards = []
        self._pool.shutdown()


class OnCluster:
    """Shards as futures of tasks on a dask cluster, so that dask reads again what a lost worker held.

    Args:
        client: of the cluster.
        name: by which the dashboard shows the tasks.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._shards: list[Any] = []

    @property
    def workers(self) -> int:
        return max(sum(self._client.nthreads().values()), 1)

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> Iterable[Any]:
        return self._client.gather(self._client.map(function, items, pure=False, retries=2))

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        self._client.wait_for_workers(1)
        slots = [address for address, threads in sorted(self._client.nthreads().items()) for _ in range(threads)]
        runs = shares(batches, _shards_for(len(slots)))
        self._shards = [
            self._client.submit(
                load,
                source,
                run,
                key=f"{self._name}-read-{source.processor.digest[:8]}-{id(self):x}-{number}",
                workers=[slots[number * len(slots) // len(runs)]],
                allow_other_workers=True,
                retries=2,
            )
            for number, run in enumerate(runs)
        ]
        return self._client.gather(self._client.map(content, self._shards, pure=False))

    def step(self, mode: Any, layout: Portable, params: Any, *more: Any) -> Partial:
        arguments = (params, *more)
        if sum(leaf.nbytes for leaf in jax.tree.leaves(arguments)) > LARGE:
            arguments = tuple(self._client.submit(_same, argument, pure=False) for argument in arguments)
        partials = [
            self._client.submit(step, shard, mode, layout, *arguments, pure=False, key=None) for shard in self._shards
        ]
        return self._client.submit(merge, partials, pure=False, key=None).result()

    def close(self) -> None:
        self._shards = []


def _shards_for(workers: int) -> int:
    """Two shards a worker even out unlike batches; on large clusters the scheduler's time a task matters more."""
    return 2 * workers if workers <= 16 else workers


def _same(value: Any) -> Any:
    return value
