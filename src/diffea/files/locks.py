"""One run at a time in a folder: the second one is told of the first, and what a dead one left is taken over."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from diffea.errors import LockedError
from diffea.files import named
from diffea.types import JSONDict

LOCK = ".diffea-lock"
_held: dict[Path, int] = {}  # the thread of this process that holds a folder


@contextlib.contextmanager
def locked(folder: Path, *, nested: bool = False) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if it is not there, and removed again if it is empty at the end.

    The system's own lock on a file ends with its process, so that what a killed run left is taken over. The file says who holds it.

    Args:
        folder: of a run.
        nested: whether this thread may hold it already, as the command line does for a run of a single variant.

    Raises:
        LockedError: if another run holds it, or one on another host may.
        OutputError: if the folder cannot be written to.
    """
    folder = folder.resolve()
    if nested and _held.get(folder) == threading.get_ident():
        yield
        return
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with _lock(folder / LOCK):
            _held[folder] = threading.get_ident()
            try:
                yield
            finally:
                del _held[folder]
    finally:
        with contextlib.suppress(OSError):  # it holds something
            for empty in made:
                empty.rmdir()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = _take(path)
    try:
        with named(path):
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_owner()).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):  # where nothing may be removed any more, the next run takes the file over
            path.unlink()  # while it is locked: who waits sees that it is another file
        os.close(descriptor)


def _take(path: Path) -> int:
    """A descriptor of the file, locked by this process."""
    while True:
        with named(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            known = _try_lock(descriptor)
            if not os.path.samestat(os.fstat(descriptor), path.stat()):
                raise FileNotFoundError
            _refuse_others(path, _read(descriptor), known)
        except FileNotFoundError:  # the run that held it ended just now
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor


def _try_lock(descriptor: int) -> bool | None:
    """Whether the system gave its lock; None where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _refuse_others(path: Path, owner: JSONDict, locked: bool | None) -> None:
    """See that the run that wrote the file is over.

    Raises:
        LockedError: if it is not, or cannot be known to be.
    """
    who = f"process {owner.get('process', '?')} on {owner.get('host', '?')}, since {owner.get('since', '?')}"
    if locked is False or (locked is None and _alive(owner)):
        msg = f"{path.parent} is in use by another run ({who}): wait for its end, or choose another folder"
        raise LockedError(msg)
    if owner and owner.get("host") != socket.gethostname():
        msg = (
            f"{path.parent} may be in use by a run on another machine ({who}), which cannot be seen from here: wait for its end, or choose "
            f"another folder. If that run is over, remove {path} and start again"
        )
        raise LockedError(msg)


def _owner() -> JSONDict:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": psutil.Process().create_time(),
        "since": dt.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _read(descriptor: int) -> JSONDict:
    """Who holds the file; nothing where that was not written to its end."""
    try:
        owner = json.loads(os.pread(descriptor, 10_000, 0))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _alive(owner: JSONDict) -> bool:
    """Whether the process that wrote the file goes on, on this host."""
    try:
        started = psutil.Process(owner["process"]).create_time()
        return owner["host"] == socket.gethostname() and abs(started - owner["started"]) < 1.0
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
