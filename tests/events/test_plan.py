"""The plan: every event of a fileset once, whatever a preprocessed fileset says and however its files are spelled."""

from __future__ import annotations

import os
import shutil
import uuid

import hist
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from tests.samples import write

from diffea.distributed import distribute
from diffea.errors import FileReadError, FilesetError
from diffea.events.plan import plan
from diffea.processor import DifferentiableProcessor, Fill

EVENTS = 250
NOWHERE = str(uuid.UUID(int=7))


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    """A file of two trees, 250 events in each."""
    path = tmp_path_factory.mktemp("data") / "a.root"
    with uproot.recreate(path) as file:
        for tree in ("Events", "Other"):
            file[tree] = {"x": np.arange(EVENTS) + 0.5}
    return str(path)


@pytest.fixture(scope="module")
def inside(path) -> str:
    with uproot.open(path) as file:
        return str(file.file.uuid)


def of(path, **stated):
    return {"d": {"files": {path: {"object_path": "Events", **stated}}}}


def ranges(fileset, chunksize=100):
    return [(chunk.start, chunk.stop) for chunk in plan(fileset, chunksize)[0]]


class Counting(DifferentiableProcessor):
    channels = {"all": hist.axis.Regular(1, 0, EVENTS, name="x")}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x}

    def fill(self, params, columns):
        yield Fill("all", columns["x"], params["k"])


def counted(fileset, **options):
    with distribute(Counting(), fileset, schemaclass=BaseSchema, **options) as templates:
        return {key[1]: float(sums.flow_values.sum()) for key, sums in templates.hard({"k": 1.0}).items()}


def test_the_events_of_a_sample_are_counted_as_often_as_there_are(path, inside) -> None:
    steps = [[200, 250], [0, 120], [120, 120], [120, 200]]
    for fileset in (of(path), of(path, steps=steps), of(path, steps=steps, num_entries=EVENTS, uuid=inside.upper())):
        for chunksize in (37, 1000):
            assert counted(fileset, chunksize=chunksize) == {"d": EVENTS}


def test_chunks_are_of_about_one_size_and_never_empty(path) -> None:
    assert ranges(of(path), 100) == [(0, 125), (125, 250)]
    assert ranges(of(path), 0.1e3) == ranges(of(path), 100)
    assert len(ranges(of(path), 1)) == EVENTS


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([[0, 150], [100, 250]], "entries 100–150 are in two"),
        ([[0, 250], [0, 250]], "entries 0–250 are in two"),
        ([[0, 250], [20, 30]], "entries 20–30 are in two"),
        ([[0, 100], [200, 250]], "entries 100–200 of 250 are in none"),
        ([[10, 250]], "entries 0–10 of 250 are in none"),
        ([[0, 249]], "entries 249–250 of 250 are in none"),
        ([[0, 0]], "entries 0–250 of 250 are in none"),
        ([[0, 251]], r"within its 250 entries, .* got \[0, 251\]"),
        ([[250, 300], [0, 250]], r"within its 250 entries, .* got \[250, 300\]"),
        ([[-5, 250]], r"got \[-5, 250\]"),
        ([[250, 0]], r"from low to high, got \[250, 0\]"),
    ],
)
def test_steps_that_are_not_every_entry_once_are_named(path, steps, text) -> None:
    with pytest.raises(FilesetError, match=f"dataset 'd', file .*a.root: .*{text}"):
        ranges(of(path, steps=steps))
    with pytest.raises(FilesetError, match=text):  # whether or not the file is opened for the plan
        ranges(of(path, steps=steps, num_entries=EVENTS, uuid=NOWHERE))


@pytest.mark.parametrize(
    "steps", [[], "all", 3, [[0, 100, 250]], [0, 250], [[0.0, 250.0]], [["0", "250"]], [[False, 250]], [[0, None]], {}]
)
def test_steps_that_are_no_pairs_of_numbers_are_named(path, steps) -> None:
    with pytest.raises(FilesetError, match=r"a.root: steps are pairs \[first entry, one past the last\]"):
        plan(of(path, steps=steps), 100)


