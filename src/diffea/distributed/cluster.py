"""A dask cluster as a lane: shards are results of tasks, and go where the workers are."""

from __future__ import annotations

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
from distributed import CancelledError, Client, Future, KilledWorker, Scheduler

from diffea.distributed import compiling, lanes
from diffea.distributed.direct import Asked, Direct, NoAnswerError, opened
from diffea.distributed.holding import Holding
from diffea.distributed.hurry import hurry, relax
from diffea.distributed.keeping import keep_workers
from diffea.distributed.reading import Reading
from diffea.distributed.reduction import Partial, reduce
from diffea.distributed.sending import NOT_YET, Sender
from diffea.distributed.shards import Bundle, Content, MovedError, Source
from diffea.distributed.steps import AnyMode, step
from diffea.distributed.stragglers import Durations, Sharing, Suspects, sharing
from diffea.distributed.watch import POLL, Watch
from diffea.errors import ClusterError, WorkerMismatchError
from diffea.events.batches import Batch
from diffea.portable import Portable
from diffea.templates import Layout
from diffea.types import PyTree

log = logging.getLogger(__name__)

LARGE = 100_000  # bytes of parameters above which they travel once a worker
DEATHS = 40  # under one piece of work
GIVEN_UP = 4  # deaths after which dask gives a task up
BETWEEN = 0.01  # seconds between two looks at a step that is done, or at which of two copies of it is there first
PATIENT = 60.0  # seconds for which a sum may take to arrive before it is asked for again
COMPILING = 60.0  # seconds that a first pass may take beyond the usual, such as at a worker that joined
UNREADABLE = "deserialization of the task graph"  # in dask's error

T = TypeVar("T")
R = TypeVar("R")
TaskKey: TypeAlias = tuple[str, int]


