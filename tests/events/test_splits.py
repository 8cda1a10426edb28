"""Split: a partition by what identifies an event."""

from __future__ import annotations

import numpy as np
import pytest

from diffea.errors import SplitError
from diffea.events.splits import Split


def numbers(events: int) -> tuple[np.ndarray, ...]:
    return np.ones(events, np.uint32), np.full(events, 7, np.uint32), np.arange(events, dtype=np.uint64)


def test_every_event_belongs_to_one_part() -> None:
    split = Split(train=0.5, validation=0.2, seed=4)
    masks = [split.of(part).mask(numbers(10_000)) for part in ("train", "validation", "test")]
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks), 1)
    for mask, fraction in zip(masks, (0.5, 0.2, 0.3), strict=True):
        assert abs(mask.mean() - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 10_000)


def test_parts_do_not_depend_on_the_chunking_and_do_on_the_seed() -> None:
    identity = numbers(1000)
    whole = Split().mask(identity)
    pieces = [Split().mask(tuple(part[start : start + 137] for part in identity)) for start in range(0, 1000, 137)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert (Split(seed=1).mask(identity) != whole).any()


@pytest.mark.parametrize("fractions", [{"train": 0.0}, {"train": 1.0}, {"train": 0.8, "validation": 0.2}])
def test_impossible_fractions_are_named(fractions) -> None:
    with pytest.raises(SplitError, match="a split needs"):
        Split(**fractions)


def test_a_negative_seed_is_named() -> None:
    with pytest.raises(SplitError, match="whole number from 0"):
        Split(seed=-1)


def test_an_empty_part_is_named() -> None:
    with pytest.raises(SplitError, match="holds no events"):
        _ = Split().of("validation").scale
