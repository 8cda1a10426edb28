"""Columns: what is none is named, and what differs by file is named whether or not the files are read in one batch."""

from __future__ import annotations

import datetime as dt
import decimal
import functools

import awkward as ak
import hist
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from diffea import soft
from diffea.distributed import distribute as distribute_nano
from diffea.errors import ColumnError, NotFiniteError
from diffea.events.columns import Columns, check, concatenate, pack
from diffea.events.ragged import Ragged
from diffea.events.splits import Split
from diffea.processor import DifferentiableProcessor, Fill

distribute = functools.partial(distribute_nano, schemaclass=BaseSchema)
MET = np.array([30.0, 50.0])


def checked(value, events=2):
    return check({"met": MET[:events], "v": value}, events, "dataset 'd', file a.root, entries 0–2")


@pytest.mark.parametrize(
    "value",
    [
        np.array([1j, 2.0]),
        ak.Array([1j, 2.0]),
        ak.Array([[1j], []]),
        np.array(["2026-01-01", "2026-01-02"], "M8[s]"),
        ak.Array(np.array(["2026-01-01", "2026-01-02"], "M8[s]")),
        np.array([1, 2], "m8[s]"),
        np.array(["a", "b"]),
        ["a", "b"],
        ak.Array(["a", "b"]),
        ak.Array([["a"], []]),
        np.array([1.0, None], object),
        np.array([(1, 2.0), (1, 2.0)], [("a", int), ("b", float)]),
        ak.Array([{"pt": 1.0}, {"pt": 2.0}]),
        ak.Array([[{"pt": 1.0}], []]),
        ak.Array([1.0, [2.0]]),
    ],
)
def test_what_is_no_column_of_numbers_is_named(value) -> None:
    with pytest.raises(
        ColumnError, match=r"'d', file a.root, entries 0–2: column 'v': expected numbers or booleans, got"
    ):
        checked(value)


@pytest.mark.parametrize(
    "value",
    [
        ak.Array([1.0, None]),
        ak.Array([[1.0, None], [2.0]]),
        ak.Array([[1.0], None]),
        ak.mask(ak.Array([True, False]), np.array([True, False])),
        np.ma.masked_array([1.0, 2.0], [False, True]),
        np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], [[False, True], [False, False]]),
    ],
)
def test_missing_values_are_named(value) -> None:
    with pytest.raises(ColumnError, match="column 'v': has missing values"):
        checked(value)


@pytest.mark.parametrize(
    "value",
    [
        1j,
        np.complex64(1.0),
        np.datetime64("2026-01-01"),
        np.timedelta64(1, "s"),
        dt.date(2026, 1, 1),
        decimal.Decimal(1),
        b"text",
        {"pt": [1.0, 2.0]},
        {1.0, 2.0},
        print,
        ak.Array([{"pt": 1.0}])[0],
    ],
)
def test_what_is_neither_an_array_nor_a_plain_value_is_named(value) -> None:
    with pytest.raises(ColumnError, match=r"column 'v' is neither an array .* nor a plain value .* got"):
        checked(value)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"met": MET, "v": np.ones(3)}, r"one entry for each .* 2 events, got {'met': 2, 'v': 3}"),
        ({"met": MET, "v": ak.Array([[1.0]])}, "got {'met': 2, 'v': 1}"),
        ({"met": np.ones(3)}, "got {'met': 3}"),
        ({"v": 1.0}, r"returned no array, got \['v'\]"),
        ({}, "returned no array"),
        ({1: MET}, "dict of names and arrays"),
        ([MET], "dict of names and arrays, got list"),
        (None, "dict of names and arrays, got NoneType"),
        ({"v": [1.0, [2.0]]}, "column 'v' cannot become an array of numbers"),
        ({"v": ak.Array([[[1.0]], []])}, r"column 'v': expected one entry an event or a jagged column .* var \* var"),
    ],
)
def test_columns_of_another_length_or_form_are_named(columns, text) -> None:
    with pytest.raises(ColumnError, match=text):
        check(columns, 2, "somewhere")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(2.5), 2.5),
        (np.float32(2.5), 2.5),
        (np.longdouble(2.5), 2.5),
        (np.array(2.5), 2.5),
        (jnp.array(2.5), 2.5),
        (np.int16(3), 3),
        (np.array(3, np.uint64), 3),
        (np.bool_(True), True),
        (np.array(False), False),
        (np.str_("mc"), "mc"),
        (None, None),
    ],
)
def test_scalars_of_numpy_and_jax_are_plain_values(value, expected) -> None:
    (found,) = checked(value).static.values()
    assert found == expected
    assert type(found) is type(expected)


