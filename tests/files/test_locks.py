"""One run at a time in a folder, across threads and processes; what a killed run or another machine left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from diffea.errors import LockedError, OutputError
from diffea.files import locks
from diffea.files.locks import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from diffea.files.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_run(tmp_path: Path):
    """A process that holds a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout.readline() == "held\n"
        yield run
        run.kill()


def test_a_second_run_is_told_of_the_first_and_takes_over_when_that_is_killed(other_run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with (
        pytest.raises(LockedError, match=rf"{folder} is in use by another run \(process {other_run.pid} on "),
        locked(folder),
    ):
        pass
    other_run.send_signal(signal.SIGKILL)
    other_run.wait()
    assert (folder / LOCK).is_file()
    with locked(folder):
        assert json.loads((folder / LOCK).read_text())["process"] == os.getpid()
    assert list(folder.iterdir()) == []


def test_a_second_run_in_one_thread_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(LockedError, match=f"process {os.getpid()} "), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()


def test_a_second_thread_is_refused_and_the_same_one_may_ask_again(tmp_path: Path) -> None:
    told = []

    def second() -> None:
        try:
            with locked(tmp_path):
                told.append("held")
        except LockedError as error:
            told.append(str(error))

    with locked(tmp_path), locked(tmp_path / "." / ".." / tmp_path.name, nested=True):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert (tmp_path / LOCK).exists()
    second()
    assert "in use by another run" in told[0]
    assert told[1] == "held"
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_machine_is_not_taken_over_but_one_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps({**locks._owner(), "host": "elsewhere"}))
    with (
        pytest.raises(LockedError, match=rf"on elsewhere, .* If that run is over, remove {tmp_path / LOCK}"),
        locked(tmp_path),
    ):
        pass
    (tmp_path / LOCK).unlink()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\xff"])
def test_a_lock_that_says_nothing_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_text(content)
    with locked(tmp_path):
        pass


def test_without_locks_of_the_file_system_the_process_is_looked_for(
    tmp_path: Path, other_run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    with pytest.raises(LockedError, match=f"process {other_run.pid} "), locked(tmp_path / "out"):
        pass
    other_run.kill()
    other_run.wait()
    with locked(tmp_path / "out"):
        pass


def test_only_folders_that_it_made_and_that_are_empty_are_removed(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b" / "c"):
        (tmp_path / "a" / "kept").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "kept"]
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a"):
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"could not write .*file/out: Not a directory"),
        locked(tmp_path / "file" / "out"),
    ):
        pass
