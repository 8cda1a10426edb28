"""Folders: what is handed on appears whole, or not at all."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from diffea.errors import OutputError
from diffea.files import UNFINISHED, named


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name once everything is in it; an earlier one of that name is replaced.

    Args:
        path: of the folder.

    Raises:
        OutputError: if it cannot be written, or there is something else of that name; what was there before stays as it was.
    """
    unfinished = path.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    with named(path):
        if path.exists() and not path.is_dir():
            msg = f"{path} is a file: choose another folder for what is exported"
            raise OutputError(msg)
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            if path.exists():
                earlier = path.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
                path.replace(earlier)
                unfinished.replace(path)
                shutil.rmtree(earlier)
            else:
                unfinished.replace(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
