"""Replicas: Poisson weights for the bootstrap by event, the same wherever and however often the event is met."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from diffea.events.splits import splitmix64

# P(k or fewer) of a Poisson number of mean 1, in units of 2⁻⁶⁴; beyond 20 it is 1
_BELOW = np.array(
    [min(round(sum(math.exp(-1) / math.factorial(j) for j in range(k + 1)) * 2**64), 2**64 - 1) for k in range(20)],
    dtype=np.uint64,
)


LOWEST = 4_096  # hashes of a batch by which it is compared with others


def lowest(hashes: np.ndarray) -> np.ndarray:
    """The lowest of a batch's hashes: of batches that hold the same events the same ones."""
    return np.sort(hashes)[:LOWEST]


def repeated(batches: Sequence[np.ndarray]) -> float:
    """The share of events whose hash an earlier one has, as the lowest hashes of some batches tell it (exactly, if these are all there are).

    Args:
        batches: ``lowest`` of each.
    """
    below = min((batch[-1] for batch in batches if len(batch) == LOWEST), default=None)
    hashes = np.concatenate(batches)
    known = hashes if below is None else hashes[hashes <= below]
    return 1.0 - len(np.unique(known)) / len(known) if len(known) else 0.0


def event_hashes(identity: tuple[np.ndarray, ...], dataset: str) -> np.ndarray:
    """A hash of what identifies each event of a dataset, 64 bits.

    Simulated datasets often number their events alike, from 1 on; that of the dataset's name keeps them apart.

    Args:
        identity: integer arrays of shape ``(events,)`` that together identify an event.
        dataset: its name.
    """
    begin = np.frombuffer(hashlib.sha256(dataset.encode()).digest()[:8], "<u8")[0]
    hashed = np.full(identity[0].shape, begin)
    for numbers in identity:
        hashed = splitmix64(hashed ^ numbers.astype(np.uint64))
    return hashed


def poisson_weights(hashes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """How often each event is in each replica: Poisson numbers of mean 1, by inversion of a hash of event and replica.

    Args:
        hashes: of the events, shape ``(events,)``.
        numbers: of the replicas, shape ``(replicas,)``.

    Returns:
        shape ``(events, replicas)``.
    """
    of_replica = splitmix64(np.asarray(numbers, np.uint64))
    return np.searchsorted(_BELOW, splitmix64(hashes[:, None] ^ of_replica), side="right")
