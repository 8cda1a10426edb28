"""Lanes: where shards live and steps run: in this process, or on a dask cluster."""

from __future__ import annotations

import logging
import uuid
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import jax
from dask.base import annotate
from distributed import CancelledError, Client, Future, KilledWorker

from diffea.distributed.reduction import Partial, merge, reduce
from diffea.distributed.shards import Content, Shard, Source, load
from diffea.distributed.steps import AnyMode, step
from diffea.errors import ClusterError
from diffea.events.batches import Batch, shares
from diffea.portable import Portable
from diffea.runtime import cores
from diffea.templates import Layout
from diffea.types import PyTree

log = logging.getLogger(__name__)

LARGE = 100_000  # bytes of parameters above which they travel once a worker
ATTEMPTS = 10
PATIENCE = 0.001  # seconds for which a message to the scheduler waits for others: dask's 10 ms are much of a step
FAN_IN = 32  # sums that one task adds up, so that no worker has to take in those of a large cluster

T = TypeVar("T")
R = TypeVar("R")
TaskKey: TypeAlias = tuple[str, int]
Read: TypeAlias = tuple[Callable[[Source, Sequence[Batch]], Shard], Source, Sequence[Batch]]


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

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        return self._pool.map(function, items)

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        runs = shares(batches, 2 * self.workers)  # two a thread even out unlike batches
        self._shards = list(self._pool.map(lambda run: load(source, run), runs))
        return [Content.of(shard) for shard in self._shards]

    def step(self, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> Partial:
        return merge(self._pool.map(lambda shard: step(shard, mode, layout, *arguments), self._shards))

    def close(self) -> None:
        self._shards = []
        self._pool.shutdown()


class OnCluster:
    """Shards as futures of tasks on a dask cluster, so that dask reads again what a lost worker held.

    Dask gives a task up whose workers died several times. Since whole machines may be lost under it, such a task is
    submitted anew, with the same result, a number of times without success before the run stops.

    Args:
        client: of the cluster.
        name: by which the dashboard shows the tasks.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client: Any = client
        _hurry(client)
        self._name = name
        self._closed = False
        self._reads: list[Read] = []
        self._shards: list[Future] = []
        self._places: dict[Hashable, Sequence[str]] = {}
        self._last: Future | None = None

    @property
    def workers(self) -> int:
        return max(sum(self._client.nthreads().values()), 1)

    @property
    def remote(self) -> int:
        return len(self._shards)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        self._wait()
        key = f"{self._name}.plan"
        return self._persist(lambda: self._client.gather(self._client.map(function, items, key=key, pure=False)))

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        self._wait()
        slots = [address for address, threads in sorted(self._client.nthreads().items()) for _ in range(threads)]
        runs = shares(batches, len(slots))
        self._reads = [(load, source, run) for run in runs]
        places = [[slots[number * len(slots) // len(runs)]] for number in range(len(runs))]
        self._shards = [
            self._submit("read", *read, places=place) for read, place in zip(self._reads, places, strict=True)
        ]

        def contents() -> list[Content]:  # asked for where the shards are: elsewhere would be a second copy of them
            pairs = zip(self._shards, places, strict=True)
            return self._client.gather(
                [self._submit("content", Content.of, shard, places=place) for shard, place in pairs]
            )

        found: list[Content] = self._persist(contents)
        self._places = self._client.who_has(self._shards)
        return found

    def step(self, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> Partial:
        return self._persist(lambda: self._graph(mode, layout, arguments).result())

    def _graph(self, mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...]) -> Future:
        """The sum over all shards, as a future: a step is one graph, which costs the scheduler less than its tasks one by one.

        A step goes to its shard, however large the parameters, and sums are added up where the first of them is. A key of two
        parts makes each task a group of its own: dask would spread those of a group that grows with every step, as it does those that
        only read, without regard to where their shards are.
        """
        graph: dict[TaskKey, tuple[object, ...]] = {}
        places: dict[TaskKey, Sequence[str]] = {}
        number = uuid.uuid4().hex

        def add(what: str, where: Sequence[str], function: Callable[..., object], *inputs: object) -> TaskKey:
            key = f"{self._name}.{what}-{number}{len(graph)}", 0
            graph[key], places[key] = (function, *inputs), where
            return key

        sent = []
        if sum(leaf.nbytes for leaf in jax.tree.leaves(arguments)) > LARGE:
            sent = [add("send", (), partial(_same, argument)) for argument in arguments]
            arguments = ()
        at_shard = partial(_step, mode, layout, arguments)
        sums = [add(mode, self._places.get(shard.key, ()), at_shard, shard, *sent) for shard in self._shards]
        while len(sums) > FAN_IN:
            groups = [sums[start : start + FAN_IN] for start in range(0, len(sums), FAN_IN)]
            sums = [add("reduce", places[group[0]], reduce, group) for group in groups]
        last = add("reduce", places[sums[0]], reduce, sums)
        with annotate(workers=places.get, allow_other_workers=True):
            whole = self._client.get(graph, last, sync=False)
        self._last = whole  # let go of when the next step is on its way, which it would keep waiting
        return whole

    def close(self) -> None:
        self._shards, self._last = [], None
        if not self._closed:
            self._closed = True
            _relax(self._client)

    def _submit(
        self, what: str, function: Callable[..., object], *arguments: object, places: Sequence[str] | None = None
    ) -> Future:
        """Run a task at one of these places, or anywhere once none of them is left."""
        key = f"{self._name}.{what}-{uuid.uuid4().hex}", 0
        where = {"workers": list(places), "allow_other_workers": True} if places else {}
        return self._client.submit(function, *arguments, key=key, pure=False, **where)

    def _wait(self) -> None:
        """Wait for a worker, and say so, since it may be for ever."""
        if not self._client.nthreads():
            log.warning("waiting for workers: the dask scheduler at %s has none", self._client.scheduler.address)
            self._client.wait_for_workers(1)

    def _persist(self, attempt: Callable[[], T]) -> T:
        lost: list[str] = []
        while len(lost) < ATTEMPTS:
            try:
                return attempt()
            except Exception as error:
                if self._client.status != "running":
                    msg = "the dask scheduler is lost; start the cluster again and resume from the checkpoint"
                    raise ClusterError(msg) from error
                if not isinstance(error, KilledWorker | CancelledError):
                    raise
                lost.append(str(error))
            self._wait()
            self._shards = [
                self._submit("read", *read) if shard.status in ("error", "cancelled", "lost") else shard
                for read, shard in zip(self._reads, self._shards, strict=True)
            ]
        msg = f"workers died under the same work {ATTEMPTS} times (out of memory?); the last time: {lost[-1]}"
        raise ClusterError(msg)


_hurried: weakref.WeakKeyDictionary[Client, tuple[int, float]] = weakref.WeakKeyDictionary()


def _hurry(client: Any) -> None:
    """Let the client's messages wait for others no longer than ``PATIENCE``, until ``_relax`` was called as often as this."""
    lanes, usual = _hurried.get(client, (0, client.scheduler_comm.interval))
    _hurried[client] = lanes + 1, usual
    client.scheduler_comm.interval = PATIENCE


def _relax(client: Any) -> None:
    lanes, usual = _hurried.pop(client)
    if lanes > 1:
        _hurried[client] = lanes - 1, usual
    elif client.scheduler_comm:  # None where the client was closed before
        client.scheduler_comm.interval = usual


def _same(value: T) -> T:
    return value


def _step(
    mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...], shard: Shard, *sent: PyTree
) -> Partial:
    """A step, with arguments that come with the task or were sent ahead of it."""
    return step(shard, mode, layout, *(sent or arguments))
