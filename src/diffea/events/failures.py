"""Failures: whether an error is of reading a file, which may pass or be skipped, or of the code that asked for its branches."""

from __future__ import annotations

import traceback

READERS = ("coffea.nanoevents.mapping", "uproot._dask")
AT_ONCE = (
    "uproot.behaviors",
    "diffea.events.parquet",
)  # where several branches are read at once, before `columns` is called


def while_reading(error: BaseException, readers: tuple[str, ...] = READERS) -> bool:
    """Whether an error was raised below where coffea and uproot read branches: of a damaged basket zlib's, uproot's or a ValueError.

    What a processor's ``columns`` raises itself, such as for a file of its own that is not there, is none of these; nor is a package
    or memory that is missing.
    """
    if isinstance(error, ImportError | MemoryError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    return any(str(frame.f_globals.get("__name__")).startswith(readers) for frame, _ in frames)
