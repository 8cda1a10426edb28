"""Side by side: work that is done in a thread for each part, until one of them fails."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeAlias, TypeVar

from diffea.runtime import THREADS

T = TypeVar("T")
Work: TypeAlias = Callable[[Callable[[], None]], T]


class StoppedError(BaseException):
    """Raised in a thread, another of which has failed, or that Ctrl-C is to end; no handler of errors takes it for one of its own."""


def abreast(works: Sequence[Work[T]]) -> list[T]:
    """What each part of some work gives; a single one is done in this thread.

    One of XLA's threads may wait in each of ours, and one has to be left, so that no more than that work at once.

    Args:
        works: functions that call the one that they are given from time to time, which ends them once there is no use in going on.

    Raises:
        what the first of the parts that failed has raised, or KeyboardInterrupt; when the others have stopped.
    """
    if len(works) == 1:
        return [works[0](lambda: None)]
    over = threading.Event()

    def go_on() -> None:
        if over.is_set():
            raise StoppedError

    with ThreadPoolExecutor(min(len(works), THREADS - 1), thread_name_prefix="diffea-fold") as pool:
        try:
            futures = [pool.submit(contextvars.copy_context().run, work, go_on) for work in works]
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)
    for future in futures:
        if not future.cancelled() and not isinstance(future.exception(), StoppedError | None):
            future.result()
    return [future.result() for future in futures]