def test_steps_of_numpy_are_steps(path) -> None:
    assert ranges(of(path, steps=np.array([[0, 100], [100, 250]]), num_entries=np.int64(250))) == [(0, 100), (100, 250)]


@pytest.mark.parametrize("entries", [-1, 250.0, "250", True, [250]])
def test_a_number_of_entries_that_is_none_is_named(path, entries) -> None:
    with pytest.raises(FilesetError, match=r"a.root: num_entries is a whole number"):
        plan(of(path, num_entries=entries), 100)


@pytest.mark.parametrize("text", ["no UUID", "", 3, ["a"], "junk"])
def test_a_uuid_that_is_none_is_named(path, text) -> None:
    with pytest.raises(FilesetError, match=r"a.root: uuid is that of the file, such as 0000"):
        plan(of(path, uuid=text), 100)


@pytest.mark.parametrize("on_bad_file", ["raise", "skip"])
@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ({"num_entries": 100}, "entries 100 .* got 250"),
        ({"num_entries": 300}, "entries 300 .* got 250"),
        ({"num_entries": 0}, "entries 0 .* got 250"),
        ({"num_entries": 100, "steps": [[0, 100]]}, "entries 100 .* got 250"),
        ({"uuid": NOWHERE}, f"UUID {NOWHERE} .* got"),
        ({"num_entries": EVENTS, "uuid": NOWHERE}, f"UUID {NOWHERE} .* got"),
        ({"num_entries": EVENTS, "uuid": str(uuid.UUID(int=0))}, "UUID 0000.* got"),
    ],
)
def test_what_a_fileset_states_is_compared_with_the_file(path, stated, text, on_bad_file) -> None:
    with pytest.raises(FilesetError, match=f"a.root: expected the {text}"):
        counted(of(path, **stated), on_bad_file=on_bad_file)


@pytest.mark.parametrize("entries", [0, 100, 300])
def test_stale_entries_are_seen_though_the_uuid_is_right(path, inside, entries) -> None:
    with pytest.raises(FilesetError, match=f"expected the entries {entries} .* got 250"):
        counted(of(path, num_entries=entries, uuid=inside), on_bad_file="skip")


def test_a_preprocessed_file_is_opened_to_read_it_alone(path, inside, monkeypatch) -> None:
    opened, opening = [], uproot.open

    def watched(files, **options):
        opened.append(files)
        return opening(files, **options)

    monkeypatch.setattr(uproot, "open", watched)
    plan(of(path, num_entries=EVENTS, uuid=inside), 100)
    assert not opened
    counted(of(path, num_entries=EVENTS, uuid=inside), chunksize=125)
    assert len(opened) == 2


SPELLINGS = {
    "dot": lambda path: "./a.root",
    "parent": lambda path: f"../{path.parent.name}/a.root",
    "double slash": lambda path: f"{path.parent}//a.root",
    "scheme": lambda path: f"file://{path}",
    "symbolic link": lambda path: made(path, "link.root", os.symlink),
    "hard link": lambda path: made(path, "hard.root", os.link),
    "copy": lambda path: made(path, "copy.root", shutil.copy),
    "path object": lambda path: path.parent / "a.root",
}


def made(path, name, how):
    how(path, path.parent / name)
    return str(path.parent / name)


@pytest.fixture
def own(path, tmp_path, monkeypatch):
    """A copy for one test, from whose folder it runs."""
    shutil.copy(path, tmp_path / "a.root")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "a.root"


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("preprocessed", [False, True])
def test_one_file_in_two_spellings_is_named(own, inside, spelling, preprocessed) -> None:
    other = SPELLINGS[spelling](own)
    spec = {"object_path": "Events", "num_entries": EVENTS, "uuid": inside} if preprocessed else "Events"
    if spelling != "path object":
        assert counted({"d": {"files": {other: spec}}}) == {"d": EVENTS}
        with pytest.raises(FilesetError, match=r"a.root and .* are the same file or copies"):
            plan({"d": {"files": {str(own): spec, other: spec}}}, 100)
    with pytest.raises(FilesetError, match=r"dataset 'd', file .*a.root and dataset 'e', file .* same file or copies"):
        plan(
            {name: {"files": {file: spec}, "metadata": {"sample": "s"}} for name, file in (("d", own), ("e", other))},
            100,
        )


