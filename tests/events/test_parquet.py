"""Parquet: the same events give the same bits as in ROOT, and what cannot be read is named."""

from __future__ import annotations

import datetime as dt
import decimal
import shutil
import warnings
from functools import partial
from pathlib import Path

import awkward as ak
import hist
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from coffea.nanoevents import BaseSchema, NanoEventsFactory
from tests.samples import PARAMS, QuietSchema, Search, write

from diffea.distributed import distribute as distribute_nano
from diffea.errors import ColumnError, FileReadError, FilesetError, MissingBranchError
from diffea.events.columns import read
from diffea.events.plan import plan
from diffea.events.splits import Split
from diffea.processor import DifferentiableProcessor, Fill
from diffea.program import Program

distribute = partial(distribute_nano, schemaclass=QuietSchema)
EVENTS = 1000
pytestmark = pytest.mark.filterwarnings("ignore:Branch Jet_charge already exists")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The same thousand events three times: in ROOT, in NanoAOD's columns, and as the records that coffea makes of them."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "events.root", EVENTS, 1)
    branches = uproot.open(folder / "events.root")["Events"].arrays()
    ak.to_parquet(branches, folder / "flat.parquet", row_group_size=250)
    source = {str(folder / "events.root"): "Events"}
    events = NanoEventsFactory.from_root(source, schemaclass=QuietSchema, mode="eager").events()
    ak.to_parquet(ak.without_parameters(events), folder / "nested.parquet", row_group_size=250)
    return folder


def fileset(*files, **dataset):
    return {"d": {"files": list(map(str, files)), **dataset}}


SEARCH = Program(Search())


def numbers(fileset, **options):
    """Soft templates with their derivatives, and the ledger."""
    with distribute(SEARCH, fileset, **options) as templates:
        return np.concatenate(
            [templates(PARAMS).values_flat, templates.jacobian(PARAMS).flat.ravel()]
        ), templates.ledger


@pytest.mark.parametrize("name", ["flat.parquet", "nested.parquet"])
@pytest.mark.parametrize(("chunksize", "split"), [(250, None), (500, Split(train=0.3, seed=5))])
def test_events_give_the_same_bits_as_in_root(folder, name, chunksize, split) -> None:
    expected, of_root = numbers(fileset(folder / "events.root"), chunksize=chunksize, split=split)
    found, ledger = numbers(fileset(folder / name), chunksize=chunksize, split=split)
    np.testing.assert_array_equal(found, expected)
    kept = [[(chunk.start, chunk.stop, rows) for chunk, rows in one.chunks] for one in (ledger, of_root)]
    assert kept[0] == kept[1]


def ranges(path, chunksize, **spec):
    return [(chunk.start, chunk.stop) for chunk in plan({"d": {"files": {str(path): spec or None}}}, chunksize)[0]]


def test_chunks_are_whole_row_groups(folder, tmp_path) -> None:
    path = folder / "flat.parquet"
    assert ranges(path, 1) == ranges(path, 250) == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert ranges(path, 300) == [(0, 250), (250, 750), (750, 1000)]
    assert ranges(path, 500) == [(0, 500), (500, 1000)]
    assert ranges(path, 10_000) == [(0, 1000)]
    with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema({"x": pa.float64()})) as file:
        for rows in (10, 0, 500, 3, 200):
            file.write_table(pa.table({"x": np.zeros(rows)}), row_group_size=1000)
    assert ranges(tmp_path / "a.parquet", 100) == [(0, 10), (10, 510), (510, 513), (513, 713)]


def test_steps_of_a_fileset_need_not_be_row_groups(folder) -> None:
    steps = [[0, 100], [100, 620], [620, 1000]]
    assert ranges(folder / "flat.parquet", 100, steps=steps, num_entries=EVENTS) == [tuple(step) for step in steps]
    of = {name: {"d": {"files": {str(folder / name): {"object_path": "Events", "steps": steps}}}} for name in NAMES}
    bits = [numbers(of[name])[0] for name in NAMES]
    np.testing.assert_array_equal(bits[0], bits[1])
    np.testing.assert_array_equal(bits[0], bits[2])


NAMES = ("events.root", "flat.parquet", "nested.parquet")


