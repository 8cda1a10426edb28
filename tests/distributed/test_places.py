"""Where shards go when workers come and go: every thread has its share, in order, and no more moves than must."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import numpy as np
import pytest

from diffea.distributed.places import assign, divide


def loads(rows, homes):
    found = Counter()
    for size, home in zip(rows, homes, strict=True):
        found[home] += size
    return found


def runs(homes):
    return sum(1 for _ in groupby(homes))


@pytest.mark.parametrize("threads", [{"a": 1, "b": 1}, {"a": 3, "b": 1}, {"a": 2, "b": 5, "c": 1}])
def test_every_thread_has_its_share_of_consecutive_shards(threads) -> None:
    rows = np.random.default_rng(0).integers(50, 150, 400).tolist()
    homes = assign(rows, [None] * 400, threads)
    share = sum(rows) / sum(threads.values())
    for place, number in threads.items():
        assert loads(rows, homes)[place] == pytest.approx(number * share, abs=150)
    assert runs(homes) == len(threads)


def test_a_worker_that_joins_gets_its_share_and_nothing_else_moves() -> None:
    rows = [10] * 30
    before = assign(rows, [None] * 30, {"a": 1, "b": 1})
    after = assign(rows, before, {"a": 1, "b": 1, "c": 1})
    assert loads(rows, after) == {"a": 100, "b": 100, "c": 100}
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert moved == ["c"] * 10
    assert assign(rows, after, {"a": 1, "b": 1, "c": 1}) == after


def test_what_a_lost_worker_held_is_divided_among_the_others() -> None:
    rows = [10] * 30
    before = assign(rows, [None] * 30, {"a": 1, "b": 1, "c": 1})
    after = assign(rows, [None if home == "b" else home for home in before], {"a": 1, "c": 1})
    assert loads(rows, after) == {"a": 150, "c": 150}
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "b")


def test_an_address_that_is_no_worker_any_more_is_no_home() -> None:
    assert set(assign([1, 1, 1], ["gone", "a", "gone"], {"a": 1, "b": 1})) == {"a", "b"}


def test_what_reading_scattered_is_put_in_order() -> None:
    homes = ["a", "b"] * 20
    assert runs(assign([1] * 40, homes, {"a": 1, "b": 1})) == 2
    few = ["a", "b", "a"]
    assert assign([1, 1, 1], few, {"a": 1, "b": 1}) == few


def test_more_workers_than_shards() -> None:
    assert len(set(assign([5, 5], [None, None], dict.fromkeys("abcd", 1)))) == 2
    assert divide([5, 5], 4) == [[0], [1]]
    assert divide([], 4) == []
