"""Places: which worker holds which shard, so that every thread has about as much to do, and little moves when workers come and go."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Mapping, Sequence

SCATTERED = 4  # runs of consecutive shards a thread, above which their sums no longer add up where they are


def assign(rows: Sequence[int], homes: Sequence[str | None], threads: Mapping[str, int]) -> list[str]:
    """A worker for each shard: where it is, unless that one is gone or has more than its share.

    Shards that have to move go, in order, to where there is room: consecutive batches add up before they are sent. Where reading has
    scattered them (dask hands out what queues one by one), all are placed anew.

    Args:
        rows: of each shard.
        homes: where each shard is; None for nowhere in particular.
        threads: of each worker.
    """
    if _runs(homes) > SCATTERED * sum(threads.values()):
        homes = [None] * len(rows)
    share = sum(rows) / sum(threads.values())
    room = {place: share * number for place, number in sorted(threads.items())}
    found: list[str | None] = []
    for size, home in zip(rows, homes, strict=True):
        keep = home is not None and size / 2 <= room.get(home, -1.0)
        if home is not None and keep:
            room[home] -= size
        found.append(home if keep else None)
    moving = [number for number, place in enumerate(found) if place is None]
    places = [place for place, left in room.items() if left > 0] or list(room)
    for number, place in zip(moving, _cut([rows[n] for n in moving], [room[p] for p in places]), strict=True):
        found[number] = places[place]
    return [place for place in found if place is not None]


def divide(rows: Sequence[int], number: int) -> list[list[int]]:
    """The positions of consecutive shards in at most ``number`` runs of about equal rows."""
    runs: list[list[int]] = [[] for _ in range(number)]
    for position, run in enumerate(_cut(rows, [1.0] * number)):
        runs[run].append(position)
    return [run for run in runs if run]


def _cut(rows: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Into which part each of some consecutive shards falls, if parts have rows by these weights."""
    ends = [end / max(sum(weights), 1e-9) * sum(rows) for end in itertools.accumulate(max(w, 0.0) for w in weights)]
    middles = [end - size / 2 for end, size in zip(itertools.accumulate(rows), rows, strict=True)]
    return [min(bisect_left(ends, middle), len(ends) - 1) for middle in middles]


def _runs(homes: Sequence[str | None]) -> int:
    return sum(1 for _ in itertools.groupby(homes))