def test_made_up_uuids_do_not_hide_a_copy(own) -> None:
    shutil.copy(own, "copy.root")
    names = enumerate(["a.root", "copy.root"], 1)
    files = {name: {"object_path": "Events", "num_entries": EVENTS, "uuid": str(uuid.UUID(int=n))} for n, name in names}
    with pytest.raises(FilesetError, match="expected the UUID"):
        counted({"d": {"files": files}})


@pytest.mark.parametrize("tree", ["Events;1", "/Events", "//Events;1"])
def test_one_tree_in_two_spellings_is_named(own, tree) -> None:
    assert counted({"d": {"files": {"a.root": tree}}}) == {"d": EVENTS}
    with pytest.raises(FilesetError, match="sample 'd' would count the events of"):
        plan({"d": {"files": {"a.root": "Events", "./a.root": tree}}}, 100)


def test_a_file_serves_two_samples_and_two_trees_one(path) -> None:
    assert counted({"d": [path], "e": [path]}) == {"d": EVENTS, "e": EVENTS}
    two = {"d": {"files": {path: "Events"}}, "e": {"files": {path: "Other"}, "metadata": {"sample": "d"}}}
    assert counted(two) == {"d": 2 * EVENTS}


def without_uuid(path):
    """As ROOT writes them with ``?reproducible``."""
    content = path.read_bytes()
    with uproot.open(path) as file:
        path.write_bytes(content.replace(file.file.uuid.bytes, bytes(16)))
    return path


def test_files_without_a_uuid_are_told_apart_by_their_place(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(["a.root", "b.root"]):
        write(tmp_path / name, 100, number)
        without_uuid(tmp_path / name)
    assert len(plan({"d": ["a.root", "b.root"]}, 100)[0]) == 2
    os.link("a.root", "c.root")
    for other in ("./a.root", str(tmp_path / "a.root"), f"file://{tmp_path}/a.root", "c.root"):
        with pytest.raises(FilesetError, match="same file or copies"):
            plan({"d": ["a.root", "b.root", other]}, 100)


@pytest.mark.parametrize("chunksize", [0, -5, 1.5, float("nan"), float("inf"), "100", None, True])
def test_a_chunk_size_that_counts_nothing_is_named(path, chunksize) -> None:
    with pytest.raises(FilesetError, match="whole number, at least 1"):
        plan({"d": [path]}, chunksize)


def test_files_that_do_not_open_are_left_out_on_request_alone(path, tmp_path) -> None:
    bad = str(tmp_path / "bad.root")
    for tree, reason in (
        ("Events", "cannot be read as a ROOT file"),
        ("Missing", "has no tree 'Missing'; it has: Events, Other"),
    ):
        file = bad if tree == "Events" else path
        with pytest.raises(FileReadError, match=reason):
            plan({"d": {"files": {file: tree}}}, 100)
        chunks, left_out = plan({"d": [path], "e": {"files": {file: tree}}}, 1000, skip=True)
        assert [chunk.file.dataset for chunk in chunks] == ["d"]
        assert [(entry.dataset, reason in why) for entry, why in left_out] == [("e", True)]


def test_a_fileset_without_events_is_named(tmp_path) -> None:
    write(tmp_path / "empty.root", 0, 0)
    for stated in ({}, {"steps": [[0, 0]], "num_entries": 0}):
        with pytest.raises(FilesetError, match="has no events: 1 files, all empty"):
            plan(of(str(tmp_path / "empty.root"), **stated), 100)
