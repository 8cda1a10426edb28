"""What the first chunk of a dataset needed is read at once of the others: the same values, in fewer requests."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from coffea.nanoevents import BaseSchema, NanoEventsFactory
from tests.samples import PARAMS, QuietSchema, Search, write
from tests.webserver import serving

from diffea.distributed import distribute
from diffea.errors import FileReadError, FilesetError, MissingBranchError
from diffea.events.columns import read
from diffea.events.plan import plan
from diffea.events.root import _told_by_name

ROWS, BRANCHES = 20_000, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of four clusters, or row groups, whose ten columns do not compress."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    columns = {f"x{n}": rng.random(4 * ROWS) for n in range(BRANCHES)}
    clusters = [{name: x[ROWS * n : ROWS * (n + 1)] for name, x in columns.items()} for n in range(4)]
    with uproot.recreate(folder / "tree.root") as file:
        file.mktree("Events", dict.fromkeys(columns, "f8"))
        for cluster in clusters:
            file["Events"].extend(cluster)
    pq.write_table(pa.table(columns), folder / "a.parquet", row_group_size=ROWS)
    return folder


def all_of_them(events):
    return {f"x{n}": events[f"x{n}"] for n in range(BRANCHES)}


@pytest.mark.parametrize("name", ["tree.root", "a.parquet"])
def test_a_chunk_takes_one_request_and_not_one_a_branch(folder, name) -> None:
    with serving(folder) as server:
        chunks, _ = plan({"d": {"files": {f"{server.address}/{name}": "Events"}}}, ROWS)
        assert len(chunks) == 4
        found, requests = {}, {}
        for how, needed in (("one by one", None), ("first", known := set()), ("at once", known)):
            server.asked.clear()
            found[how] = read(chunks[2], all_of_them, BaseSchema, None, needed=needed).arrays
            requests[how] = server.of("GET")
    assert known == {f"x{n}" for n in range(BRANCHES)}
    for column in known:
        np.testing.assert_array_equal(found["at once"][column], found["one by one"][column])
    assert requests["first"] == requests["one by one"]
    assert requests["at once"] <= requests["one by one"] - BRANCHES + 1


def test_branches_that_others_did_not_need_are_read_too(folder) -> None:
    for name in ("tree.root", "a.parquet"):
        chunks, _ = plan({"d": {"files": {str(folder / name): "Events"}}}, ROWS)
        known: set[str] = set()
        read(chunks[0], lambda events: {"x": events.x0}, BaseSchema, None, needed=known)
        found = read(chunks[1], lambda events: {"x": events.x0 + events.x1}, BaseSchema, None, needed=known)
        expected = read(chunks[1], lambda events: {"x": events.x0 + events.x1}, BaseSchema, None)
        np.testing.assert_array_equal(found.arrays["x"], expected.arrays["x"])
        assert known == {"x0", "x1"}
        with pytest.raises(MissingBranchError, match="no branch 'y'"):
            read(chunks[1], lambda events: {"x": events.x0 + events.y}, BaseSchema, None, needed=known)


def test_a_needed_branch_may_be_missing_where_nobody_asks_for_it(tmp_path) -> None:
    for number, branches in enumerate((["x", "y"], ["x"])):
        with uproot.recreate(tmp_path / f"{number}.root") as file:
            file["Events"] = {name: np.arange(5.0) for name in branches}
    chunks, _ = plan({"d": [str(tmp_path / "*.root")]}, 100)
    known: set[str] = set()
    for chunk in chunks:
        read(
            chunk, lambda events: {"x": events.y if "y" in events.fields else events.x}, BaseSchema, None, needed=known
        )
    assert known == {"x", "y"}


def test_names_that_stand_for_several_branches_are_read_one_by_one() -> None:
    keys = ["x", "pt", "Jet", "Jet/pt", "Jet/eta", "Muon", "Muon.phi", "Muon.pt"]
    assert _told_by_name(keys) == {"x"}


def test_damage_is_named_as_such_wherever_it_is(tmp_path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {"x": "f8"})
        for _ in range(3):
            file["Events"].extend({"x": np.random.default_rng(0).integers(0, 5, 2000) * 1.0})
    chunks, _ = plan({"d": [str(path)]}, 2000)
    known: set[str] = set()
    read(chunks[0], lambda events: {"x": events.x}, BaseSchema, None, needed=known)
    with uproot.open(path) as file:
        begin = file["Events"]["x"].member("fBasketSeek")[1]
    with path.open("r+b") as file:
        file.seek(int(begin) + 120)
        file.write(b"\xff" * 400)
    for needed in (known, None):
        with pytest.raises(FileReadError, match=r"a.root, entries 2000–4000: reading a branch failed"):
            read(chunks[1], lambda events: {"x": events.x}, BaseSchema, None, needed=needed)


def test_dask_awkward_over_rntuples_is_refused_by_name(tmp_path) -> None:
    pytest.importorskip("dask_awkward", reason="an optional extra")
    write(tmp_path / "tree.root", 100, 0)
    branches = uproot.open(tmp_path / "tree.root")["Events"].arrays()
    with uproot.recreate(tmp_path / "tuple.root") as file:
        file.mkrntuple("Events", {name: branches[name] for name in branches.fields})
    source = {str(tmp_path / "tuple.root"): "Events"}
    events = NanoEventsFactory.from_root(
        source, schemaclass=QuietSchema, mode="dask", metadata={"dataset": "d"}
    ).events()
    with pytest.raises(FilesetError, match=r"coffea's dask mode cannot read RNTuples .*; give the fileset itself"):
        distribute(Search(), events)
    found = []
    for name in ("tree.root", "tuple.root"):
        with distribute(Search(), {"d": [str(tmp_path / name)]}, schemaclass=QuietSchema) as templates:
            found.append(templates.hard(PARAMS).values_flat)
    np.testing.assert_array_equal(*found)
    assert ak.sum(found[0]) != 0
