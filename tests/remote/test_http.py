"""Files on a web server: the bits of the same files here, and every way to fail is named and counts nothing."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from tests.samples import PARAMS, QuietSchema, Search, write
from tests.webserver import serving

from diffea import Analysis, Variant, learning
from diffea.distributed import distribute as distribute_nano
from diffea.distributed.glance import glance
from diffea.errors import FileReadError, OptionError
from diffea.events import patience
from diffea.program import Program
from diffea.run.folds import Reader

distribute = functools.partial(distribute_nano, Program(Search()), schemaclass=QuietSchema, chunksize=400)
NAMES = ("a.root", "a.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("a", "b")):
        write(folder / f"{name}.root", 800, seed)
        branches = uproot.open(folder / f"{name}.root")["Events"].arrays()
        ak.to_parquet(branches, folder / f"{name}.parquet", row_group_size=400)
    return folder


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Tried again as often as ever, without the pauses."""
    monkeypatch.setattr(patience, "PAUSES_OF_SERVERS", (0.01,) * len(patience.PAUSES_OF_SERVERS))


def numbers(*paths, **options):
    with distribute({"d": {"files": {str(path): "Events" for path in paths}}}, **options) as templates:
        return templates(PARAMS).values_flat, templates.ledger


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_files_give_the_same_bits_as_here_however_slow(folder, server, name, delay) -> None:
    server.delay = delay
    options = {"timeout": 5.0} if delay else None
    found = numbers(f"{server.address}/{name}", uproot_options=options)[0]
    np.testing.assert_array_equal(found, numbers(folder / name)[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_sends_whole_files_is_named(server, name) -> None:
    server.ranges = False
    with pytest.raises(FileReadError, match=rf"'d': {server.address}/{name} .*{server.address} sends whole files only"):
        numbers(f"{server.address}/{name}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("after", [0, 6])
def test_a_server_that_hangs_is_named_after_the_time_out(server, name, after) -> None:
    server.hangs_after = after
    text = rf"{server.address}/{name}.*{server.address} gave no answer within 0.3 s"
    with pytest.raises(FileReadError, match=text):
        numbers(f"{server.address}/{name}", uproot_options={"timeout": 0.3})


@pytest.mark.parametrize("name", NAMES)
def test_a_passing_failure_changes_nothing(folder, server, name) -> None:
    server.breaks_after, server.mends_after = 5, 9
    found, ledger = numbers(f"{server.address}/{name}")
    np.testing.assert_array_equal(found, numbers(folder / name)[0])
    assert not ledger.skipped


@pytest.mark.parametrize("name", NAMES)
def test_what_a_server_breaks_off_is_tried_four_times_and_not_counted(folder, server, name) -> None:
    other = folder / name.replace("a.", "b.")
    server.breaks_after = 0
    with pytest.raises(FileReadError, match=rf"file as|{name}.*{server.address}"):
        numbers(f"{server.address}/{name}")
    tries = server.of("HEAD") or server.of("GET")
    assert tries % (1 + len(patience.PAUSES_OF_SERVERS)) == 0
    assert len(patience.PAUSES_OF_SERVERS) == 3
    found, ledger = numbers(f"{server.address}/{name}", other, on_bad_file="skip")
    np.testing.assert_array_equal(found, numbers(other)[0])
    assert [entry.file for entry in ledger.skipped] == [f"{server.address}/{name}"]


@pytest.mark.parametrize("name", NAMES)
def test_a_chunk_that_breaks_off_in_the_middle_is_not_counted(folder, server, name) -> None:
    numbers(f"{server.address}/{name}")
    needed = len(server.asked)
    server.asked.clear()
    server.breaks_after = needed - 2
    _, ledger = numbers(f"{server.address}/{name}", folder / name.replace("a.", "b."), on_bad_file="skip")
    assert ledger.events["d"] in (800, 1200)
    assert sum(entry.entries for entry in ledger.skipped) == 1600 - ledger.events["d"]


def test_a_file_that_is_not_there_is_not_asked_for_again(server) -> None:
    with pytest.raises(FileReadError, match=r"none.root cannot be read as a ROOT file"):
        numbers(f"{server.address}/none.root")
    assert 0 < len(server.asked) <= 2


@pytest.mark.parametrize("name", NAMES)
def test_credentials_reach_the_server_and_no_message(folder, server, name) -> None:
    server.token = "secret-of-mine"
    path = f"{server.address}/{name}"
    with pytest.raises(FileReadError, match="401"):
        numbers(path)
    options = {"headers": {"Authorization": f"Bearer {server.token}"}}
    found, ledger = numbers(path, uproot_options=options)
    np.testing.assert_array_equal(found, numbers(folder / name)[0])
    assert server.token not in repr(ledger)
    assert server.token.encode() in pickle.dumps(ledger.chunks)  # as it travels to workers
    with pytest.raises(FileReadError) as caught:
        numbers(f"{path}.root", uproot_options=options)
    assert server.token not in str(caught.value)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": "1 s"}, {"timeout": True}, ["timeout"], {1: 2}])
def test_options_that_are_none_are_named(options) -> None:
    with pytest.raises(OptionError, match="uproot_options"):
        numbers("a.root", uproot_options=options)


def test_options_are_for_servers_alone(folder) -> None:
    options = {"headers": {"Authorization": "Bearer a"}, "timeout": 3.0, "num_workers": 2}
    found = numbers(folder / "a.root", uproot_options=options)[0]
    np.testing.assert_array_equal(found, numbers(folder / "a.root")[0])


def test_those_of_an_analysis_are_for_whoever_reads_its_events(folder, server) -> None:
    server.token = "secret"
    fileset = {"d": {"files": {f"{server.address}/a.root": "Events"}}}
    options = {"headers": {"Authorization": "Bearer secret"}}
    variant = Variant(processor=Search(), spec={}, params=PARAMS, objective=lambda templates: 0.0)
    analysis = Analysis(
        name="remote", title="", fileset=lambda data: fileset, variants={"": variant}, schemaclass=QuietSchema, split=None,
        uproot_options=options,
    )  # fmt: skip
    expected = numbers(folder / "a.root")[0]
    with Reader(analysis, folder, None)(Program(Search()), None, "train") as templates:
        np.testing.assert_array_equal(templates(PARAMS).values_flat, expected)
    (seen,) = glance(Program(Search()), fileset, QuietSchema, 400, 2, analysis.uproot_options)
    with seen.templates as templates:
        np.testing.assert_array_equal(templates(PARAMS).values_flat, expected)
    gathered = learning.gathered(Search(), fileset, schemaclass=QuietSchema, uproot_options=options)
    assert gathered["d"].events > 0