def test_numbers_keep_their_values_whatever_holds_them() -> None:
    for value in (
        [1, 2],
        np.ma.masked_array([1, 2], [False, False]),
        ak.mask(ak.Array([1, 2]), np.array([True, True])),
        jnp.arange(1, 3),
    ):
        np.testing.assert_array_equal(pack(checked(value), np.dtype(float))["v"], [1, 2])
    jagged = pack(checked(ak.mask(ak.Array([[1.0, 2.0], []]), np.array([True, True]))), np.dtype(float))["v"]
    np.testing.assert_array_equal(jagged.where(0), [[1, 2], [0, 0]])


def test_numbers_beyond_float32_are_named_where_it_is_asked_for() -> None:
    columns = checked(np.array([1e30, 1e39]))
    assert pack(columns, np.dtype("float64"))["v"][1] == 1e39
    with pytest.raises(NotFiniteError, match="entries 0–2: column 'v' has numbers that are infinite in float32"):
        pack(columns, np.dtype("float32"))


def test_chunks_without_events_or_objects_fit_any_kind() -> None:
    full = {"met": MET, "n": np.array([1, 2]), "pt": ak.Array([[1.0, 2.0], []])}
    parts = [
        check({"met": [], "n": ak.Array([]), "pt": ak.Array([])}, 0, "a"),
        check({"met": MET, "n": np.array([3, 4]), "pt": ak.Array([[], []])}, 2, "b"),
        check(full, 2, "c"),
    ]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        together = pack(concatenate([parts[i] for i in order]), np.dtype(float))
        assert together["n"].dtype == int
        assert together["n"].sum() == 10
        assert isinstance(together["pt"], Ragged)
        assert float(together["pt"].sum().sum()) == 3.0


class Reads(DifferentiableProcessor):
    """Whatever columns a test asks for."""

    channels = {"x": hist.axis.Regular(4, 0, 100, name="x")}  # noqa: RUF012

    def __init__(self, columns):
        self.columns = columns

    def fill(self, params, columns):
        keep = soft.above(columns["x"], params["cut"], width=3.0)
        yield Fill("x", columns["x"], columns.get("w", 1.0) * keep)


def one_value(events):
    return {"x": events.x, "v": events.v}


def a_name_more(events):
    """A column that only one of the files gives."""
    return {"x": events.x, **({"more": events.x} if "2.root" in events.metadata["filename"] else {})}


def a_plain_value(events):
    return {"x": events.x, "v": 1.0 if "2.root" in events.metadata["filename"] else events.x}


def an_equal_value(events):
    return {"x": events.x, "v": 1.0 if "2.root" in events.metadata["filename"] else True}


def fixed_shapes(events):
    return {"x": events.x, "v": np.ones((len(events), 3 if "2.root" in events.metadata["filename"] else 2))}


FLAT, JAGGED = np.arange(100.0), ak.Array([[1.0, 2.0], [3.0]] * 50)


