"""A dask cluster as a lane: shards are results of tasks, and go where the workers are."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
import uuid
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
from dask.base import annotate
from dask.typing import Key
from distributed import CancelledError, Client, Future, KilledWorker, Scheduler, wait

from diffea.distributed.hurry import hurry, relax
from diffea.distributed.keeping import keep_workers
from diffea.distributed.places import assign, divide
from diffea.distributed.reading import Reading
from diffea.distributed.reduction import Partial, reduce
from diffea.distributed.shards import Bundle, Content, MovedError, Shard, Source, bundle, load
from diffea.distributed.steps import AnyMode, step
from diffea.distributed.stragglers import Durations, Suspects
from diffea.distributed.watch import POLL, Watch
from diffea.errors import ClusterError, WorkerMismatchError
from diffea.events.batches import Batch, shares
from diffea.portable import Portable
from diffea.templates import Layout
from diffea.types import PyTree

log = logging.getLogger(__name__)

LARGE = 100_000  # bytes of parameters above which they travel once a worker
DEATHS = 40  # under one piece of work
GIVEN_UP = 4  # deaths after which dask gives a task up
FAN_IN = 32  # sums that one task adds up, so that no worker has to take in those of a large cluster
UNREADABLE = "deserialization of the task graph"  # in dask's error
MOST = 4096  # shards: each costs the scheduler a task to read, and its worker's memory

T = TypeVar("T")
R = TypeVar("R")
TaskKey: TypeAlias = tuple[str, int]
Read: TypeAlias = tuple[Callable[[Source, Sequence[Batch]], Shard], Source, Sequence[Batch]]


class GoneError(Exception):
    """A worker that a task was bound to is not there any more."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """A graph on its way.

    Attributes:
        whole: its result.
        places: which workers have to be there for it.
        keys: of the tasks that are bound to them.
    """

    whole: Future
    places: frozenset[str]
    keys: frozenset[Hashable]


class OnCluster:
    """Shards as futures of tasks on a dask cluster, so that dask reads again what a lost worker held.

    A shard is a batch, as long as they are not too many. It may be read anywhere, and dask may move it. The shards that a thread is to
    compute are its *bundle*: a task at their worker that only names them, so that a step is a task a thread however many the shards are.
    Bundles and steps are bound to their workers, without which dask would never run them: while this waits, it watches
    the workers, and sends anew what has lost its place. Between steps bundles follow the workers that join and leave.

    Dask gives a task up whose workers died several times. Since whole machines may be lost under it, such a task is
    submitted anew, with the same result, a number of times without success before the run stops.

    Args:
        client: of the cluster.
        name: by which the dashboard shows the tasks.
        timeout: seconds for which it may be without a worker.
    """

    def __init__(self, client: Client, name: str, timeout: float | None = None) -> None:
        self._client: Any = client
        hurry(client)
        keep_workers(client)
        self._name = name
        self._closed = False
        self._watch = Watch(client, timeout)
        self._suspects = Suspects(lambda place: self._send("ping", [(_same, place)], [[place]])[0])
        self._durations = Durations()
        self._known: set[Hashable] = set()
        self._reads: list[Read] = []
        self._rows: list[int] = []
        self._shards: list[Any] = []
        self._bound: dict[int, str | None] = {}
        self._homes: list[str | None] = []
        self._threads: dict[str, int] = {}
        self._bundles: dict[tuple[str, tuple[Hashable, ...]], Future] = {}
        self._moving = False
        self._last: Future | None = None

    @property
    def workers(self) -> int:
        return max(sum(self._watch.threads.values()), 1)

    @property
    def remote(self) -> int:
        return len(self._bundles)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        def attempt() -> list[R]:
            futures = self._client.map(function, items, key=f"{self._name}.plan", pure=False)
            while not self._some(futures):
                self._watch.look()
            found: list[R] = self._client.gather(futures)
            return found

        return self._persist(attempt)

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        runs = [(batch,) for batch in batches] if len(batches) <= MOST else shares(batches, MOST)
        self._reads = [(load, source, run) for run in runs]
        self._rows = [sum(batch.rows for batch in run) for run in runs]
        self._homes = [None] * len(runs)
        slots = [place for place, threads in sorted(self._watch.look().items()) for _ in range(threads)]
        parts = divide(self._rows, len(slots)) if slots else []
        at = {number: slots[part * len(slots) // len(parts)] for part, run in enumerate(parts) for number in run}
        self._shards = [None] * len(runs)
        self._read({number: at.get(number) for number in range(len(runs))})
        reading = Reading([run for _, _, run in self._reads])
        found = self._persist(lambda: self._contents(reading))
        reading.end(found)
        return found

    def step(self, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> Partial:
        return self._persist(lambda: self._pass(mode, layout, arguments))

    def close(self) -> None:
        self._shards, self._bundles, self._last = [], {}, None
        if not self._closed:
            self._closed = True
            relax(self._client)

    def _send(
        self,
        what: str,
        tasks: Sequence[tuple[object, ...]],
        places: Sequence[Sequence[str]],
        *,
        strict: bool = True,
        group: bool = False,
    ) -> list[Future]:
        """Run tasks, each at one of its places (anywhere, for none).

        A key of two parts makes each task a group of its own: dask would spread those of a group that grows, as it does those that
        only read, without regard to where their shards are.
        """
        number = uuid.uuid4().hex
        keys = [(f"{self._name}.{what}-{number}" + ("" if group else f"{n}"), n * group) for n in range(len(tasks))]
        where = dict(zip(keys, map(list, places), strict=True))
        with annotate(workers=where.get, allow_other_workers=not strict):
            futures: list[Future] = self._client.get(dict(zip(keys, tasks, strict=True)), keys, sync=False)
        return futures

    def _read(self, places: Mapping[int, str | None]) -> None:
        """Read these shards, first at these places; dask may divide them among others that join."""
        if places:
            self._bound.update(places)
            where = [[place] if place else [] for place in places.values()]
            tasks = [self._reads[number] for number in places]
            for number, shard in zip(places, self._send("read", tasks, where, strict=False, group=True), strict=True):
                self._shards[number] = shard

    def _held(self, reading: Reading | None, stop: Callable[[], bool]) -> bool:
        """Wait until every shard is held, unless there is reason to stop waiting."""
        readers = self._watch.threads
        while not self._some(self._shards):
            if stop():
                return False
            threads = self._suspects.trusted(self._watch.look())
            if reading:
                reading.tell([shard.status == "finished" for shard in self._shards])
            if threads and threads != readers:
                readers = threads
                self._share(threads)
        return True

    def _share(self, threads: Mapping[str, int]) -> None:
        """Let workers that joined read a part of what has not been begun, and others what workers that are gone did not finish."""
        at_work = {key for keys in self._client.processing().values() for key in keys}
        open_numbers = [
            number
            for number, shard in enumerate(self._shards)
            if shard.status == "pending" and (self._bound[number] or shard.key not in at_work)
        ]
        bound = [place if (place := self._bound[number]) in threads else None for number in open_numbers]
        places = assign([self._rows[number] for number in open_numbers], bound, threads) if open_numbers else []
        moved = zip(open_numbers, bound, places, strict=True)
        self._read({number: place for number, before, place in moved if place != before})

    def _some(self, futures: Sequence[Future]) -> bool:
        """Whether all of these are there, after some waiting.

        Raises:
            what one of them does.
        """
        if pending := [future for future in futures if future.status == "pending"]:
            with contextlib.suppress(TimeoutError), self._client.as_current():
                wait(pending, timeout=POLL)
        for future in futures:
            if future.status == "error":
                future.result()
            if future.status in ("cancelled", "lost"):
                raise CancelledError(future.key)
        return all(future.status == "finished" for future in futures)

    def _settle(self, reading: Reading | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        """Give each thread its bundle, as the workers are now."""
        threads = self._suspects.trusted(self._watch.threads)
        if threads == self._threads and all(future.status == "finished" for future in self._bundles.values()):
            return
        if not self._held(reading, stop):
            return
        threads = self._suspects.trusted(self._watch.wait())
        holders = self._client.who_has(self._shards)
        homes = [
            home if home in threads else min(threads.keys() & set(holders.get(shard.key, ())), default=None)
            for home, shard in zip(self._homes, self._shards, strict=True)
        ]
        self._homes = list(assign(self._rows, homes, threads))
        groups: list[tuple[str, list[Future]]] = []
        for place, number in sorted(threads.items()):
            here = [n for n, home in enumerate(self._homes) if home == place]
            for run in divide([self._rows[n] for n in here], number):
                groups.append((place, [self._shards[here[position]] for position in run]))
        usable = {key: future for key, future in self._bundles.items() if future.status in ("finished", "pending")}
        wanted = {(place, tuple(shard.key for shard in shards)): shards for place, shards in groups}
        new = [key for key in wanted if key not in usable]
        made = self._send("bundle", [(bundle, wanted[key]) for key in new], [[place] for place, _ in new])
        usable.update(zip(new, made, strict=True))
        if new:
            self._known.clear()  # what is compiled where is open again
            self._moving = True
        self._bundles = {key: usable[key] for key in wanted}
        self._threads = threads

    def _contents(self, reading: Reading) -> list[Content]:
        self._settle(reading)
        places = [[place] for place, _ in self._bundles]
        found = self._send("content", [(Content.of, future) for future in self._bundles.values()], places)
        (listed,) = self._send("contents", [(list, found)], [[]])
        try:
            return self._result(Sent(listed, frozenset(place for (place,) in places), frozenset()))
        finally:
            for future in (listed, *found):  # which errors of the waiting above may hold on to
                future.release()

    def _pass(self, mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...]) -> Partial:
        """A step, of which a late worker's part is computed a second time elsewhere."""
        self._settle()
        kind = mode, layout.token, tuple(leaf.shape for leaf in jax.tree.leaves(arguments))
        if kind not in self._known:
            log.info("a pass for %s: workers that have not done so yet compile it first", mode)
        began = time.monotonic()
        first = self._graph(mode, layout, arguments)
        limit = self._durations.late(kind) + (
            0.0 if kind in self._known else 60.0
        )  # what moved may have to be compiled
        while (partial := self._result(first, began + limit)) is None:
            limit *= 2
            if late := self._late(first):
                partial = self._second(first, late, lambda: self._graph(mode, layout, arguments))
                break
        if self._moving:  # no longer: all bundles are there
            homes = {shard.key: home for shard, home in zip(self._shards, self._homes, strict=True)}
            self._client.run_on_scheduler(_drop_copies, homes=homes)
            self._moving = False
        if kind in self._known:
            self._durations.add(kind, time.monotonic() - began)
        self._known.add(kind)
        return partial

    def _graph(self, mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...]) -> Sent:
        """The sum over all shards: a step is one graph, which costs the scheduler less than its tasks one by one.

        A step goes to its bundle, however large the parameters, and sums are added up where the first of them is.
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
        at_bundle = partial(_step, mode, layout, arguments)
        sums = [add(mode, [place], at_bundle, future, *sent) for (place, _), future in self._bundles.items()]
        while len(sums) > FAN_IN:
            groups = [sums[start : start + FAN_IN] for start in range(0, len(sums), FAN_IN)]
            sums = [add("reduce", places[group[0]], reduce, group) for group in groups]
        last = add("reduce", places[sums[0]], reduce, sums)
        with annotate(workers=places.get, allow_other_workers=False):
            whole = self._client.get(graph, last, sync=False)
        self._last = whole  # let go of when the next step is on its way, which it would keep waiting
        return Sent(whole, frozenset(place for where in places.values() for place in where), frozenset(graph))

    def _result(self, sent: Sent, until: float = math.inf) -> Any:
        """What came of it; None if it is not there by then.

        Raises:
            GoneError: if a worker went away that it was bound to.
        """
        patience = POLL
        while (now := time.monotonic()) < until:
            try:
                return sent.whole.result(timeout=min(patience, until - now))
            except TimeoutError:
                if sent.whole.status == "error":
                    raise
            if sent.whole.status == "finished":
                patience *= 2  # it takes its time to arrive
            self._check(sent)
        return None

    def _check(self, sent: Sent) -> None:
        if gone := sent.places - self._watch.look().keys():
            self._suspects.add(gone & self._watch.stalled)
            raise GoneError(", ".join(sorted(gone)))

    def _late(self, sent: Sent) -> set[str]:
        """The workers that a step waits for, if others are done with it."""
        running = self._client.processing()
        late = {place for place, keys in running.items() if sent.keys & set(keys)}
        return late if self._suspects.trusted(self._watch.threads).keys() - late else set()

    def _second(self, first: Sent, late: Collection[str], again: Callable[[], Sent]) -> Partial:
        """The sum without these workers, or with them if that is there first."""
        names = ", ".join(sorted(late))
        log.warning(
            "a step waits for %s, longer than twice the usual: its shards are read and computed elsewhere", names
        )
        self._suspects.add(late)
        helpers = self._suspects.trusted(self._watch.threads)
        numbers = [number for number, home in enumerate(self._homes) if home in late]
        self._read(
            dict(zip(numbers, assign([self._rows[n] for n in numbers], [None] * len(numbers), helpers), strict=True))
        )
        for number in numbers:
            self._homes[number] = None
        self._threads = {}
        self._settle(stop=first.whole.done)
        running = [first] if first.whole.done() else [again(), first]
        while not (ready := [sent for sent in running if sent.whole.done()]):
            try:
                with self._client.as_current():
                    wait([sent.whole for sent in running], timeout=POLL, return_when="FIRST_COMPLETED")
            except TimeoutError:
                self._check(running[0])
        try:
            return self._result(ready[0])
        finally:
            for sent in running:
                if sent is not ready[0]:
                    sent.whole.release()

    def _persist(self, attempt: Callable[[], T]) -> T:
        deaths = 0
        while True:
            try:
                return attempt()
            except Exception as error:
                if self._client.status != "running":
                    msg = "the dask scheduler is lost; start the cluster again and resume from the checkpoint"
                    raise ClusterError(msg) from error
                if isinstance(error, RuntimeError) and UNREADABLE in str(error):
                    msg = (
                        f"the dask scheduler cannot read what the driver sent ({error.__cause__}): it needs the packages behind the fileset's "
                        "metadata, as the workers do; install them where the scheduler runs, or leave such objects away"
                    )
                    raise WorkerMismatchError(msg) from error
                if not isinstance(error, KilledWorker | CancelledError | GoneError | MovedError):
                    raise
                deaths += GIVEN_UP if isinstance(error, KilledWorker) else 1
                if deaths >= DEATHS:
                    msg = f"workers died under the same work {deaths} times (out of memory?); the last time: {error}"
                    raise ClusterError(msg) from error
            self._threads = {}
            self._watch.wait()
            lost = (n for n, shard in enumerate(self._shards) if shard.status in ("error", "cancelled", "lost"))
            self._read(dict.fromkeys(lost))


def _same(value: T) -> T:
    return value


def _step(
    mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...], shard: Bundle, *sent: PyTree
) -> Partial:
    """A step, with arguments that come with the task or were sent ahead of it."""
    return step(shard, mode, layout, *(sent or arguments))


def _drop_copies(dask_scheduler: Scheduler, homes: Mapping[Key, str | None]) -> None:
    """Leave each of these results where it belongs, and nowhere else."""
    for key, home in homes.items():
        task = dask_scheduler.tasks.get(key)
        holders = [worker.address for worker in task.who_has or ()] if task else []
        for other in holders if home in holders else ():
            if other != home:
                dask_scheduler.request_remove_replicas(other, [key], stimulus_id=f"diffea-moved-{time.time()}")
