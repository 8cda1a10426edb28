"""Messages to the scheduler that do not wait for others, while steps are made."""

from __future__ import annotations

import weakref
from typing import Any

from distributed import Client

PATIENCE = 0.001  # seconds for which a message to the scheduler waits for others: dask's 10 ms are much of a step

_hurried: weakref.WeakKeyDictionary[Client, tuple[int, float]] = weakref.WeakKeyDictionary()


def hurry(client: Any) -> None:
    """Let the client's messages wait for others no longer than ``PATIENCE``, until ``relax`` was called as often as this."""
    lanes, usual = _hurried.get(client, (0, client.scheduler_comm.interval))
    _hurried[client] = lanes + 1, usual
    client.scheduler_comm.interval = PATIENCE


def relax(client: Any) -> None:
    """Give the client back its own patience, once nobody is in a hurry."""
    lanes, usual = _hurried.pop(client)
    if lanes > 1:
        _hurried[client] = lanes - 1, usual
    elif client.scheduler_comm:  # None where the client was closed before
        client.scheduler_comm.interval = usual
