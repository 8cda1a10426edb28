"""Patterns and folders: the files that a fileset's paths stand for, in the order of their names."""

from __future__ import annotations

import http.server
import threading
from functools import partial
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pytest
from tests.samples import write

from diffea.errors import FilesetError, MissingPackageError
from diffea.events.filesets import files_of
from diffea.events.plan import plan

FILES = (
    "a0.root",
    "a1.root",
    "a10.root",
    "b0.root",
    "x[1].root",
    "notes.txt",
    "_hidden.root",
    "deep/c0.root",
    "deep/er/c1.root",
)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths, spec="Events"):
    return [file.path for file in files_of({"d": {"files": dict.fromkeys(paths, spec)}})]


PATTERNS = {
    "a*.root": ["a0.root", "a1.root", "a10.root"],
    "a?.root": ["a0.root", "a1.root"],
    "[ab]0.root": ["a0.root", "b0.root"],
    "[!a]0.root": ["b0.root"],
    "{b,a}[0-9].root": ["a0.root", "a1.root", "b0.root"],
    "x[1].root": ["x[1].root"],
    "deep/*.root": ["deep/c0.root"],
    "deep/**/*.root": ["deep/c0.root", "deep/er/c1.root"],
    "*/*/*.root": ["deep/er/c1.root"],
    "deep/er": ["deep/er/c1.root"],
    "deep/e*": ["deep/er/c1.root"],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_and_folders_stand_for_files(here, pattern) -> None:
    assert names(pattern) == PATTERNS[pattern]
    assert names(here / pattern) == [str(here / name) for name in PATTERNS[pattern]]


@pytest.mark.parametrize("pattern", sorted(PATTERNS.keys() - {"x[1].root", "{b,a}[0-9].root", "deep/er", "deep/e*"}))
def test_patterns_are_those_of_an_fsspec_file_system(here, pattern) -> None:
    for name in FILES:
        fsspec.filesystem("memory").pipe(f"/{here.name}/{name}", b"")
    address = f"memory://{here.name}"
    found = [f"memory:///{here.name}/{name}" for name in PATTERNS[pattern]]
    if "?" in pattern:  # begins a query in an address
        assert names(f"{address}/{pattern}") == [f"{address}/{pattern}"]
    else:
        assert [name.replace(":///", "://") for name in names(f"{address}/{pattern}")] == [
            name.replace(":///", "://") for name in found
        ]
    assert len(names(f"{address}/deep/er/")) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("c*.root", r"dataset 'd': c\*.root stands for no files"),
        (
            "deep",
            r"deep is a folder with files in folders below it, such as deep/er/c1.root: .* deep/\*\*/\*.root for all",
        ),
        ("memory://nothing/*.root", r"memory://nothing/\*.root stands for no files"),
        ("memory://nothing/", "memory://nothing/ stands for no files"),
        ("https://server/*.root?token=a", r"takes no query \(\?token=a\); list the files"),
    ],
)
def test_what_stands_for_no_files_is_named(here, path, text) -> None:
    with pytest.raises(FilesetError, match=text):
        names(path)


def test_one_file_by_two_patterns_is_named(here) -> None:
    with pytest.raises(FilesetError, match=r"a1.root is listed 2 times"):
        names("a*.root", "a1.root")


@pytest.mark.parametrize("stated", [{"steps": [[0, 1]]}, {"num_entries": 1}, {"uuid": "0" * 32}])
def test_what_is_stated_of_one_file_is_not_stated_of_several(here, stated) -> None:
    with pytest.raises(FilesetError, match=rf"a\*.root stands for 3 files, so that {next(iter(stated))} of one file"):
        names("a*.root", spec={"object_path": "Events", **stated})


def test_a_folder_of_dask_awkward_is_a_fileset(tmp_path) -> None:
    dak = pytest.importorskip("dask_awkward", reason="an optional extra")
    events = ak.Array({"x": np.arange(100.0)})
    dak.to_parquet(dak.from_awkward(events, npartitions=3), str(tmp_path / "out.parquet"), compute=True)
    (tmp_path / "out.parquet" / "_metadata").touch()
    for path in (tmp_path / "out.parquet", tmp_path / "*.parquet"):
        chunks, _ = plan({"d": [path]}, 1000)
        assert [(Path(chunk.file.path).name, chunk.rows) for chunk in chunks] == [
            ("part0.parquet", 34), ("part1.parquet", 34), ("part2.parquet", 32)
        ]  # fmt: skip


class Links(http.server.SimpleHTTPRequestHandler):
    """A folder with a page of links, or without."""

    def list_directory(self, path):
        return super().list_directory(path) if self.server.lists else self.send_error(403)

    def log_message(self, *args) -> None:
        """Silent."""


@pytest.fixture
def server(here):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Links, directory=str(here))) as server:
        server.lists = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_server_lists_its_files_or_is_named(server) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    assert names(f"{address}/a*.root") == [f"{address}/{name}" for name in PATTERNS["a*.root"]]
    assert names(f"{address}/deep/er/") == [f"{address}/deep/er/c1.root"]
    with pytest.raises(
        FilesetError, match=r"/c\*.root stands for no files: .* an http server has to give a page of links"
    ):
        names(f"{address}/c*.root")
    server.lists = False
    fsspec.filesystem("http").clear_instance_cache()
    with pytest.raises(
        Exception, match=r"dataset 'd': http://127.0.0.1:\d+/a\*.root: its server does not list its files: .*403"
    ):
        names(f"{address}/a*.root")


def test_a_package_that_is_missing_for_an_address_is_named(monkeypatch) -> None:
    def missing(address, **options):
        msg = "No module named 'fsspec_xrootd'"
        raise ImportError(msg)

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingPackageError, match=r"root://server//data/\*.root needs a package .*: fsspec-xrootd"):
        names("root://server//data/*.root")


def test_chunks_of_a_pattern_are_those_of_its_files(tmp_path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.root", 100 + number, number)
    files = [str(tmp_path / f"{number}.root") for number in range(3)]
    assert plan({"d": [tmp_path / "[0-2].root"]}, 50) == plan({"d": files}, 50)
    assert plan({"d": [tmp_path]}, 50) == plan({"d": files}, 50)
