"""Whatever a fileset or columns are: every event once, its numbers as they were, or a named error."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from itertools import pairwise

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffea.errors import DiffeaError
from diffea.events.columns import check, concatenate, pack, read
from diffea.events.plan import plan
from diffea.events.ragged import Ragged

ENTRIES = {"a": 40, "b": 25, "empty": 0}
EXAMPLES = int(os.environ.get("DIFFEA_FUZZ", "150"))
UNHURRIED = settings(
    deadline=None,
    max_examples=EXAMPLES,
    derandomize="DIFFEA_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files, and other ways to two of them."""
    folder = tmp_path_factory.mktemp("data")
    for name, entries in ENTRIES.items():
        with uproot.recreate(folder / f"{name}.root") as file:
            file.mktree("Events", {"x": "float64"})
            if entries:
                file["Events"].extend({"x": np.arange(entries) + 0.5})
    shutil.copy(folder / "a.root", folder / "copy of a.root")
    (folder / "link to b.root").symlink_to(folder / "b.root")
    os.link(folder / "b.root", folder / "also b.root")
    return folder


FILES = {
    "a.root": "a",
    "./a.root": "a",
    "copy of a.root": "a",
    "b.root": "b",
    "link to b.root": "b",
    "also b.root": "b",
    "empty.root": "empty",
    "missing.root": None,
}
HOSTILE = st.sampled_from([None, -1, 3, 40, 40.0, "40", True, [], {}, "", float("nan"), [[0, 40]], [["a", "b"]], b"x"])


@st.composite
def steps(draw, entries):
    cuts = sorted(draw(st.lists(st.integers(0, entries), max_size=3)))
    pairs = [[start, stop] for start, stop in zip([0, *cuts], [*cuts, entries], strict=True)]
    fault = draw(st.sampled_from(["none"] * 16 + ["drop", "repeat", "shift", "turn"]))
    if fault == "drop":
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    elif fault == "repeat":
        pairs.append(draw(st.sampled_from(pairs)))
    elif fault == "shift":
        pairs[-1] = [pairs[-1][0], pairs[-1][1] + draw(st.sampled_from([-1, 1]))]
    elif fault == "turn":
        pairs[0] = pairs[0][::-1]
    return draw(st.permutations(pairs))


@st.composite
def specs(draw, path, folder):
    """What a fileset says of a file: mostly what is right."""
    name = FILES[path]
    if name is None or draw(st.booleans()):
        return "Events"
    with uproot.open(folder / f"{name}.root") as file:
        uuid = str(file.file.uuid)
    right = {
        "object_path": st.just("Events"),
        "steps": steps(ENTRIES[name]),
        "num_entries": st.just(ENTRIES[name]),
        "uuid": st.just(uuid),
    }
    wrong = {"num_entries": st.integers(0, 60), "uuid": st.uuids().map(str), "steps": HOSTILE, "object_path": HOSTILE}
    said = {"object_path": "Events", **{key: draw(right[key]) for key in draw(st.sets(st.sampled_from(sorted(right))))}}
    if draw(st.integers(0, 9)) == 0:
        key = draw(st.sampled_from(sorted(wrong)))
        said[key] = draw(st.one_of(wrong[key], HOSTILE))
    return said


@st.composite
def filesets(draw, folder):
    fileset = {}
    for name in draw(st.lists(st.sampled_from("def"), min_size=1, max_size=3, unique=True)):
        spelled = ["a.root", "b.root", "empty.root"] if draw(st.booleans()) else list(FILES)
        paths = draw(st.lists(st.sampled_from(spelled), min_size=1, max_size=3, unique=True))
        sample = draw(st.sampled_from([{}] * 8 + [{"sample": "s"}] * 3 + [{"sample": 3}]))
        fileset[name] = {"files": {path: draw(specs(path, folder)) for path in paths}, "metadata": sample}
    return fileset


