"""Patience: what may be a passing error of storage is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from diffea.errors import FileReadError
from diffea.events.servers import forget, is_lasting, is_remote

T = TypeVar("T")
PAUSES = (0.1, 0.5)  # seconds between tries
PAUSES_OF_SERVERS = (1.0, 3.0, 10.0)  # of which one may just be started again


def patiently(read: Callable[[], T], path: str, options: Mapping[str, object]) -> T:
    """Call ``read`` until it raises no FileReadError: three times, of a file on a server four.

    Raises:
        FileReadError: the last one; the first, where a server says that there is no such file, or that it is not to be read.
    """
    pauses = PAUSES_OF_SERVERS if is_remote(path) else PAUSES
    for pause in pauses:
        try:
            return read()
        except FileReadError as error:
            if is_remote(path):
                if is_lasting(error):
                    raise
                forget(path, options)
            time.sleep(pause)
    return read()
