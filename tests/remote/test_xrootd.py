"""Files on a real XRootD server that is slow, hangs, or is killed and started again: the bits of the same files here, or an error with a name."""

from __future__ import annotations

import functools
import threading
import time

import awkward as ak
import dask
import numpy as np
import pytest
import uproot
from distributed import Client, LocalCluster
from tests.samples import PARAMS, QuietSchema, Search, write

import diffea.distributed
from diffea.distributed import distribute as distribute_nano
from diffea.errors import FileReadError, FilesetError
from diffea.events import columns, patience
from diffea.events.filesets import files_of
from diffea.program import Program

distribute = functools.partial(distribute_nano, Program(Search()), schemaclass=QuietSchema, chunksize=400)
NAMES = ("a.root", "a.parquet")
SOON = {"timeout": 2}


@pytest.fixture(scope="module")
def server(xrootd):
    for seed, name in enumerate(("a", "b")):
        path = xrootd.data / f"{name}.root"
        write(path, 800, seed)
        ak.to_parquet(uproot.open(path)["Events"].arrays(), path.with_suffix(".parquet"), row_group_size=400)
    return xrootd


def numbers(*paths, **options):
    fileset = {"d": {"files": {str(path): "Events" for path in paths}}}
    with distribute(fileset, uproot_options=SOON, **options) as templates:
        return templates(PARAMS).values_flat, templates.ledger


@pytest.mark.parametrize("name", NAMES)
def test_files_give_the_same_bits_as_here(server, name) -> None:
    found = numbers(server.of(name))[0]
    np.testing.assert_array_equal(found, numbers(server.data / name)[0])


def test_patterns_and_folders_are_listed_by_the_server(server) -> None:
    for pattern in ("*.root", "[ab].root", "{b,a}.root"):
        files = files_of({"d": {"files": {server.of(pattern): "Events"}}})
        assert [file.path for file in files] == [server.of("a.root"), server.of("b.root")]
    with pytest.raises(FilesetError, match=r"c\*.root stands for no files"):
        files_of({"d": [server.of("c*.root")]})
    with pytest.raises(FilesetError, match="files of both formats"):
        files_of({"d": [server.of("")]})


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_hangs_is_named_and_counts_nothing(server, name, monkeypatch) -> None:
    monkeypatch.setattr(patience, "PAUSES_OF_SERVERS", ())
    here = server.data / name.replace("a.", "b.")
    server.stop()
    try:
        with pytest.raises(FileReadError, match=rf"{server.of(name)} .*: {server.address} gave no answer within 2 s"):
            numbers(server.of(name))
        found, ledger = numbers(server.of(name), here, on_bad_file="skip")
    finally:
        server.go_on()
    np.testing.assert_array_equal(found, numbers(here)[0])
    assert len(ledger.skipped) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_stops_and_goes_is_waited_for(server, name) -> None:
    over = threading.Event()

    def stutter() -> None:
        while not over.is_set():
            server.stop()
            time.sleep(0.3)
            server.go_on()
            time.sleep(0.02)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        found = numbers(server.of(name))[0]
    finally:
        over.set()
        thread.join()
    np.testing.assert_array_equal(found, numbers(server.data / name)[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_is_killed_and_started_again_is_waited_for(server, name, monkeypatch) -> None:
    opening, opened = columns.open_events, []

    def killing(chunk, *arguments):
        events = opening(chunk, *arguments)
        opened.append(chunk)
        if len(opened) == 1:
            server.kill()
            threading.Timer(0.5, server.start).start()
        return events

    monkeypatch.setattr(columns, "open_events", killing)
    found, ledger = numbers(server.of(name))
    np.testing.assert_array_equal(found, numbers(server.data / name)[0])
    assert len(opened) > len(ledger.chunks) == 2  # some were read again
    assert not ledger.skipped


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_changes_after_the_plan_is_named(server, name, monkeypatch) -> None:
    path = server.data / f"changing-{name}"
    path.write_bytes((server.data / name).read_bytes())
    batches_of = diffea.distributed.batches_of

    def changed(chunks):
        path.write_bytes((server.data / name.replace("a.", "b.")).read_bytes())
        return batches_of(chunks)

    monkeypatch.setattr(diffea.distributed, "batches_of", changed)
    try:
        with pytest.raises((FilesetError, FileReadError), match=f"changing-{name}"):
            numbers(server.of(path.name))
    finally:
        path.unlink()


def test_a_file_that_is_not_there_is_named_at_once(server) -> None:
    began = time.monotonic()
    with pytest.raises(FileReadError, match=r"none.root cannot be read as a ROOT file: root://127.*no such file"):
        numbers(server.of("none.root"))
    assert time.monotonic() - began < sum(patience.PAUSES_OF_SERVERS)


def test_two_workers_read_on_when_the_server_is_started_again(server) -> None:
    paths = {server.of(name): "Events" for name in ("a.root", "b.root")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", "1")
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}), cluster, Client(cluster) as client:
        server.kill()
        threading.Timer(1.0, server.start).start()
        with distribute({"d": {"files": paths}}, client=client, uproot_options=SOON) as templates:
            found = templates(PARAMS).values_flat
    here = {str(server.data / name): "Events" for name in ("a.root", "b.root")}
    with distribute({"d": {"files": here}}) as templates:
        np.testing.assert_array_equal(found, templates(PARAMS).values_flat)
