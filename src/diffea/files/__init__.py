"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from diffea.errors import DiffeaError, OutputError

UNFINISHED = ".writing-"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside ``path``, which takes its name once it is complete and on the disk.

    Args:
        path: of the file; its folder is made if it is not there.

    Raises:
        OutputError: if it cannot be written; what was there before stays as it was.
    """
    unfinished = path.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = unfinished.open("xb")
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            unfinished.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # such as the rest of what did not find room
                file.close()
            unfinished.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn what the system says about writing a file or folder into an ``OutputError``."""
    try:
        yield
    except DiffeaError:
        raise
    except OSError as error:
        msg = (
            f"could not write {path}: {error.strerror or error}. Nothing half-written was left; see that there is room and a right to "
            "write, or choose another folder"
        )
        raise OutputError(msg) from error
