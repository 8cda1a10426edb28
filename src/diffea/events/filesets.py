"""Filesets: coffea's own, read into a list of files."""

from __future__ import annotations

import dataclasses
import numbers
import os
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from diffea.errors import FileReadError, FilesetError, ObservationError
from diffea.events.listing import is_parquet, listed
from diffea.events.scalars import plain
from diffea.types import Fileset

Steps = tuple[tuple[int, int], ...]
IS_DATA = "is_data"  # of a dataset's metadata


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a dataset, as the fileset names it.

    Attributes:
        steps: entry ranges, where the fileset was preprocessed; otherwise made from the chunk size.
        entries: of the tree, as the fileset states or the file says.
        uuid: likewise; of a Parquet file, which has none, what stands for it.
        is_parquet: rather than ROOT.
        row_groups: where those of a Parquet file begin, and the last ends.
        options: by which uproot and fsspec open it, credentials among them.
    """

    dataset: str
    path: str
    tree: str
    metadata: Mapping[str, object]
    steps: Steps | None = None
    entries: int | None = None
    uuid: str | None = None
    is_parquet: bool = False
    row_groups: tuple[int, ...] | None = None
    options: Mapping[str, object] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def sample(self) -> str:
        return str(self.metadata.get("sample", self.dataset))

    @property
    def is_data(self) -> bool:
        """Whether it holds observed events, which nothing looks at while an analysis is blinded."""
        return bool(self.metadata.get(IS_DATA, False))

    def __str__(self) -> str:
        return f"dataset {self.dataset!r}, file {self.path}"


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
        return f"{self.file}, entries {self.start}–{self.stop}"


def files_of(fileset: Fileset, options: Mapping[str, object] | None = None) -> list[File]:
    """The files of a coffea fileset (a dict, or a ``DataGroupSpec``).

    Args:
        fileset: whose paths may be folders and patterns.
        options: by which to open them.

    Raises:
        FilesetError: if it is of another form, or a dataset has no files.
        FileReadError: if a server does not list the files of a pattern or a folder.
    """
    fileset = _dumped(fileset)
    if not isinstance(fileset, Mapping) or not fileset:
        msg = f"a fileset is a dict of datasets {{name: {{'files': {{path: tree}}}}}}, got {_short(fileset)}"
        raise FilesetError(msg)
    if unnamed := [name for name in fileset if not _named(name)]:
        msg = f"the name of a dataset is a text, got {', '.join(map(_short, unnamed))}"
        raise FilesetError(msg)
    options = options or {}
    return [
        file for name, dataset in fileset.items() for file in _files_of_dataset(str(name), _dumped(dataset), options)
    ]


def marked(fileset: Fileset) -> dict[str, str]:
    """The datasets that are marked as data, each with its sample; no path is looked at.

    Raises:
        FilesetError: if metadata are malformed.
    """
    fileset = _dumped(fileset)
    found = {}
    for name, dataset in fileset.items() if isinstance(fileset, Mapping) else ():
        content = _dumped(dataset)
        metadata = metadata_of(str(name), content.get("metadata") if isinstance(content, Mapping) else None)
        if metadata.get(IS_DATA):
            found[str(name)] = str(metadata.get("sample", name))
    return found


def chosen(datasets: Mapping[str, bool], *, observed: bool) -> set[str]:
    """The datasets that are marked as data, or those that are not.

    Args:
        datasets: whether each is marked.
        observed: which of them.

    Raises:
        ObservationError: if none is marked, and those are asked for.
        FilesetError: if all are marked, and the others are asked for.
    """
    found = {name for name, is_data in datasets.items() if is_data == observed}
    if not found and observed:
        msg = f"none of the datasets {', '.join(datasets)} is marked as data: give those that were observed metadata={{'is_data': True}}"
        raise ObservationError(msg)
    if not found:
        msg = f"all datasets ({', '.join(datasets)}) are marked as data (metadata['is_data']), so that there is nothing to train on"
        raise FilesetError(msg)
    return found


def metadata_of(dataset: str, given: object) -> dict[str, object]:
    """The metadata of a dataset, with its name, and NumPy's scalars as plain values.

    Raises:
        FilesetError: if they are no dict, ``"sample"`` is no name, or ``"is_data"`` neither True nor False.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        msg = f"dataset {dataset!r}: metadata are a dict of names and values, got {_short(given)}"
        raise FilesetError(msg)
    metadata = {**{key: plain(value) for key, value in given.items()}, "dataset": dataset}
    if not _named(metadata.get("sample", dataset)):
        msg = f"dataset {dataset!r}: metadata['sample'] is the name of a template, got {_short(given['sample'])}"
        raise FilesetError(msg)
    if not isinstance(metadata.get(IS_DATA, False), bool):
        msg = f"dataset {dataset!r}: metadata['is_data'] says whether its events were observed, True or False, got {_short(given[IS_DATA])}"
        raise FilesetError(msg)
    return metadata


