"""Filesets in all of coffea's forms become the same chunks; batches and shares keep their order."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.samples import write

from diffea.errors import FilesetError
from diffea.events.batches import ROWS, batches_of, shares
from diffea.events.blocks import CAPACITIES, SIZES, block_rows, capacity
from diffea.events.filesets import Chunk, File, files_of
from diffea.events.plan import plan


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("data") / "a.root"
    write(path, 1000, 0)
    return str(path)


def test_forms_of_a_fileset_are_one(path) -> None:
    forms = [
        {"d": [path]},
        {"d": {"files": [path], "treename": "Events"}},
        {"d": {"files": {path: "Events"}}},
        {"d": {"files": {path: {"object_path": "Events"}}}},
    ]
    chunks = [plan(form, 300)[0] for form in forms]
    assert all(found == chunks[0] for found in chunks)
    assert [(chunk.start, chunk.stop) for chunk in chunks[0]] == [(0, 333), (333, 666), (666, 1000)]


def test_a_preprocessed_fileset_keeps_its_steps(path) -> None:
    pytest.importorskip("dask_awkward", reason="coffea preprocesses filesets with dask-awkward, an optional extra")
    from coffea.dataset_tools import preprocess

    prepared, _ = preprocess({"d": {"files": {path: "Events"}, "metadata": {"sample": "s"}}}, step_size=400)
    chunks, _ = plan(prepared, 100_000)
    assert len(chunks) == len(prepared["d"]["files"][path]["steps"]) > 1
    assert sum(chunk.rows for chunk in chunks) == 1000
    assert chunks[0].file.sample == "s"


def test_what_coffeas_dataset_tools_make_is_a_fileset(tmp_path) -> None:
    pytest.importorskip("dask_awkward", reason="coffea preprocesses filesets with dask-awkward, an optional extra")
    from coffea.dataset_tools import DataGroupSpec, filter_files, max_chunks, max_files, preprocess

    paths = {str(tmp_path / f"{n}.root"): 500 * n for n in range(3)}
    for path, events in paths.items():
        write(path, events, events)
    given = DataGroupSpec.model_validate({"d": {"files": dict.fromkeys(paths, "Events"), "metadata": {"sample": "s"}}})
    usable, updated = preprocess(given, step_size=200, save_form=True)
    for made in (usable, updated, filter_files(usable), json.loads(usable.model_dump_json()), max_chunks(usable, 99)):
        chunks, _ = plan(made, 100_000)
        assert [chunk.rows for chunk in chunks] == [250] * 2 + [200] * 5
        assert {chunk.file.sample for chunk in chunks} == {"s"}
    assert [chunk.rows for chunk in plan(max_files(usable, 2), 100_000)[0]] == [250] * 2
    with pytest.raises(FilesetError, match="in none of its steps, which would lose their events"):
        plan(max_chunks(usable, 2), 100_000)


def test_a_data_group_spec_is_a_fileset(path) -> None:
    from coffea.dataset_tools import DataGroupSpec

    spec = DataGroupSpec.model_validate({"d": {"files": {path: "Events"}, "metadata": {"sample": "s"}}})
    assert plan(spec, 300) == plan({"d": {"files": {path: "Events"}, "metadata": {"sample": "s"}}}, 300)


@pytest.mark.parametrize(
    ("fileset", "text"),
    [
        ([], "a fileset is a dict"),
        ({"d": {"files": {}}}, "names no files"),
        ({"d": {"files": []}, "e": ["e.root"]}, "'d' names no files"),
        ({"d": {"files": {"a": 3}}}, "name of its tree"),
        ({"d": ["a.root", "b.root", "a.root"]}, "a.root is listed 2 times"),
        ({"d": ["data/*.root"]}, r"data/\*.root stands for no files"),
        ({"d": ["root://x//a.root:Events"]}, "write {'root://x//a.root': 'Events'}"),
        ("a.root", "a fileset is a dict"),
        ({1: ["a.root"]}, "name of a dataset is a text, got 1"),
        ({"": ["a.root"]}, "name of a dataset is a text, got ''"),
        ({"d": None}, "dataset 'd': 'files' is a dict"),
        ({"d": {"files": 3}}, "dataset 'd': 'files' is a dict"),
        ({"d": ["a.root", 3]}, "dataset 'd': a file is given by its path or address, got 3"),
        ({"d": [""]}, "dataset 'd': a file is given by its path or address, got ''"),
        ({"d": [b"a.root"]}, "path or address, got b'a.root'"),
        ({"d": [["a.root", "Events"]]}, "path or address, got .'a.root', 'Events'."),
        ({"d": {"files": ["a.root"], "treename": 3}}, "dataset 'd': for a.root expected the name of its tree.* got 3"),
        ({"d": {"files": ["a.root"], "treename": ["Events"]}}, "name of its tree"),
        ({"d": {"files": ["a.root"], "treename": ""}}, "name of its tree"),
        ({"d": {"files": {"a.root": None}}}, "name of its tree"),
        ({"d": {"files": {"a.root": ""}}}, "name of its tree"),
        ({"d": {"files": {"a.root": {"object_path": 3}}}}, "name of its tree"),
        ({"d": {"files": {"a.root": {"steps": [[0, 1]]}}}}, "name of its tree"),
        ({"d": {"files": ["a.root"], "metadata": ["sample", "s"]}}, "dataset 'd': metadata are a dict"),
        ({"d": {"files": ["a.root"], "metadata": "s"}}, "dataset 'd': metadata are a dict"),
        ({"d": {"files": ["a.root"], "metadata": {1: "s"}}}, "dataset 'd': metadata are a dict"),
        *(
            (
                {"d": {"files": ["a.root"], "metadata": {"sample": sample}}},
                r"metadata\['sample'\] is the name of a template",
            )
            for sample in (3, None, "", ["s"], np.float64(1.0), True)
        ),
    ],
)
def test_malformed_filesets_are_named(fileset, text) -> None:
    with pytest.raises(FilesetError, match=text):
        files_of(fileset)


def test_coffeas_models_are_filesets_whole_or_in_part(path) -> None:
    from coffea.dataset_tools import DataGroupSpec

    plain = {"d": {"files": {path: {"object_path": "Events"}}, "metadata": {"sample": "s"}}}
    group = DataGroupSpec.model_validate(plain)
    assert files_of(group) == files_of({"d": group["d"]}) == files_of(plain)
    assert files_of({"d": {**plain["d"], "files": dict(group["d"].files)}}) == files_of(plain)


def test_scalars_of_numpy_in_metadata_are_plain_values(path) -> None:
    metadata = {
        "sample": np.str_("s"),
        "xsec": np.float32(2.5),
        "mc": np.bool_(True),
        "n": np.array(7),
        "era": "A",
        "none": None,
    }
    (file,) = files_of({"d": {"files": [path], "metadata": metadata}})
    expected = {"sample": "s", "xsec": 2.5, "mc": True, "n": 7, "era": "A", "none": None, "dataset": "d"}
    assert file.metadata == expected
    assert {name: type(value) for name, value in file.metadata.items()} == {
        name: type(value) for name, value in expected.items()
    }


def test_batches_coalesce_small_chunks_of_one_dataset() -> None:
    chunks = [
        Chunk(File(name, f"{name}.root", "Events", {}), i * 1000, (i + 1) * 1000) for name in "ab" for i in range(200)
    ]
    batches = batches_of(chunks)
    assert [chunk for batch in batches for chunk in batch.chunks] == chunks
    assert all(len({chunk.file.dataset for chunk in batch.chunks}) == 1 for batch in batches)
    assert len(batches) == 2 * -(-200_000 // (ROWS + 1000))
    for number in (1, 2, 3, 7):
        runs = shares(batches, number)
        assert [batch for run in runs for batch in run] == batches
        assert len(runs) <= number


def test_blocks_are_of_few_shapes_and_little_padding() -> None:
    assert block_rows([1_000_000]) == max(SIZES)
    assert block_rows([800, 900]) == 1_024
    for rows in range(1_000, 300_000, 777):
        size = block_rows([rows])
        assert size * capacity(-(-rows // size)) <= 1.33 * rows
    assert {capacity(n) for n in range(1, 17)} == set(CAPACITIES)
    assert all(n <= capacity(n) <= 1.25 * n for n in range(17, 2000))
