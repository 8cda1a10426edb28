"""Files that are written whole or not at all, and arrays read back from them."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

UNFINISHED = ".writing-"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside ``path``, which takes its name once it is complete and on the disk.

    Args:
        path: of the file; its folder is made if it is not there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    with unfinished.open("xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def read_npz(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The ``header``, which is JSON, and the other arrays of a file of NumPy's.

    Raises:
        ValueError: if it is another file, or truncated.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
            return json.loads(str(arrays.pop("header"))), arrays
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        msg = f"{type(error).__name__}: {error}"
        raise ValueError(msg) from error
