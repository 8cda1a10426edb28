"""Tasks on their way to a dask cluster, and waiting for what came of them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

from dask.base import annotate
from distributed import CancelledError, Future, wait

from diffea.distributed.watch import POLL

NOT_YET = (TimeoutError, UnboundLocalError)
"""What dask raises where it waited long enough; the latter (in its ``sync``) where its loop cancelled what was waited for, as of a worker that is lost."""


class Sender:
    """Sends tasks, each at its places.

    Args:
        client: of the cluster.
        name: by which the dashboard shows them.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def send(
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

    def ready(self, futures: Sequence[Future]) -> bool:
        """Whether all of these are there, after some waiting.

        Raises:
            what one of them does.
        """
        if pending := [future for future in futures if future.status == "pending"]:
            with contextlib.suppress(*NOT_YET), self._client.as_current():
                wait(pending, timeout=POLL)
        for future in futures:
            if future.status == "error":
                future.result()
            if future.status in ("cancelled", "lost"):
                raise CancelledError(future.key)
        return all(future.status == "finished" for future in futures)
