"""Ragged columns: padding, arithmetic, and no NaN from empty slots."""

from __future__ import annotations

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea.errors import ColumnError
from diffea.events.ragged import Ragged, elementwise, signed

JAGGED = ak.Array([[3.0, 1.0, 2.0], [], [-5.0]])


@pytest.fixture(scope="module")
def column():
    return Ragged.from_awkward(JAGGED)


def unpadded(ragged):
    mask = np.asarray(ragged.mask)
    return ak.unflatten(np.asarray(ragged.values)[mask], mask.sum(axis=1))


def test_slots_are_a_power_of_two_and_repeat_an_object(column):
    assert column.shape == (3, 4)
    np.testing.assert_array_equal(column.num(), [3, 0, 1])
    np.testing.assert_array_equal(column.values[1], 3.0)
    assert Ragged.from_awkward(ak.Array([[1], [2]])).shape == (2, 1)
    assert Ragged.from_awkward(ak.Array([[1] * 5])).shape == (1, 8)
    assert Ragged.from_awkward(JAGGED, slots=3).shape == (3, 3)


def test_missing_objects_are_none():
    ragged = Ragged.from_awkward(ak.Array([[1.0, None], None, [4.0]]))
    np.testing.assert_array_equal(ragged.where(0), [[1], [0], [4]])


@pytest.mark.parametrize("dtype", [np.float32, np.int32, bool])
def test_number_types_are_kept(dtype):
    assert Ragged.from_awkward(ak.values_astype(JAGGED, dtype)).dtype == dtype


def test_arithmetic_is_that_of_awkward(column):
    per_event = np.array([1.0, 2.0, 3.0])
    for ours, awkward in [
        (2 * column + 1, 2 * JAGGED + 1),
        (1 - column / 2, 1 - JAGGED / 2),
        (per_event * column - per_event, per_event * JAGGED - per_event),
        (jnp.asarray(per_event) - column, per_event - JAGGED),
        (column**2 / column, JAGGED**2 / JAGGED),
        (-abs(column), -abs(JAGGED)),
        (2.0**column, 2.0**JAGGED),
        (column > 1.5, JAGGED > 1.5),
        ((column >= 2) & ~(column == 3), (JAGGED >= 2) & ~(JAGGED == 3)),
        ((column <= -5) | (column < 2), (JAGGED <= -5) | (JAGGED < 2)),
        (column != 2, JAGGED != 2),
        (column.apply(jnp.hypot, column), (2 * JAGGED**2) ** 0.5),
        (elementwise(jnp.arctan2, per_event, column), np.arctan2(per_event, JAGGED)),
        (column.keep(column > 0), JAGGED[JAGGED > 0]),
    ]:
        mine = unpadded(ours)
        assert ak.num(mine).to_list() == ak.num(awkward).to_list()
        np.testing.assert_allclose(ak.flatten(mine), ak.flatten(awkward), rtol=1e-15)
    np.testing.assert_allclose(column.sum(), ak.sum(JAGGED, axis=1))


def test_elementwise_without_ragged_columns_is_the_function():
    np.testing.assert_array_equal(elementwise(jnp.add, np.array([1.0, 2.0]), 1.0), [2.0, 3.0])


@pytest.mark.parametrize("padding", [0.0, np.nan, np.inf])
def test_padding_of_any_value_makes_no_nan(padding):
    mask = np.array([[True, False], [False, False]])
    column = Ragged(np.where(mask, 2.0, padding), mask)

    def total(scale):
        scaled = column.apply(lambda x: x * scale)
        return jnp.sum((1 / scaled).sum() + scaled.apply(jnp.log).sum() + (scaled**0.5).sum())

    value, gradient = jax.value_and_grad(total)(1.0)
    np.testing.assert_allclose(value, 0.5 + np.log(2) + np.sqrt(2))
    np.testing.assert_allclose(gradient, -0.5 + 1 + 0.5 * np.sqrt(2))


def test_it_is_a_pytree(column):
    doubled = jax.jit(lambda c: c * 2)(column)
    assert isinstance(doubled, Ragged)
    assert len(jax.tree.leaves(column)) == 2
    assert repr(doubled) == "Ragged(events=3, slots=4, dtype=float64)"
    block = jax.tree.map(lambda leaf: leaf[1:], column)
    assert len(block) == 2


def test_what_is_no_jagged_column_of_numbers_is_an_error(column):
    with pytest.raises(ColumnError, match="events \\* var"):
        Ragged.from_awkward(ak.Array([1.0, 2.0]))
    with pytest.raises(ColumnError, match="jagged column of numbers"):
        Ragged.from_awkward(ak.Array([["a", "b"], []]))
    with pytest.raises(ColumnError, match="jagged column of numbers"):
        Ragged.from_awkward(ak.Array([[{"pt": 1.0}], []]))
    with pytest.raises(ColumnError, match="3 objects, but there is room for 2"):
        Ragged.from_awkward(JAGGED, slots=2)
    with pytest.raises(ColumnError, match="same objects"):
        column + Ragged.from_awkward(JAGGED, slots=8)


def test_bits_of_whole_numbers_are_those_of_numpy():
    flags, others = ak.Array([[1, 2, 6], [], [5]]), ak.Array([[3, 3, 4], [], [1]])
    ours, theirs = Ragged.from_awkward(flags), Ragged.from_awkward(others)
    for mine, numpy in [
        (ours & 2, flags & 2),
        (4 | ours, 4 | flags),
        (ours ^ theirs, flags ^ others),
        (~ours, ~flags),
        ((ours & 2) == 2, (flags & 2) == 2),
    ]:
        assert unpadded(mine).to_list() == numpy.to_list()


def test_soft_cuts_are_not_combined_as_booleans(column):
    soft_cut = column / 4
    for combine in (
        lambda: soft_cut & soft_cut,
        lambda: (column > 1) | soft_cut,
        lambda: ~soft_cut,
        lambda: column.keep(soft_cut),
    ):
        with pytest.raises(ColumnError, match=r"soft\.all_of"):
            combine()


def test_objects_are_not_true_or_false_together(column):
    for branch in (lambda: 1 < column < 2, lambda: column > 1 and column < 2, lambda: not column):
        with pytest.raises(ColumnError, match="neither true nor false"):
            branch()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, ">i2", ">i4", ">u4"])
def test_products_of_small_whole_numbers_do_not_wrap_around(dtype):
    largest = 120
    column = Ragged.from_awkward(ak.Array(np.full((1, 1), largest, np.dtype(dtype).newbyteorder("="))))
    assert (column * column * 2).sum().tolist() == [2 * largest**2]
    assert signed(np.full(1, largest, dtype)).dtype.isnative


def test_no_events_have_no_numbers():
    nothing = Ragged(np.zeros((0, 1)), np.zeros((0, 1), bool))
    assert (nothing / nothing).apply(jnp.sqrt).sum().shape == (0,)


@pytest.mark.parametrize("array", [["a", "b"], 3.0, np.zeros(3)])
def test_what_is_not_jagged(array):
    with pytest.raises(ColumnError, match="expected a jagged column"):
        Ragged.from_awkward(array)
