"""Watch: which workers a cluster has, and what is said while it has none."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from diffea.errors import ClusterError

log = logging.getLogger(__name__)

POLL = 0.5  # seconds between two looks at the cluster
STATUS = 5.0  # seconds between two of those that ask how each worker is, which is much to send
HELP = (
    "an adaptive cluster starts workers when tasks wait, and this one has some waiting; if none come, look at its maximum, at the "
    "limits and the queue of the batch system, or start workers with `dask worker {address}`"
)
FULL = "paused by dask, since their memory is full, or to leave; give them more memory, or a smaller `memory=`, or start others"


class Watch:
    """Looks at the workers of a cluster from time to time.

    Args:
        client: of the cluster.
        timeout: seconds for which the cluster may be without a worker; None for as long as it takes.

    Attributes:
        stalled: workers that take no tasks: those that dask has paused, since their memory is full, or that are to leave.
    """

    def __init__(self, client: Any, timeout: float | None) -> None:
        self._client = client
        self._timeout = timeout
        self._looked = self._asked = -math.inf
        self._alone: float | None = None
        self._threads: dict[str, int] = {}
        self.stalled: set[str] = set()

    @property
    def threads(self) -> dict[str, int]:
        """Of each worker that takes tasks, as of a moment ago."""
        return self._threads if time.monotonic() - self._looked < POLL else self.look()

    def look(self) -> dict[str, int]:
        """The threads of each worker that takes tasks, as of now.

        Raises:
            ClusterError: if there was none for longer than the time-out.
        """
        now = time.monotonic()
        if now - self._asked > STATUS:
            self._asked = now
            found = self._client.scheduler_info(n_workers=-1)["workers"]
            self.stalled = {address for address, worker in found.items() if worker["status"] != "running"}
        threads = self._client.nthreads()
        self._threads = {address: number for address, number in threads.items() if address not in self.stalled}
        self._looked = now
        if self._threads:
            if self._alone is not None:
                log.info("there are workers again: %d", len(self._threads))
            self._alone = None
            return self._threads
        address = self._client.scheduler.address
        help_ = f"the {len(threads)} that it has are {FULL}" if threads else HELP.format(address=address)
        if self._alone is None:
            self._alone = now
            what = "none that takes tasks" if threads else "none"
            log.warning("waiting for workers: the dask scheduler at %s has %s; %s", address, what, help_)
        elif self._timeout is not None and now - self._alone > self._timeout:
            msg = f"the dask scheduler at {address} had no worker for {self._timeout:g} s, the timeout; {help_}"
            raise ClusterError(msg)
        return self._threads

    def wait(self) -> dict[str, int]:
        """The threads of each worker, as soon as there is one."""
        while not (threads := self.threads):
            time.sleep(POLL)
        return threads