class GoneError(Exception):
    """A worker that a task was bound to is not there any more."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """What was asked of the workers.

    Attributes:
        whole: its result, on its way.
        places: which workers have to be there for it.
        silent: tells which of them have not done their part.
    """

    whole: Future | Asked
    places: frozenset[str]
    silent: Callable[[], set[str]] = set


class OnCluster:
    """Shards as futures of tasks on a dask cluster, so that dask reads again what a lost worker held.

    A shard is a batch, as long as they are not too many. It may be read anywhere, and dask may move it. The shards that a thread is to
    compute are its *bundle*: a task at their worker that only names them, so that a step is a task a thread however many the shards are.
    Bundles and steps are bound to their workers, without which dask would never run them: while this waits, it watches
    the workers, and sends anew what has lost its place. Between steps bundles follow the workers that join and leave.
    Most steps are direct, see ``direct``; those that find something changed are graphs.

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
        self._sender = Sender(client, name)
        self._watch = Watch(client, timeout)
        self._suspects = Suspects(lambda place: self._sender.send("ping", [(_same, place)], [[place]])[0])
        self._holding = Holding(client, self._sender, self._watch, self._suspects)
        self._direct = Direct(client)
        self._durations = Durations()
        self._known: set[Hashable] = set()
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
            while not self._sender.ready(futures):
                self._watch.look()
            found: list[R] = self._client.gather(futures)
            return found

        return self._persist(attempt)

    def load(self, source: Source, batches: Sequence[Batch]) -> list[Content]:
        reading = self._holding.begin(source, batches)
        found = self._persist(lambda: self._contents(reading))
        reading.end(found)
        return found

    def step(self, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> Partial:
        with sharing(self._client) as shared:
            return self._persist(lambda: self._pass(shared, mode, layout, arguments))

    def close(self) -> None:
        self._let_go()
        self._holding.shards, self._bundles = [], {}
        if not self._closed:
            self._closed = True
            relax(self._client)

    def _let_go(self) -> None:
        """Release the last step, on which errors of waiting for it may hold."""
        if self._last is not None:
            self._last.release()
            self._last = None

    def _settle(self, reading: Reading | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        """Give each thread its bundle, as the workers are now."""
        threads = self._suspects.trusted(self._watch.threads)
        if threads == self._threads and all(future.status == "finished" for future in self._bundles.values()):
            return
        if not self._holding.wait(reading, stop):
            return
        threads = self._suspects.trusted(self._watch.wait())
        groups = self._holding.settle(threads)
        wanted = {(place, tuple(shard.key for shard in shards)): shards for place, shards in groups}
        usable = {key: future for key, future in self._bundles.items() if future.status in ("finished", "pending")}
        new = [key for key in wanted if key not in usable]
        made = self._sender.send("bundle", [(opened, wanted[key]) for key in new], [[place] for place, _ in new])
        usable.update(zip(new, made, strict=True))
        if new:
            self._known.clear()  # what is compiled where is open again
            self._moving = True
        self._bundles = {key: usable[key] for key in wanted}
        self._threads = threads

    def _contents(self, reading: Reading) -> list[Content]:
        self._settle(reading)
        places = [[place] for place, _ in self._bundles]
        found = self._sender.send("content", [(Content.of, future) for future in self._bundles.values()], places)
        (listed,) = self._sender.send("contents", [(list, found)], [[]])
        try:
            return self._result(Sent(listed, frozenset(place for (place,) in places)))
        finally:
            for future in (listed, *found):
                future.release()

    def _pass(self, shared: Sharing, mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...]) -> Partial:
        """A step, of which a late worker's part is computed a second time elsewhere."""
        self._settle()
        kind = compiling.kind_of(mode, layout, arguments)
        if kind not in self._known:
            compiling.tell(mode)
        began = time.monotonic()
        limit = self._durations.late(kind) + (0.0 if kind in self._known else COMPILING)
        asked = self._ask(limit, mode, layout, arguments) if kind in self._known else None
        first = asked or self._graph(mode, layout, arguments)
        while (partial := self._result(first, began + limit * shared.most)) is None:
            if time.monotonic() - began < limit * shared.most:  # others have come meanwhile
                continue
            limit *= 2
            if late := self._late(first):
                partial = self._second(first, late, lambda: self._graph(mode, layout, arguments))
                break
        if self._moving:  # no longer: all bundles are there
            strays = self._client.run_on_scheduler(_drop_copies, homes=self._holding.where())
            self._moving = False
            if strays:
                self._bundles = {key: future for key, future in self._bundles.items() if strays.isdisjoint(key[1])}
                self._threads = {}
        if kind in self._known:
            self._durations.add(kind, time.monotonic() - began)
        self._known.add(kind)
        self._direct.ended(direct=first is asked)
        return partial

    def _ask(
        self, seconds: float, mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...]
    ) -> Sent | None:
        """A step past the scheduler, if it is time for one that may take as long."""
        parts: dict[str, list[Key]] = {}
        for (place, _), future in self._bundles.items():
            parts.setdefault(place, []).append(future.key)
        asked = self._direct.ask(parts, seconds, mode, layout, arguments)
        return Sent(asked, frozenset(parts), asked.silent) if asked else None

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
        while len(sums) > lanes.FAN_IN:
            groups = [sums[start : start + lanes.FAN_IN] for start in range(0, len(sums), lanes.FAN_IN)]
            sums = [add("reduce", places[group[0]], reduce, group) for group in groups]
        last = add("reduce", places[sums[0]], reduce, sums)
        with annotate(workers=places.get, allow_other_workers=False):
            whole = self._client.get(graph, last, sync=False)
        self._let_go()  # not before the next step is on its way, which it would keep waiting
        self._last = whole

        def at_work() -> set[str]:
            return {place for place, keys in self._client.processing().items() if graph.keys() & set(keys)}

        return Sent(whole, frozenset(place for where in places.values() for place in where), at_work)

    def _result(self, sent: Sent, until: float = math.inf) -> Any:
        """What came of it; None if it is not there by then.

        Raises:
            GoneError: if a worker went away that it was bound to.
        """
        patience = POLL
        while (now := time.monotonic()) < until:
            try:
                return sent.whole.result(timeout=min(patience, until - now))
            except NOT_YET:
                if sent.whole.status == "error":
                    return sent.whole.result()  # which raises the error of the task
            if sent.whole.status == "finished":  # it takes its time to arrive
                patience = min(2 * patience, PATIENT)
                time.sleep(BETWEEN)  # some of dask's errors for that come at once
            self._check(sent)
        return None

    def _check(self, sent: Sent) -> None:
        if gone := sent.places - self._watch.threads.keys():
            self._suspects.add(gone & self._watch.stalled)
            raise GoneError(", ".join(sorted(gone)))

    def _late(self, sent: Sent) -> set[str]:
        """The workers that a step waits for, if others are done with it."""
        late = sent.silent()
        return late if self._suspects.trusted(self._watch.threads).keys() - late else set()

    def _second(self, first: Sent, late: Collection[str], again: Callable[[], Sent]) -> Partial:
        """The sum without these workers, or with them if that is there first."""
        names = ", ".join(sorted(late))
        log.warning(
            "a step waits for %s, longer than twice the usual: its shards are read and computed elsewhere", names
        )
        self._suspects.add(late)
        self._holding.leave(late)
        self._last = None  # it may still be the first
        self._threads = {}
        self._settle(stop=first.whole.done)
        running = [first] if first.whole.done() else [again(), first]
        while not (ready := [sent for sent in running if sent.whole.done()]):
            time.sleep(BETWEEN)
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
                if not isinstance(error, KilledWorker | CancelledError | GoneError | MovedError | NoAnswerError):
                    raise
                if isinstance(error, NoAnswerError):
                    log.info(
                        "no answer from %s to a step past the scheduler (%r): it is sent as a graph",
                        error,
                        error.__cause__,
                    )
                    self._direct.failed()
                if isinstance(error, MovedError):  # they are elsewhere for good, and have to be made again
                    self._bundles = {}
                deaths += GIVEN_UP if isinstance(error, KilledWorker) else 1
                if deaths >= DEATHS:
                    msg = f"workers died under the same work {deaths} times (out of memory?); the last time: {error}"
                    raise ClusterError(msg) from error
            self._threads = {}
            self._watch.wait()
            self._holding.revive()


def _same(value: T) -> T:
    return value


def _step(
    mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...], shard: Bundle, *sent: PyTree
) -> Partial:
    """A step, with arguments that come with the task or were sent ahead of it."""
    return step(shard, mode, layout, *(sent or arguments))


def _drop_copies(dask_scheduler: Scheduler, homes: Mapping[Key, str | None]) -> set[Key]:
    """Leave each of these results where it belongs, and nowhere else; return those of which dask left a copy elsewhere only."""
    strays = set()
    for key, home in homes.items():
        task = dask_scheduler.tasks.get(key)
        holders = [worker.address for worker in task.who_has or ()] if task else []
        if home is None or not holders:
            continue
        if home not in holders:
            strays.add(key)
            continue
        for other in holders:
            if other != home:
                dask_scheduler.request_remove_replicas(other, [key], stimulus_id=f"diffea-moved-{time.time()}")
    return strays
