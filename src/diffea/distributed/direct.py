"""Direct: steps for which the driver asks the workers itself, past the scheduler, which keeps what only it can do.

It reads the shards, knows what is lost with a worker, and makes that again. A step needs nothing of it as long as nothing happens, and
where something does, the same step is sent as a graph, which finds out what.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import logging
import math
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

from dask.typing import Key
from distributed import Worker, get_worker
from distributed.core import ConnectionPool
from distributed.protocol.pickle import dumps, loads

from diffea.distributed import keeping, lanes
from diffea.distributed.reduction import Partial, reduce
from diffea.distributed.shards import Bundle, Shard, bundle
from diffea.distributed.steps import AnyMode, step
from diffea.portable import Portable
from diffea.templates import Layout
from diffea.types import PyTree

log = logging.getLogger(__name__)

REACH = 2.0  # seconds that the first connection to a worker may take
PAUSE = 1.0  # seconds without direct steps after one that failed, doubled each time

Part: TypeAlias = tuple[str, Sequence[Key]]  # a worker, and its bundles


class NoAnswerError(Exception):
    """A worker is gone, or has no sum to give; why, the graph will find."""


def opened(shards: Sequence[Shard]) -> Bundle:
    """A bundle, at a worker that from now on answers steps."""
    worker = get_worker()
    if Answers.diffea_step.__name__ not in worker.handlers:
        worker.handlers[Answers.diffea_step.__name__] = Answers(worker, contextvars.copy_context()).diffea_step
    return bundle(shards)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a worker answers.

    Attributes:
        worker: this one.
        context: of its tasks.
    """

    worker: Worker
    context: contextvars.Context

    async def diffea_step(self, request: bytes, parts: Sequence[Part]) -> bytes | None:
        """The sum over the bundles of this worker, which is the first, and of the others; None where that fails."""
        (_, keys), *others = parts
        try:
            here = [self._in_thread(request, key) for key in keys]
            return dumps(reduce(await asyncio.gather(*here, *ask(self.worker.rpc, request, others).values())))
        except Exception as error:  # noqa: BLE001  (whatever it is, the graph meets it again, and raises it)
            log.info("a step is left to the graph: %r", error)
            return None

    def _in_thread(self, request: bytes, key: Key) -> asyncio.Future[Partial]:
        shard = cast("Bundle", self.worker.data[key])
        compute = partial(self.context.copy().run, _compute, shard, request)
        return asyncio.get_running_loop().run_in_executor(self.worker.executors["default"], compute)


def _compute(shard: Bundle, request: bytes) -> Partial:
    mode, layout, arguments = loads(request)
    return step(shard, mode, layout, *arguments)


def ask(
    rpc: ConnectionPool, request: bytes, parts: Sequence[Part]
) -> dict[tuple[str, ...], Coroutine[None, None, Partial]]:
    """The answers of some workers, by whom they are of: the first of each group asks the others."""
    size = math.ceil(len(parts) / lanes.FAN_IN)
    groups = [parts[start : start + size] for start in range(0, len(parts), size or 1)]
    return {tuple(place for place, _ in group): _ask_first(rpc, request, group) for group in groups}


async def _ask_first(rpc: ConnectionPool, request: bytes, group: Sequence[Part]) -> Partial:
    place = group[0][0]
    try:
        answer: bytes | None = await rpc(place).diffea_step(request=request, parts=group)
    except Exception as error:
        raise NoAnswerError(place) from error
    if answer is None:
        raise NoAnswerError(place)
    found: Partial = loads(answer)
    return found


class Asked:
    """A sum on its way: what of a dask future waiting for it needs.

    Args:
        client: of the cluster.
        request: what is asked.
        parts: of whom.
    """

    def __init__(self, client: Any, request: bytes, parts: Sequence[Part]) -> None:
        self._silent = {place for place, _ in parts}
        loop = client.loop.asyncio_loop
        self._found: concurrent.futures.Future[list[Partial]] = asyncio.run_coroutine_threadsafe(
            self._all(client.rpc, request, parts), loop
        )

    async def _all(self, rpc: ConnectionPool, request: bytes, parts: Sequence[Part]) -> list[Partial]:
        async def one(places: tuple[str, ...], coming: Coroutine[None, None, Partial]) -> Partial:
            found = await coming
            self._silent.difference_update(places)
            return found

        return await asyncio.gather(*(one(*group) for group in ask(rpc, request, parts).items()))

    @property
    def status(self) -> str:
        """As of a dask future."""
        if not self._found.done():
            return "pending"
        return "error" if self._found.cancelled() or self._found.exception() else "finished"

    def done(self) -> bool:
        """Whether it is there, or failed."""
        return self._found.done()

    def silent(self) -> set[str]:
        """The workers that have not answered, and those that they were to ask."""
        return set(self._silent)

    def result(self, timeout: float | None = None) -> Partial:
        """The sum.

        Raises:
            NoAnswerError: if a worker has none.
            TimeoutError: if it is not there by then.
        """
        return reduce(self._found.result(timeout))

    def release(self) -> None:
        """Wait for it no longer."""
        self._found.cancel()


class Direct:
    """When steps are direct, and where they go.

    The scheduler hears of every step that is a graph, and so that the workers are needed. Steps are direct in between.

    Args:
        client: of the cluster.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._reached: dict[str, bool] = {}
        self._from = self._until = -math.inf
        self._failures = 0

    def ask(
        self,
        parts: Mapping[str, Sequence[Key]],
        seconds: float,
        mode: AnyMode,
        layout: Portable[Layout],
        arguments: tuple[PyTree, ...],
    ) -> Asked | None:
        """Ask these workers for their bundles' sum, which may take as long; None where the step is to be a graph."""
        now = time.monotonic()
        if now < self._from or now + seconds > self._until or not self._reach(parts):
            return None
        return Asked(self._client, dumps((mode, layout, arguments)), list(parts.items()))

    def ended(self, *, direct: bool) -> None:
        """A step went well, of which the scheduler has heard, unless it was direct."""
        if direct:
            self._failures = 0
        else:
            self._until = time.monotonic() + keeping.unheard()

    def failed(self) -> None:
        """A direct step did not go well: the next ones are graphs."""
        self._from = time.monotonic() + PAUSE * 2**self._failures
        self._failures += 1

    def _reach(self, places: Mapping[str, object]) -> bool:
        """Whether the driver can connect to all of these, which it tries once."""
        self._reached = {place: reached for place, reached in self._reached.items() if place in places}
        if new := [place for place in places if place not in self._reached and all(self._reached.values())]:
            answers = dict(zip(new, self._client.sync(self._connect, new), strict=True))
            failed = {place: answer for place, answer in answers.items() if isinstance(answer, Exception)}
            self._reached.update({place: place not in failed for place in new})
            if failed:
                log.warning(
                    "the driver cannot connect to the worker at %s (%r): steps go through the scheduler, each some milliseconds longer",
                    *next(iter(failed.items())),
                )
        return all(self._reached.values())

    async def _connect(self, places: Sequence[str]) -> list[object]:
        """An answer of each, or an exception."""
        answers = (asyncio.wait_for(self._client.rpc(place).echo(), REACH) for place in places)
        return await asyncio.gather(*answers, return_exceptions=True)
