"""Patience: what may be a passing error of storage is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from diffea.errors import FileReadError

T = TypeVar("T")
PAUSES = (0.1, 0.5)


def patiently(read: Callable[[], T]) -> T:
    """Call ``read`` until it raises no FileReadError, at most three times.

    Raises:
        FileReadError: the last one.
    """
    for pause in PAUSES:
        try:
            return read()
        except FileReadError:
            time.sleep(pause)
    return read()