def _files_of_dataset(name: str, dataset: object, options: Mapping[str, object]) -> list[File]:
    content = dataset if isinstance(dataset, Mapping) and "files" in dataset else {"files": dataset}
    metadata = metadata_of(name, content.get("metadata"))
    tree = content.get("treename")
    default_tree = "Events" if tree is None else tree
    files = _dumped(content["files"])
    if isinstance(files, str):
        files = [files]
    if isinstance(files, Mapping):
        items = list(files.items())
    elif isinstance(files, list | tuple):
        items = [(path, default_tree) for path in files]
    else:
        msg = f"dataset {name!r}: 'files' is a dict {{path: tree}} or a list of paths, got {_short(files)}"
        raise FilesetError(msg)
    if not items:
        msg = f"dataset {name!r} names no files; leave it away, or look at the pattern that its files were found by"
        raise FilesetError(msg)
    items = [pair for path, spec in items for pair in _expanded(name, _path(name, path), spec, options)]
    for path, times in Counter(path for path, _ in items).items():
        if times > 1:
            msg = f"dataset {name!r}: {path} is listed {times} times, which would count its events as often"
            raise FilesetError(msg)
    found = [dataclasses.replace(_file(name, path, spec, metadata), options=options) for path, spec in items]
    if len({file.is_parquet for file in found}) > 1:
        first = {file.is_parquet: file.path for file in reversed(found)}
        msg = (
            f"dataset {name!r} has files of both formats, such as {first[True]} (Parquet) and {first[False]} (ROOT): make it two datasets, "
            "whose metadata may name one sample"
        )
        raise FilesetError(msg)
    return found


def _path(dataset: str, path: object) -> str:
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        msg = f"dataset {dataset!r}: a file is given by its path or address, got {_short(path)}"
        raise FilesetError(msg)
    path = os.fspath(path)
    if found := re.fullmatch(r"(.+\.root):([^/:]+)", path):
        msg = f"dataset {dataset!r}: {path} names file and tree in one; write {{{found[1]!r}: {found[2]!r}}}"
        raise FilesetError(msg)
    return path


def _expanded(dataset: str, path: str, spec: object, options: Mapping[str, object]) -> list[tuple[str, object]]:
    """The files that a path stands for, each with what the fileset says of it."""
    try:
        found = listed(path, options)
    except (FilesetError, FileReadError) as error:
        msg = f"dataset {dataset!r}: {error}"
        raise type(error)(msg) from error
    stated = _dumped(spec)
    of_one = [
        key for key in ("steps", "num_entries", "uuid") if isinstance(stated, Mapping) and stated.get(key) is not None
    ]
    if of_one and found != [path]:
        msg = f"dataset {dataset!r}: {path} stands for {len(found)} files, so that {', '.join(of_one)} of one file cannot be theirs; list the files"
        raise FilesetError(msg)
    return [(file, spec) for file in found]


def _file(dataset: str, path: str, spec: object, metadata: Mapping[str, object]) -> File:
    spec = {"object_path": spec} if isinstance(spec, str) or spec is None else _dumped(spec)
    parquet = _in_parquet(dataset, path, spec.get("format") if isinstance(spec, Mapping) else None)
    if not isinstance(spec, Mapping) or not (parquet or _named(spec.get("object_path"))):
        msg = f"dataset {dataset!r}: for {path} expected the name of its tree, or a dict with 'object_path', got {_short(spec)}"
        raise FilesetError(msg)
    file = File(dataset, path, "" if parquet else str(spec["object_path"]), metadata, is_parquet=parquet)
    return dataclasses.replace(
        file,
        steps=_steps(file, spec.get("steps")),
        entries=_entries(file, spec.get("num_entries")),
        uuid=_uuid(file, spec.get("uuid")),
    )


def _in_parquet(dataset: str, path: str, stated: object) -> bool:
    """Whether a file is of Parquet, by the last of coffea's endings in its name, or as the fileset states."""
    if stated not in (None, "root", "parquet"):
        msg = f"dataset {dataset!r}, file {path}: format is 'root' or 'parquet', got {_short(stated)}"
        raise FilesetError(msg)
    return stated == "parquet" if stated else is_parquet(path)


def _steps(file: File, given: object) -> Steps | None:
    if given is None:
        return None
    pairs = [tuple(pair) if isinstance(pair, list | tuple | np.ndarray) else () for pair in _listed(given)]
    if not pairs or not all(len(pair) == 2 and all(map(_is_whole, pair)) for pair in pairs):
        msg = f"{file}: steps are pairs [first entry, one past the last] of whole numbers, got {_short(given)}"
        raise FilesetError(msg)
    return tuple((int(start), int(stop)) for start, stop in pairs)


def _entries(file: File, given: object) -> int | None:
    if given is None:
        return None
    if not _is_whole(given) or given < 0:
        msg = f"{file}: num_entries is a whole number, 0 or more, got {_short(given)}"
        raise FilesetError(msg)
    return int(given)


def _uuid(file: File, given: Any) -> str | None:
    if given is None or (file.is_parquet and isinstance(given, str) and re.fullmatch("[0-9a-f]{64}", given)):
        return given  # of Parquet coffea takes a hash of awkward's
    try:
        return str(uuid.UUID(given))
    except (ValueError, AttributeError, TypeError) as error:
        msg = f"{file}: uuid is that of the file, such as {uuid.UUID(int=1)}, got {_short(given)}"
        raise FilesetError(msg) from error


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim) else []


def _is_whole(value: object) -> TypeGuard[numbers.Integral]:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _named(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _dumped(value: object) -> object:
    """coffea's models of filesets, datasets and files as the dicts that they are."""
    return value.model_dump() if hasattr(value, "model_dump") else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"
