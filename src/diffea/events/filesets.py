"""Filesets: coffea's own, made into a list of chunks."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import uproot

from diffea.errors import FileReadError, FilesetError
from diffea.events.patience import patiently


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a dataset, as the fileset names it.

    Attributes:
        steps: entry ranges, where the fileset was preprocessed; otherwise made from the chunk size.
    """

    dataset: str
    path: str
    tree: str
    metadata: Mapping[str, Any]
    steps: tuple[tuple[int, int], ...] | None = None
    entries: int | None = None
    uuid: str | None = None

    @property
    def sample(self) -> str:
        return str(self.metadata.get("sample", self.dataset))


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A range of entries of a file: the unit of reading.

    Attributes:
        start: first entry.
        stop: one past the last.
    """

    file: File
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"dataset {self.file.dataset!r}, file {self.file.path}, entries {self.start}–{self.stop}"


def files_of(fileset: Any) -> list[File]:
    """The files of a coffea fileset (a dict, or a ``DataGroupSpec``).

    Raises:
        FilesetError: if it is of another form, or has no files.
    """
    fileset = fileset.model_dump() if hasattr(fileset, "model_dump") else fileset
    if not isinstance(fileset, Mapping) or not fileset:
        msg = f"a fileset is a dict of datasets {{name: {{'files': {{path: tree}}}}}}, got {_short(fileset)}"
        raise FilesetError(msg)
    files = [file for name, dataset in fileset.items() for file in _files_of_dataset(str(name), dataset)]
    if not files:
        msg = f"the fileset's datasets ({', '.join(map(str, fileset))}) name no files"
        raise FilesetError(msg)
    return files


def inspect(file: File) -> File:
    """Count the entries of a file and note its UUID.

    Raises:
        FileReadError: if the file or its tree cannot be opened.
    """
    return file if file.entries is not None and file.uuid is not None else patiently(partial(_inspect, file))


def _inspect(file: File) -> File:
    try:
        with uproot.open(file.path) as root:
            if file.tree not in root:
                found = ", ".join(sorted({key.split(";")[0] for key in root.keys(recursive=False)}))
                msg = f"dataset {file.dataset!r}: {file.path} has no tree {file.tree!r}; it has: {found or 'nothing'}"
                raise FileReadError(msg)
            return dataclasses.replace(file, entries=int(root[file.tree].num_entries), uuid=str(root.file.uuid))
    except FileReadError:
        raise
    except Exception as error:
        msg = f"dataset {file.dataset!r}: {file.path} cannot be read as a ROOT file: {error}"
        raise FileReadError(msg) from error


def chunks_of(files: Iterable[File], chunksize: int) -> list[Chunk]:
    """Divide inspected files into chunks of about ``chunksize`` entries (a preprocessed fileset's own steps, if any).

    Raises:
        FilesetError: if there is not a single event.
    """
    files = list(files)
    chunks = []
    for file in files:
        entries = file.entries or 0
        number = max(round(entries / chunksize), 1)
        steps = file.steps or tuple((entries * i // number, entries * (i + 1) // number) for i in range(number))
        chunks += [Chunk(file, start, stop) for start, stop in steps if stop > start]
    if not chunks:
        msg = f"the fileset has no events: {len(files)} files, all empty: {', '.join(file.path for file in files)}"
        raise FilesetError(msg)
    return chunks


def plan(
    fileset: Any, chunksize: int, map_files: Callable[..., Iterable[Any]] = map, *, skip: bool = False
) -> tuple[list[Chunk], list[tuple[File, str]]]:
    """The chunks of a fileset.

    Args:
        fileset: coffea's own.
        chunksize: entries.
        map_files: how to apply a function to all files (a cluster's ``map``).
        skip: leave out files that cannot be opened.

    Returns:
        the chunks; and the files that were left out, each with the reason.

    Raises:
        FilesetError: if the fileset is malformed or has no events.
        FileReadError: if a file cannot be opened.
    """
    if chunksize < 1:
        msg = f"chunksize counts entries, so it is at least 1, got {chunksize}"
        raise FilesetError(msg)
    files = files_of(fileset)
    found = list(map_files(_inspect_or_say if skip else inspect, files))
    left_out = [(file, answer) for file, answer in zip(files, found, strict=True) if isinstance(answer, str)]
    return chunks_of([answer for answer in found if isinstance(answer, File)], chunksize), left_out


def _inspect_or_say(file: File) -> File | str:
    try:
        return inspect(file)
    except FileReadError as error:
        return str(error)


def _files_of_dataset(name: str, dataset: Any) -> list[File]:
    content = dataset if isinstance(dataset, Mapping) and "files" in dataset else {"files": dataset}
    metadata = {**(content.get("metadata") or {}), "dataset": name}
    default_tree = content.get("treename") or "Events"
    files = content["files"]
    if isinstance(files, str):
        files = [files]
    if isinstance(files, Mapping):
        items = list(files.items())
    elif isinstance(files, list | tuple):
        items = [(path, default_tree) for path in files]
    else:
        msg = f"dataset {name!r}: 'files' is a dict {{path: tree}} or a list of paths, got {_short(files)}"
        raise FilesetError(msg)
    for path, times in Counter(str(path) for path, _ in items).items():
        _check_path(name, path)
        if times > 1:
            msg = f"dataset {name!r}: {path} is listed {times} times, which would count its events as often"
            raise FilesetError(msg)
    return [_file(name, str(path), spec, metadata) for path, spec in items]


def _check_path(dataset: str, path: str) -> None:
    if "*" in path:
        msg = f"dataset {dataset!r}: {path} is a pattern; list the files, such as by sorted(glob.glob(…))"
        raise FilesetError(msg)
    if found := re.fullmatch(r"(.+\.root):([^/:]+)", path):
        msg = f"dataset {dataset!r}: {path} names file and tree in one; write {{{found[1]!r}: {found[2]!r}}}"
        raise FilesetError(msg)


def _file(dataset: str, path: str, spec: Any, metadata: Mapping[str, Any]) -> File:
    if isinstance(spec, str):
        return File(dataset, path, spec, metadata)
    if isinstance(spec, Mapping) and isinstance(spec.get("object_path"), str):
        steps = spec.get("steps")
        return File(
            dataset,
            path,
            spec["object_path"],
            metadata,
            tuple((int(start), int(stop)) for start, stop in steps) if steps else None,
            spec.get("num_entries"),
            spec.get("uuid"),
        )
    msg = f"dataset {dataset!r}: for {path} expected the name of its tree, or a dict with 'object_path', got {_short(spec)}"
    raise FilesetError(msg)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"