@pytest.mark.parametrize("name", ["flat.parquet", "nested.parquet"])
def test_what_coffea_preprocesses_is_a_fileset(folder, name) -> None:
    pytest.importorskip("dask_awkward", reason="coffea preprocesses filesets with dask-awkward, an optional extra")
    from coffea.dataset_tools import DataGroupSpec, preprocess_parquet

    path = str(folder / name)
    given = DataGroupSpec.model_validate({"d": {"files": {path: None}, "metadata": {"sample": "s"}}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared, _ = preprocess_parquet(given, step_size=400, save_form=True)
    found, ledger = numbers(prepared)
    np.testing.assert_array_equal(found, numbers(fileset(folder / "events.root", metadata={"sample": "s"}))[0])
    assert [chunk.rows for chunk, _ in ledger.chunks] == [500, 500]
    assert {chunk.file.sample for chunk, _ in ledger.chunks} == {"s"}
    stale = prepared.model_dump()
    stale["d"]["files"][path]["uuid"] = "0" * 64
    with pytest.raises(FilesetError, match=f"{name}: expected the UUID 0000"):
        numbers(stale)


class Sums(DifferentiableProcessor):
    """What a function of the events gives, in one bin."""

    channels = {"all": hist.axis.Regular(1, 0, 1, name="x")}  # noqa: RUF012

    def __init__(self, weight) -> None:
        self.weight = weight

    def columns(self, events):
        return {"w": self.weight(events)}

    def fill(self, params, columns):
        yield Fill("all", jnp.full(columns["w"].shape, 0.5), params["k"] * columns["w"])


def total(path, weight, schemaclass=BaseSchema, chunksize=100_000):
    chunks, _ = plan(fileset(path), chunksize)
    return sum(float(np.sum(read(chunk, Sums(weight).columns, schemaclass, None).arrays["w"])) for chunk in chunks)


RECORDS = ak.Array(
    [
        {
            "x": 1.5,
            "n": 3,
            "ok": True,
            "MET": {"pt": 10.0, "at": {"phi": 0.5}},
            "Jet": [{"pt": 5.0, "hits": [1, 2]}, {"pt": 6.0, "hits": []}],
        },
        {"x": 2.5, "n": -4, "ok": False, "MET": {"pt": 20.0, "at": {"phi": 0.25}}, "Jet": []},
        {"x": 4.0, "n": 5, "ok": True, "MET": {"pt": 40.0, "at": {"phi": 1.0}}, "Jet": [{"pt": 7.0, "hits": [3]}]},
    ]
)


def as_records(events):
    """A sum to which every leaf contributes in a way of its own."""
    jets = ak.sum(events.Jet.pt, axis=1) * ak.num(events.Jet, axis=1) + ak.sum(ak.sum(events.Jet.hits, axis=2), axis=1)
    return events.x * events.n + events.ok * events.MET.pt + events.MET["at", "phi"] + jets


def as_names(events):
    jets = ak.sum(events.Jet_pt, axis=1) * events.nJet + ak.sum(ak.sum(events.Jet_hits, axis=2), axis=1)
    return events.x * events.n + events.ok * events.MET_pt + events.MET_at_phi + jets


class Named(BaseSchema):
    """A schema of one's own, which meets NanoAOD's names."""

    def __init__(self, form, *args) -> None:
        super().__init__(form, *args)


@pytest.mark.parametrize("how", ["awkward", "arrow, with room for missing values", "polars-like large lists"])
def test_records_in_lists_are_read_leaf_by_leaf(tmp_path, how) -> None:
    path = tmp_path / "a.parquet"
    if how == "awkward":
        ak.to_parquet(RECORDS, path, row_group_size=2)
    else:
        table = pa.Table.from_pylist(RECORDS.to_list())
        if how != "arrow, with room for missing values":
            table = ak.to_arrow_table(RECORDS, extensionarray=False, list_to32=False)
        pq.write_table(table, path, row_group_size=2)
    expected = float(ak.sum(as_records(RECORDS)))
    assert expected == 1.5 * 3 + 10 + 0.5 + 22 + 3 + 2.5 * -4 + 0.25 + 4 * 5 + 40 + 1 + 7 + 3
    assert total(path, as_records) == total(path, as_records, chunksize=1) == expected
    assert total(path, as_names, Named) == expected


def test_only_what_is_asked_for_is_read(folder, monkeypatch) -> None:
    read, reading = [], pq.ParquetFile.read_row_groups

    def watched(self, groups, columns=None, **options):
        read.append((list(groups), columns))
        return reading(self, groups, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    total(folder / "nested.parquet", lambda events: ak.sum(events.Jet.pt, axis=1), chunksize=500)
    assert sorted(read) == [([0, 1], ["Jet.list.item.pt"]), ([2, 3], ["Jet.list.item.pt"])]


@pytest.mark.parametrize("values", [[1.0, None], [[1.0], [None, 2.0]], [[1.0], None], [{"y": 1.0}, None]])
def test_missing_values_are_named_where_they_are_read(tmp_path, values) -> None:
    pq.write_table(pa.table({"x": values, "w": [1.0, 2.0]}), tmp_path / "a.parquet")
    assert total(tmp_path / "a.parquet", lambda events: events.w) == 3.0
    with pytest.raises(
        ColumnError, match=r"dataset 'd', file .*a.parquet, entries 0–2: column 'x.*' has 1 missing values"
    ):
        total(tmp_path / "a.parquet", lambda events: events.x.y if "y" in events.x.fields else events.x)


OTHERS = {
    "string": ["a", "b"],
    "timestamp": [dt.datetime(2026, 1, 1)] * 2,
    "decimal": [decimal.Decimal("1.5")] * 2,
    "map": pa.array([[("a", {"b": 1.0, "c": 2.0})], []], pa.map_(pa.string(), pa.struct({"b": "f8", "c": "f8"}))),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_columns_that_are_no_numbers_are_in_nobodys_way(tmp_path, kind) -> None:
    pq.write_table(pa.table({"v": OTHERS[kind], "w": [1.0, 2.0]}), tmp_path / "a.parquet")
    assert total(tmp_path / "a.parquet", lambda events: events.w) == 3.0
    with pytest.raises(
        MissingBranchError, match=f"no branch 'v'.* since 'v' in the file is of the type {kind}.*, no number"
    ):
        total(tmp_path / "a.parquet", lambda events: events.v)


def test_a_column_that_is_not_there_is_named(folder) -> None:
    for name, near in (("flat.parquet", "Jet_pt"), ("nested.parquet", "Jet.pt")):
        with pytest.raises(MissingBranchError, match=rf"file .*{name}, entries 0–1000: there is no branch 'Jet_ptt?'"):
            total(folder / name, lambda events: events.Jet_ptt if "Jet_pt" in events.fields else events.Jet_pt)
        with pytest.raises(MissingBranchError, match=near):
            total(folder / name, lambda events: events.Jet_pt_up if "Jet_pt" in events.fields else events.Jet.ptt)


def damaged(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {"truncated": content[:-300], "empty": b"", "another kind": b"root" + content[4:-4] + b"root"}[how]
    )


@pytest.mark.parametrize("how", ["truncated", "empty", "another kind"])
def test_a_file_that_is_not_whole_is_named_or_left_out(folder, tmp_path, how) -> None:
    shutil.copy(folder / "flat.parquet", tmp_path / "bad.parquet")
    damaged(tmp_path / "bad.parquet", how)
    files = fileset(tmp_path / "bad.parquet", folder / "flat.parquet")
    with pytest.raises(FileReadError, match=r"dataset 'd': .*bad.parquet cannot be read as a Parquet file"):
        numbers(files)
    found, ledger = numbers(files, on_bad_file="skip")
    np.testing.assert_array_equal(found, numbers(fileset(folder / "flat.parquet"))[0])
    assert [Path(entry.file).name for entry in ledger.skipped] == ["bad.parquet"]


def test_damaged_pages_are_named_and_not_counted(folder, tmp_path) -> None:
    path = tmp_path / "bad.parquet"
    shutil.copy(folder / "flat.parquet", path)
    column = pq.ParquetFile(path).metadata.row_group(2).column(5)
    assert column.path_in_schema == "MET_pt"
    begin = column.dictionary_page_offset or column.data_page_offset
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * column.total_compressed_size)
    with pytest.raises(FileReadError, match=r"bad.parquet, entries 500–750: reading a branch failed"):
        numbers(fileset(path), chunksize=250)
    _, ledger = numbers(fileset(path), chunksize=250, on_bad_file="skip")
    assert ledger.events == {"d": 750}
    assert ledger.lost == {"d": 0.25}


def test_a_file_that_changes_after_the_plan_is_named(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(10.0)}), path)
    from diffea import distributed

    batches_of = distributed.batches_of

    def changed(chunks):
        pq.write_table(pa.table({"x": np.arange(10.0)[::-1] + 1}), path)
        return batches_of(chunks)

    monkeypatch.setattr(distributed, "batches_of", changed)
    with pytest.raises(FilesetError, match=r"a.parquet: expected the UUID .* it is another file by now"):
        distribute_nano(Sums(lambda events: events.x), fileset(path), schemaclass=BaseSchema)


def test_copies_are_one_file_and_others_are_not(folder, tmp_path) -> None:
    shutil.copy(folder / "flat.parquet", tmp_path / "copy.parquet")
    with pytest.raises(FilesetError, match=r"sample 'd' would count the events of .* twice"):
        numbers(fileset(folder / "flat.parquet", tmp_path / "copy.parquet"))
    for number in (1, 2):  # alike in size, rows and extremes
        values = np.concatenate([[0.0], np.full(100, number), [3.0]])
        table = pa.table({"x": values})
        pq.write_table(table, tmp_path / f"{number}.parquet", use_dictionary=False, compression=None)
    alike = [pq.ParquetFile(tmp_path / f"{number}.parquet").metadata for number in (1, 2)]
    assert alike[0] == alike[1]
    files = fileset(tmp_path / "1.parquet", tmp_path / "2.parquet")
    with distribute_nano(Sums(lambda events: events.x), files, schemaclass=BaseSchema) as templates:
        assert float(templates.hard({"k": 1.0})["all", "d"].values.sum()) == 100 * 1 + 100 * 2 + 2 * 3.0


def test_empty_files_are_none_of_the_events(folder, tmp_path) -> None:
    empty = ak.from_parquet(folder / "flat.parquet")[:0]
    ak.to_parquet(empty, tmp_path / "empty.parquet")
    found, _ = numbers(fileset(tmp_path / "empty.parquet", folder / "flat.parquet"))
    np.testing.assert_array_equal(found, numbers(fileset(folder / "flat.parquet"))[0])
    with pytest.raises(FilesetError, match="has no events: 1 files, all empty"):
        numbers(fileset(tmp_path / "empty.parquet"))


def test_both_formats_in_one_dataset_are_refused_and_in_one_sample_are_not(folder, tmp_path) -> None:
    write(tmp_path / "more.root", 300, 2)
    with pytest.raises(
        FilesetError, match=r"'d' has files of both formats, such as .*flat.parquet \(Parquet\) and .*more.root"
    ):
        numbers(fileset(folder / "flat.parquet", tmp_path / "more.root"))
    two = {
        **fileset(folder / "flat.parquet"),
        "e": {"files": [str(tmp_path / "more.root")], "metadata": {"sample": "d"}},
    }
    both = fileset(folder / "events.root", tmp_path / "more.root")
    np.testing.assert_allclose(numbers(two)[0], numbers(both)[0], rtol=1e-13)


def test_a_format_is_told_by_the_name_or_stated(folder, tmp_path) -> None:
    for name in ("a.parq", "a.pq", "a.root.parquet", "part-0.parquet.0"):
        shutil.copy(folder / "flat.parquet", tmp_path / name)
        assert ranges(tmp_path / name, 1000) == [(0, 1000)]
    shutil.copy(folder / "flat.parquet", tmp_path / "a.data")
    assert ranges(tmp_path / "a.data", 1000, format="parquet") == [(0, 1000)]
    with pytest.raises(FileReadError, match=r"a.data cannot be read as a ROOT file"):
        ranges(tmp_path / "a.data", 1000, object_path="Events")
    with pytest.raises(FilesetError, match=r"a.data: format is 'root' or 'parquet', got 'csv'"):
        ranges(tmp_path / "a.data", 1000, format="csv")
