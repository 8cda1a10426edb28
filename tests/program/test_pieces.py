"""A batch in pieces: every event is in one of them, whatever their number, and small batches have few shapes."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from diffea.events.blocks import runs
from diffea.events.columns import check
from diffea.program.structure import pieces


@pytest.mark.parametrize("rows", [0, 1, 4_096, 5_000, 20_000, 61_441, 70_000])
def test_every_event_is_in_one_piece(rows) -> None:
    values = np.random.default_rng(rows).normal(size=rows)
    columns = check({"x": values}, rows, "test")
    structures, blocks, events = pieces(columns, np.dtype(float), 4_096)
    assert sorted(np.concatenate([np.asarray(held, int) for held in events]).tolist()) == list(range(rows))
    for piece, held in zip(blocks, events, strict=True):
        assert int(piece.rows) == len(held)
        (array,) = piece.arrays.values()
        np.testing.assert_array_equal(np.asarray(array).ravel()[: len(held)], values[np.asarray(held, int)])
    assert len(set(structures)) == 1


@pytest.mark.parametrize(("classes", "most", "expected"), [(1, 16, {1, 4}), (2, 15, {1, 4}), (2, 100, {1, 4, 16})])
def test_batches_of_any_size_have_few_shapes(classes, most, expected) -> None:
    assert {n for rows in range(1, most * 64 + 1) for _, _, n in runs(rows, 64, classes=classes)} == expected
    for rows in (5 * 64, 9 * 64 + 1, 16 * 64, 40 * 64, 41 * 64 + 1):
        found = list(runs(rows, 64, classes=classes))
        assert all(stop - start <= blocks * 64 for start, stop, blocks in found)
        assert [start for start, _, _ in found] == [0, *(stop for _, stop, _ in found[:-1])]
        assert found[-1][1] == rows


def test_many_blocks_of_events_that_are_alike_are_one_call() -> None:
    assert list(runs(40 * 64, 64)) == [(0, 40 * 64, 40)]


def test_crowded_events_of_any_number_have_one_program_a_size_class() -> None:
    found = []
    for crowded in (40, 300, 1_100):
        counts = np.full(6_000, 3)
        counts[:crowded] = 100
        columns = check({"pt": ak.unflatten(np.ones(counts.sum()), counts)}, len(counts), "test")
        structures, blocks, events = pieces(columns, np.dtype(float), 4_096)
        assert sorted(np.concatenate(events).tolist()) == list(range(len(counts)))
        found.append({(structure, piece.size) for structure, piece in zip(structures, blocks, strict=True)})
    assert found[0] == found[1] == found[2]
    assert sorted(size for _, size in found[0]) == [32, 4_096]
