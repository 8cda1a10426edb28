"""Holding: the shards of a cluster while they are read, again if need be, and shared with workers that join."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from dask.typing import Key
from distributed import Client, Future

from diffea.distributed.places import assign, divide
from diffea.distributed.reading import Reading
from diffea.distributed.sending import Sender
from diffea.distributed.shards import Source, load
from diffea.distributed.stragglers import Suspects
from diffea.distributed.watch import Watch
from diffea.events.batches import Batch, shares
from diffea.types import PyTree

MOST = 4096  # shards: each costs the scheduler a task to read, and its worker's memory


class Holding:
    """Shards as futures, which dask reads again where their worker is lost.

    Attributes:
        rows: of each shard.
        homes: the worker that is to compute each shard; None while there is none.
        shards: results of tasks.

    Args:
        client: of the cluster.
        sender: of tasks there.
        watch: over its workers.
        suspects: those of them that are late.
    """

    def __init__(self, client: Client, sender: Sender, watch: Watch, suspects: Suspects) -> None:
        self._client, self._sender, self._watch, self._suspects = client, sender, watch, suspects
        self.rows: list[int] = []
        self.homes: list[str | None] = []
        self.shards: list[PyTree] = []
        self._tasks: list[tuple[object, ...]] = []
        self._bound: dict[int, str | None] = {}

    def begin(self, source: Source, batches: Sequence[Batch]) -> Reading:
        """Send all that is to be read, to the workers that there are; dask divides it among others that join."""
        runs = [(batch,) for batch in batches] if len(batches) <= MOST else shares(batches, MOST)
        self._tasks = [(load, source, run) for run in runs]
        self.rows = [sum(batch.rows for batch in run) for run in runs]
        self.homes = [None] * len(runs)
        self.shards = [None] * len(runs)
        slots = [place for place, threads in sorted(self._watch.look().items()) for _ in range(threads)]
        parts = divide(self.rows, len(slots)) if slots else []
        at = {number: slots[part * len(slots) // len(parts)] for part, run in enumerate(parts) for number in run}
        self._read({number: at.get(number) for number in range(len(runs))})
        return Reading(runs)

    def wait(self, reading: Reading | None, stop: Callable[[], bool]) -> bool:
        """Wait until every shard is held, unless there is reason to stop waiting."""
        readers = self._watch.threads
        while not self._sender.ready(self.shards):
            if stop():
                return False
            threads = self._suspects.trusted(self._watch.look())
            if reading:
                reading.tell([shard.status == "finished" for shard in self.shards])
            if threads and threads != readers:
                readers = threads
                self._share(threads)
        return True

    def settle(self, threads: Mapping[str, int]) -> list[tuple[str, list[Future]]]:
        """Give each shard a home among these workers; return the shards of each thread, with its worker."""
        holders = self._client.who_has(self.shards)
        homes = [
            home if home in threads else min(threads.keys() & set(holders.get(shard.key, ())), default=None)
            for home, shard in zip(self.homes, self.shards, strict=True)
        ]
        self.homes = list(assign(self.rows, homes, threads))
        groups = []
        for place, number in sorted(threads.items()):
            here = [n for n, home in enumerate(self.homes) if home == place]
            for run in divide([self.rows[n] for n in here], number):
                groups.append((place, [self.shards[here[position]] for position in run]))
        return groups

    def leave(self, places: Collection[str]) -> None:
        """Read what these hold a second time, elsewhere."""
        numbers = [number for number, home in enumerate(self.homes) if home in places]
        helpers = self._suspects.trusted(self._watch.threads)
        homes = assign([self.rows[number] for number in numbers], [None] * len(numbers), helpers)
        self._read(dict(zip(numbers, homes, strict=True)))
        for number in numbers:
            self.homes[number] = None

    def revive(self) -> None:
        """Read anew what is lost, or was given up."""
        lost = (number for number, shard in enumerate(self.shards) if shard.status in ("error", "cancelled", "lost"))
        self._read(dict.fromkeys(lost))

    def where(self) -> dict[Key, str | None]:
        """The home of each shard, by its key."""
        return {shard.key: home for shard, home in zip(self.shards, self.homes, strict=True)}

    def _read(self, places: Mapping[int, str | None]) -> None:
        """Read these shards, first at these places."""
        if not places:
            return
        self._bound.update(places)
        where = [[place] if place else [] for place in places.values()]
        sent = self._sender.send("read", [self._tasks[number] for number in places], where, strict=False, group=True)
        for number, shard in zip(places, sent, strict=True):
            self.shards[number] = shard

    def _share(self, threads: Mapping[str, int]) -> None:
        """Let workers that joined read a part of what has not been begun, and others what workers that are gone did not finish."""
        at_work = {key for keys in self._client.processing().values() for key in keys}
        waiting = [
            number
            for number, shard in enumerate(self.shards)
            if shard.status == "pending" and (self._bound[number] or shard.key not in at_work)
        ]
        bound = [place if (place := self._bound[number]) in threads else None for number in waiting]
        places = assign([self.rows[number] for number in waiting], bound, threads) if waiting else []
        moved = zip(waiting, bound, places, strict=True)
        self._read({number: place for number, before, place in moved if place != before})
