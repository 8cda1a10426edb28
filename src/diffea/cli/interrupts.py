"""Ctrl-C: once to stop in order, twice to end at once."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

STOPPED = 130  # what a shell gives for a process that Ctrl-C ended


@contextlib.contextmanager
def interrupts(console: Console) -> Iterator[None]:
    """Let the first Ctrl-C unwind the run, which waits for the passes over the data that XLA is in; a second one ends the process.

    A second ``KeyboardInterrupt`` in the middle of that would take Python down while XLA's threads still call it, and the process with a
    segmentation fault. What it leaves behind, lock and unfinished files, the next run takes over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: int | FrameType | None) -> None:
        signal.signal(signal.SIGINT, end)
        console.print("stopping after this pass over the data; Ctrl-C again ends it at once", soft_wrap=True)
        raise KeyboardInterrupt

    def end(*_: int | FrameType | None) -> None:
        os._exit(STOPPED)

    callbacks = logging.getLogger("jax._src.callback")  # through which a pass over a cluster is asked for
    callbacks.addFilter(_of_no_interrupt)
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        callbacks.removeFilter(_of_no_interrupt)


def _of_no_interrupt(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], KeyboardInterrupt)