@pytest.mark.parametrize("batches", ["one", "several"])
@pytest.mark.parametrize(
    ("first", "second", "columns", "what"),
    [
        (FLAT, JAGGED, one_value, "'v' is a number of type float .* and a list of type float"),
        (JAGGED, FLAT, one_value, "'v' is a list of type float .* and a number of type float"),
        (FLAT, FLAT.astype(np.int32), one_value, "'v' is a number of type float .* and a number of type int32"),
        (FLAT > 50, FLAT.astype(np.int8), one_value, "'v' is a number of type bool .* and a number of type int32"),
        (FLAT.astype(np.int32), FLAT.astype(np.int64), one_value, "type int32 .* and .* type int64"),
        (JAGGED, ak.values_astype(JAGGED, np.int32), one_value, "list of type float .* and a list of type int32"),
        (FLAT, FLAT, a_name_more, "2.root.* has 'more', .*1.root.* has not"),
        (FLAT, FLAT, a_plain_value, "'v' is a number of type float .* and the plain value 1.0"),
        (FLAT, FLAT, an_equal_value, "'v' is the plain value True .* and the plain value 1.0"),
        (FLAT, FLAT, fixed_shapes, r"an array of shape \(2,\) .* and an array of shape \(3,\)"),
    ],
)
def test_what_differs_by_file_is_named_in_one_batch_and_in_several(
    tmp_path, monkeypatch, first, second, columns, what, batches
) -> None:
    monkeypatch.setattr("diffea.events.batches.ROWS", {"one": 10_000, "several": 1}[batches])
    fileset = written(tmp_path, first, second)
    with pytest.raises(ColumnError) as caught:
        distribute(Reads(columns), fileset)
    assert caught.match(what)
    assert {"1.root", "2.root"} <= set(str(caught.value).replace("/", " ").replace(",", " ").split())
    assert "dataset 'd'" in str(caught.value)


def written(folder, *values):
    """A dataset of a file for each array."""
    for number, value in enumerate(values, 1):
        branches = {"x": FLAT, "v": value}
        with uproot.recreate(folder / f"{number}.root") as file:
            kinds = {
                name: array.type if isinstance(array, ak.Array) else array.dtype for name, array in branches.items()
            }
            file.mktree("Events", kinds)
            file["Events"].extend(branches)
    return {"d": [str(folder / f"{number}.root") for number in range(1, len(values) + 1)]}


@pytest.mark.parametrize("batches", ["one", "several"])
def test_what_differs_by_width_or_by_dataset_is_no_fault(tmp_path, monkeypatch, batches) -> None:
    monkeypatch.setattr("diffea.events.batches.ROWS", {"one": 10_000, "several": 1}[batches])
    fileset = written(tmp_path, FLAT, FLAT.astype(np.float32), FLAT.astype(np.uint8), FLAT.astype(np.int16), JAGGED)
    a, b, c, d, e = fileset["d"]
    with distribute(Reads(one_value), {"floats": [a, b], "integers": [c, d], "lists": [e]}) as templates:
        assert templates.events == {"floats": 200, "integers": 200, "lists": 100}
        assert float(templates.hard({"cut": 49.5})["x", "integers"].values.sum()) == 100


@pytest.mark.parametrize("split", [None, Split()])
@pytest.mark.parametrize("gradient", ["auto", "jacobian", "vjp", "by-bin"])
def test_an_analysis_that_selects_no_event_has_templates_of_zero(tmp_path, split, gradient) -> None:
    def none(events):
        events = events[events.x > 1000]
        return {"x": events.x, "v": events.v}

    with distribute(
        Reads(none), written(tmp_path, JAGGED, JAGGED), split=split, gradient=gradient, chunksize=30
    ) as templates:
        assert templates.events == {"d": 0}
        for found in (templates({"cut": 3.0}), templates.hard({"cut": 3.0})):
            assert set(found) == {("x", "d", "nominal")}
            assert not found.values_flat.any()
        np.testing.assert_array_equal(templates.jacobian({"cut": 3.0})["x", "d"].values["cut"], 0.0)


def test_a_file_of_which_nothing_is_selected_changes_nothing(tmp_path) -> None:
    fileset = written(tmp_path, JAGGED, JAGGED)

    def of_one(events):
        events = events[events.x > (1000 if "1.root" in events.metadata["filename"] else -1)]
        return {"x": events.x, "v": events.v}

    with distribute(Reads(of_one), fileset) as templates:
        assert templates.events == {"d": 100}
        assert float(templates.hard({"cut": 49.5})["x", "d"].values.sum()) == 50


def test_a_column_that_float32_would_make_zero():
    small = Columns({"v": np.array([0.0, 1e-60])}, {}, 2, "entries 0–2")
    with pytest.raises(NotFiniteError, match="'v' has no number above 1e-60, which is none in float32"):
        pack(small, np.dtype(np.float32))
    beside = Columns({"v": np.array([1.0, 1e-60])}, {}, 2)
    assert pack(beside, np.dtype(np.float32))["v"].tolist() == [1.0, 0.0]
