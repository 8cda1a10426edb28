"""The `diffea` command: the command line in a process of its own."""

from __future__ import annotations

import os
import sys

from diffea.cli import main


def command() -> None:
    """Run the command line, and end the process at once.

    Python would take apart first what it holds, JAX's programs among it: seconds, for memory that goes with the process. Clusters,
    files and threads are closed where they are used.
    """
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)
