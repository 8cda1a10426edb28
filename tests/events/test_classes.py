"""Size classes: few, worth it, and the same whatever the order of events."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffea.events import classes
from diffea.events.classes import divided, size_classes
from diffea.events.columns import check


def columns(*multiplicities, flat=1):
    """Flat columns, and a jagged one for each of these arrays."""
    events = len(multiplicities[0])
    arrays = {f"flat{number}": np.arange(events) + 0.25 for number in range(flat)}
    for number, counts in enumerate(multiplicities):
        arrays[f"jagged{number}"] = ak.unflatten(np.arange(np.sum(counts), dtype=float), counts)
    return check(arrays, events, "test")


def crowded(events, *at, usual=2, crowd=500):
    counts = np.full(events, usual)
    counts[list(at)] = crowd
    return counts


def held_for(multiplicities, flat, found):
    """Numbers held by hand: in every class each list is as long as the power of two that holds the longest."""
    held = flat * len(found)
    for number in range(found.max() + 1):
        for counts in multiplicities:
            most = counts[found == number].max()
            held += (found == number).sum() * next(2**k for k in range(20) if 2**k >= most)
    return held


RNG = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("multiplicities", "most"),
    [
        ([crowded(20_000, 7)], 1.01),
        ([crowded(20_000, 0), crowded(20_000, 19_999, usual=1)], 2.0),
        ([crowded(20_000, event) for event in range(9)], 1.1),
        ([crowded(20_000, 7, crowd=20_000)], 1.8),
        ([crowded(50_000, *range(0, 50_000, 100), usual=0, crowd=100)], 2.0),
        ([RNG.poisson(2, 100_000)], 2.0),
        ([RNG.poisson(mean, 100_000) for mean in (6, 6, 1, 0.5)], 2.0),
        ([RNG.geometric(0.1, 100_000) - 1], 2.0),
        ([RNG.pareto(1.2, 100_000).astype(int).clip(0, 5000)], 3.0),
    ],
)
def test_padding_makes_few_times_the_numbers_that_there_are(multiplicities, most) -> None:
    found = size_classes(columns(*multiplicities))
    numbers = len(found) + sum(int(counts.sum()) for counts in multiplicities)
    assert held_for(multiplicities, 1, found) <= most * numbers
    assert set(found) == set(range(found.max() + 1))
    assert found.max() < classes.MOST


@pytest.mark.parametrize(
    "multiplicities",
    [
        [np.full(100_000, 4)],
        [RNG.integers(3, 5, 100_000)],
        [RNG.poisson(2, 3000)],
        [np.zeros(100_000, int)],
        [crowded(200, 7)],
        [np.zeros(0, int)],
    ],
)
def test_ordinary_and_small_data_are_one_class(multiplicities) -> None:
    assert not size_classes(columns(*multiplicities)).any()
    assert divided(columns(*multiplicities)) is None


def test_flat_columns_are_one_class() -> None:
    assert divided(check({"x": np.arange(10.0), "m": np.ones((10, 3))}, 10, "test")) is None


def test_what_is_flat_counts_as_well() -> None:
    counts = RNG.poisson(1, 100_000)
    assert size_classes(columns(counts)).any()
    assert not size_classes(columns(counts, flat=20)).any()


@given(
    counts=st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 9]), st.sampled_from([0, 1, 40])), min_size=1, max_size=60),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_every_event_is_in_one_class_whatever_their_order(counts, seed) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classes, "WORTH", 1)
        table = columns(*np.array(counts).T)
        order = np.random.default_rng(seed).permutation(table.rows)
        found, shuffled = divided(table), divided(table.of(order))
        np.testing.assert_array_equal(size_classes(table)[order], size_classes(table.of(order)))
    if found is None:
        assert shuffled is None
        return
    assert sorted(np.concatenate(found)) == list(range(table.rows))
    assert [list(order[events]) for events in shuffled] == [list(events) for events in found]
