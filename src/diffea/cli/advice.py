"""What to try next, from what a run found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from diffea.report.advice import mending
from diffea.types import JSONMapping

MOST = 3


def next_things(result: JSONMapping, command: str, out: Path) -> list[str]:
    """Three things to try: what mends the doubts first, then where to go from here.

    Args:
        result: of the run.
        command: its analysis and data as given to the command line, see ``mending``.
        out: the folder of its results.
    """
    first = itertools.islice(mending(result, command), MOST - 1)
    return list(itertools.islice(itertools.chain(first, _onwards(out)), MOST))


def _onwards(out: Path) -> Iterator[str]:
    yield "diffea new NAME --data DIR: the same for files of your own (--from nanoaod, flat or a coffea processor)"
    yield f"diffea export {out} --to pyhf: the likelihood for others (or coffea, cabinetry, hs3, combine, hepdata)"
    yield f"diffea compare {out} OTHER: beside another run, with other bounds, widths or objective"
