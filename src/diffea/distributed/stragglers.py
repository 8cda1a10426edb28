"""Stragglers: how long a step usually takes, and workers that took much longer."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from distributed import Client, Future

LATE = 2.0  # times the usual step
AT_LEAST = 2.0  # seconds: reading shards anew for a step of milliseconds that hiccups costs more than it gains
REMEMBERED = 5  # steps
PROBATION = 10.0  # seconds without work after the first time that a worker was late, doubled each time


class Durations:
    """What steps of each kind took, compilation aside."""

    def __init__(self) -> None:
        self._recent: dict[Hashable, deque[float]] = {}

    def add(self, kind: Hashable, seconds: float) -> None:
        """Remember a step."""
        self._recent.setdefault(kind, deque(maxlen=REMEMBERED)).append(seconds)

    def late(self, kind: Hashable) -> float:
        """Seconds after which a step of this kind is late; infinite while there were none."""
        if kind not in self._recent:
            return math.inf
        return max(LATE * statistics.median(self._recent[kind]), AT_LEAST)


@dataclasses.dataclass(eq=False)
class Sharing:
    """A step under way.

    Attributes:
        most: how many of its client's steps, itself among them, shared the workers at once so far.
    """

    most: int = 0


_under_way: weakref.WeakKeyDictionary[Client, list[Sharing]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@contextlib.contextmanager
def sharing(client: Client) -> Iterator[Sharing]:
    """A step of this client, which takes its time where others do too."""
    one = Sharing()
    with _lock:
        steps = _under_way.setdefault(client, [])
        steps.append(one)
        for step in steps:
            step.most = max(step.most, len(steps))
    try:
        yield one
    finally:
        with _lock:
            steps.remove(one)


class Suspects:
    """Workers that were late, and get no work until they answer again and some time has passed.

    Args:
        ping: a task at a worker, which ends once that one works again.
    """

    def __init__(self, ping: Callable[[str], Future]) -> None:
        self._ping = ping
        self._pings: dict[str, Future] = {}
        self._until: dict[str, float] = {}
        self._times: dict[str, int] = {}

    def add(self, addresses: Iterable[str]) -> None:
        """Suspect these."""
        for address in addresses:
            self._times[address] = self._times.get(address, 0) + 1
            self._until[address] = time.monotonic() + PROBATION * 2 ** (self._times[address] - 1)
            self._pings[address] = self._ping(address)

    def trusted(self, threads: Mapping[str, int]) -> dict[str, int]:
        """Of these workers, those that are to get work: all of them if none is left."""
        for address, ping in list(self._pings.items()):
            if address not in threads or (ping.status == "finished" and time.monotonic() > self._until[address]):
                del self._pings[address]
        return {place: number for place, number in threads.items() if place not in self._pings} or dict(threads)