@given(data=st.data())
@UNHURRIED
def test_every_event_of_a_fileset_is_read_once_into_its_sample(folder, data) -> None:
    fileset = data.draw(filesets(folder))
    chunksize = data.draw(st.sampled_from([7, 16, 1000]))
    found: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("diffea.events.patience.PAUSES", ())
        try:
            for chunk in plan(fileset, chunksize, skip=True)[0]:
                numbers = read(chunk, lambda events: {"x": events.x}, BaseSchema, None).arrays["x"]
                assert ak.to_list(numbers) == [entry + 0.5 for entry in range(chunk.start, chunk.stop)]
                found[chunk.file.sample] += chunk.rows
        except DiffeaError:
            return
    expected: dict[str, set[str]] = {}
    for name, dataset in fileset.items():
        sample = dataset["metadata"].get("sample", name)
        expected.setdefault(sample, set()).update(FILES[path] for path in dataset["files"] if FILES[path])
    assert found == {
        sample: total for sample, names in expected.items() if (total := sum(ENTRIES[name] for name in names))
    }


@given(data=st.data())
@UNHURRIED
def test_a_right_fileset_is_no_error(folder, data) -> None:
    chosen = data.draw(
        st.lists(st.sampled_from(["a", "b", "empty"]), min_size=1, unique=True).filter(lambda names: names != ["empty"])
    )
    files = {}
    for name in chosen:
        with uproot.open(folder / f"{name}.root") as file:
            uuid = str(file.file.uuid)
        cuts = (
            sorted(data.draw(st.sets(st.integers(1, max(ENTRIES[name] - 1, 1)), max_size=3))) if ENTRIES[name] else []
        )
        edges = [0, *cuts, ENTRIES[name]]
        said = {"steps": list(pairwise(edges)), "num_entries": ENTRIES[name], "uuid": uuid}
        files[str(folder / f"{name}.root")] = {
            "object_path": "Events",
            **{key: said[key] for key in data.draw(st.sets(st.sampled_from(sorted(said))))},
        }
    chunks, left_out = plan({"d": {"files": files}}, data.draw(st.integers(1, 100)))
    assert sum(chunk.rows for chunk in chunks) == sum(ENTRIES[name] for name in chosen)
    assert not left_out


NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.integers(-5, 5), st.booleans())
ODD = st.sampled_from(
    [
        None,
        "text",
        1j,
        float("nan"),
        float("inf"),
        2**70,
        {"pt": 1.0},
        np.datetime64("2026-01-01"),
        np.float32(2.0),
        b"x",
    ]
)
ENTRY = st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3), st.one_of(ODD, st.lists(st.one_of(NUMBERS, ODD), max_size=3)))


@st.composite
def values(draw):
    """A column: of one kind of entries, mostly, as a list, NumPy's or awkward's."""
    entry = draw(
        st.sampled_from(
            [st.floats(-1e6, 1e6), st.integers(-5, 5), st.booleans(), st.lists(st.floats(-9, 9), max_size=4), ENTRY]
        )
    )
    entries = draw(st.lists(entry, min_size=0, max_size=6))
    make = draw(st.sampled_from([list, np.array, ak.Array, np.ma.masked_invalid]))
    try:
        return make(entries)
    except (ValueError, TypeError, RuntimeError):  # what neither NumPy nor awkward takes is left a list
        return entries


@given(first=st.dictionaries(st.sampled_from("abc"), st.one_of(values(), ODD, NUMBERS), max_size=3), second=values())
@UNHURRIED
def test_columns_keep_their_numbers_or_are_named(first, second) -> None:
    found = []
    for columns in (first, {**first, "a": second}):
        try:
            checked = check(columns, 6, "somewhere")
            packed = pack(checked, np.dtype(float))
        except DiffeaError:
            continue
        found.append(checked)
        for name, column in packed.items():
            numbers = [
                number
                for entry in list(columns[name])
                for number in np.ravel(ak.to_numpy(entry) if isinstance(entry, ak.Array) else entry)
            ]
            kept = (
                np.asarray(column.values)[np.asarray(column.mask)] if isinstance(column, Ragged) else np.ravel(column)
            )
            np.testing.assert_array_equal(kept, np.array(numbers, dtype=float))
    if len(found) == 2:
        try:
            together = concatenate(found)
        except DiffeaError:
            return
        assert together.rows == sum(part.rows for part in found)
        for name, array in together.arrays.items():
            assert ak.sum(ak.Array(array), axis=None) == pytest.approx(
                sum(float(ak.sum(ak.Array(part.arrays[name]), axis=None)) for part in found)
            )
