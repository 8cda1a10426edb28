"""The plan: which entries of which files are read, proved to be every event of the fileset once.

- The chunks of a Parquet file are whole row groups, as many as come nearest to the chunk size, where the fileset has no steps.
- The steps of a file are disjoint, lie within it and leave nothing out.
- ``num_entries`` and ``uuid`` of a preprocessed fileset are those of the file. Since every chunk's file is opened to read it, that is
  where they are compared (``open_file``), so that a plan of many files costs no more than before; files of which the fileset
  states less, or of which it plans to read nothing, are opened for the plan.
- No file is read twice into one sample, however it is spelled, linked or copied: files are told apart by the UUID inside. The same
  file may serve two samples (divided by a selection in ``columns``), and so may two trees of a file one sample.

Two samples that ``fill`` gives one name, and files that share events but not the UUID (a skim and its source), are beyond the plan.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import math
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from diffea.errors import FileReadError, FilesetError
from diffea.events.filesets import Chunk, File, chosen, files_of
from diffea.events.opening import open_file
from diffea.events.patience import patiently
from diffea.types import Fileset, Map


def plan(
    fileset: Fileset,
    chunksize: int,
    map_files: Map = map,
    *,
    skip: bool = False,
    observed: bool = False,
    options: Mapping[str, object] | None = None,
) -> tuple[list[Chunk], list[tuple[File, str]]]:
    """The chunks of a fileset.

    Args:
        fileset: coffea's own.
        chunksize: entries.
        map_files: how to apply a function to all files (a cluster's ``map``).
        skip: leave out files that cannot be opened.
        observed: take the datasets that are marked as data, instead of those that are not.
        options: by which to open them, ``uproot_options``.

    Returns:
        the chunks; and the files that were left out, each with the reason.

    Raises:
        FilesetError: if the fileset is malformed, has no events, or would count some twice or not at all.
        ObservationError: if none is marked as data, and such are asked for.
        FileReadError: if a file cannot be opened.
    """
    check_chunksize(chunksize)
    files = files_of(fileset, options)
    names = chosen({file.dataset: file.is_data for file in files}, observed=observed)
    files = [file for file in files if file.dataset in names]
    found = list(map_files(_inspect_or_say if skip else inspect, files))
    left_out = [(file, answer) for file, answer in zip(files, found, strict=True) if isinstance(answer, str)]
    inspected = [answer for answer in found if isinstance(answer, File)]
    return chunks_of(inspected, chunksize, empty=observed), left_out


def check_chunksize(chunksize: Any) -> None:
    """See that a chunk size counts entries.

    Raises:
        FilesetError: if it does not.
    """
    number = isinstance(chunksize, int | float) and not isinstance(chunksize, bool) and math.isfinite(chunksize)
    if not number or chunksize < 1 or chunksize != int(chunksize):
        msg = f"chunksize counts entries, so it is a whole number, at least 1, got {chunksize!r}"
        raise FilesetError(msg)


def inspect(file: File) -> File:
    """Note the entries, the UUID and the row groups of a file, opening it unless the fileset states what there is and a chunk will be read.

    Raises:
        FilesetError: if the fileset states other entries, or another UUID.
        FileReadError: if the file or its tree cannot be opened.
    """
    if file.entries and file.uuid is not None and not file.is_parquet:
        return file
    opened = patiently(partial(open_file, file), file.path, file.options)
    with contextlib.closing(opened):
        return dataclasses.replace(file, entries=opened.entries, uuid=opened.uuid, row_groups=opened.row_groups)


def _inspect_or_say(file: File) -> File | str:
    try:
        return inspect(file)
    except FileReadError as error:
        return str(error)


def chunks_of(files: Iterable[File], chunksize: int, *, empty: bool = False) -> list[Chunk]:
    """Divide inspected files into chunks of about ``chunksize`` entries (a preprocessed fileset's own steps, if any).

    Args:
        files: of all datasets.
        chunksize: entries.
        empty: whether files without events are as good as others: then a dataset that has no others has one chunk without entries.

    Raises:
        FilesetError: if there is not a single event, or one would be counted twice or not at all.
    """
    files = list(files)
    _check_once(files)
    chunks = [Chunk(file, start, stop) for file in files for start, stop in _steps(file, chunksize)]
    if empty:
        filled = {chunk.file.dataset for chunk in chunks}
        chunks += [
            Chunk(file, 0, 0) for file in {file.dataset: file for file in files}.values() if file.dataset not in filled
        ]
    if not chunks:
        msg = f"the fileset has no events: {len(files)} files, all empty: {', '.join(file.path for file in files)}"
        raise FilesetError(msg)
    return chunks


def _steps(file: File, chunksize: int) -> list[tuple[int, int]]:
    """Ranges of at least one entry that hold every entry of the file once, in order."""
    entries = file.entries or 0
    if file.steps is None:
        number = max(min(round(entries / chunksize), entries), 1)
        ends = [entries * i // number for i in range(number + 1)]
        if file.row_groups is not None:
            ends = [_nearest(file.row_groups, end) for end in ends]
        return [(start, stop) for start, stop in pairwise(ends) if stop > start]
    steps = sorted(file.steps)
    for start, stop in steps:
        if not 0 <= start <= stop <= entries:
            msg = f"{file}: expected steps within its {entries} entries, each from low to high, got [{start}, {stop}]"
            raise FilesetError(msg)
    steps = [(start, stop) for start, stop in steps if stop > start]
    for (_, end), (start, stop) in pairwise([(0, 0), *steps, (entries, entries)]):
        if start < end:
            msg = f"{file}: the entries {start}–{min(end, stop)} are in two of its steps, which would count them twice"
            raise FilesetError(msg)
        if start > end:
            msg = (
                f"{file}: the entries {end}–{start} of {entries} are in none of its steps, which would lose their events; "
                "to read a part of the data, list fewer files (coffea's max_files)"
            )
            raise FilesetError(msg)
    return steps


def _nearest(ends: Sequence[int], wanted: int) -> int:
    """The one of some numbers in order that is nearest to another."""
    after = bisect.bisect_left(ends, wanted)
    return min(ends[max(after - 1, 0) : after + 1], key=lambda end: abs(end - wanted))


def _check_once(files: Iterable[File]) -> None:
    """See that no tree of a file is read twice into one sample, or into the observed events, which all datasets of them make together."""
    first: dict[tuple[object, str, str | None], File] = {}
    for file in files:
        other = first.setdefault((_physical(file), tree_of(file.tree), None if file.is_data else file.sample), file)
        if other is not file:
            msg = (
                f"{'the observations' if file.is_data else f'sample {file.sample!r}'} would count the events of {file.tree!r} twice: {other} and {file} are the same file or "
                f"copies of it (both have the UUID {file.uuid}); list one of them"
            )
            raise FilesetError(msg)


def _physical(file: File) -> object:
    """What tells a file from all others: its UUID, or its place where it was written without one (ROOT's ``?reproducible``)."""
    return file.uuid if file.uuid and UUID(file.uuid).int else place_of(file.path)


def place_of(path: str) -> object:
    """Where a file lies, however its path is spelled or linked; the path itself where this process does not see the file."""
    path = path.removeprefix("file://")
    try:
        status = Path(path).stat()
    except OSError:
        return posixpath.normpath(path)
    return status.st_dev, status.st_ino


def tree_of(name: str) -> str:
    """A tree's place in its file, whichever of its cycles (ROOT's ``;1``) and however it is spelled."""
    return posixpath.normpath(name.split(";")[0]).lstrip("/")
