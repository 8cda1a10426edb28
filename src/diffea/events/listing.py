"""Listing: the files that a path of a fileset stands for: itself, those of a folder, or those that match a pattern.

Patterns have ``*``, ``?``, ``[…]`` and ``{…,…}``, as uproot takes them, and ``**`` for folders at any depth. In an address (``root://``,
``https://``) a ``?`` begins a query, as everywhere, and a folder ends in ``/``. Found files are in the order of their names.
"""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import fsspec

from diffea.errors import FileReadError, FilesetError, MissingPackageError
from diffea.events.patience import patiently
from diffea.events.servers import fsspec_options, is_remote, packages_for, reason

Find: TypeAlias = Callable[[str], dict[str, bool]]
"""Paths that match a pattern without braces, and whether each is a folder."""

ENDINGS = re.compile(r"\.(root|parq(?:uet)?|pq)")


def is_parquet(path: str) -> bool:
    """Whether the last of coffea's endings in the name is one of Parquet."""
    found = ENDINGS.findall(_name(path))
    return bool(found) and found[-1] != "root"


def listed(path: str, options: Mapping[str, object]) -> list[str]:
    """The files that a path stands for; the path alone if it is neither a folder nor a pattern.

    Args:
        path: of the fileset.
        options: by which to ask a server.

    Raises:
        FilesetError: if there are none, or a folder has some in folders below it.
        FileReadError: if a server does not list its files.
        MissingPackageError: if the kind of address needs a package that is not installed.
    """
    if not is_remote(path):
        place = path.partition("://")[2] if "://" in path else str(Path(path).expanduser())
        if Path(place).is_file():
            return [path]
        if Path(place).is_dir():
            return _of_folder(glob.escape(place), path, _here)
        return _matching(place, path, _here) if re.search(r"[*?[{]", place) else [path]
    address, _, query = path.partition("?")
    if not (is_pattern := bool(re.search(r"[*[{]", address))) and not address.endswith("/"):
        return [path]
    if query:
        msg = f"{path}: a pattern or a folder of a server takes no query (?{query}); list the files"
        raise FilesetError(msg)
    find = partial(_there, path, options)
    return _matching(address, path, find) if is_pattern else _of_folder(address, path, find)


def _here(pattern: str) -> dict[str, bool]:
    return {found: Path(found).is_dir() for found in glob.glob(pattern, recursive=True)}  # noqa: PTH207


def _there(path: str, options: Mapping[str, object], pattern: str) -> dict[str, bool]:
    def ask() -> dict[str, bool]:
        try:
            with packages_for(path):
                server, place = fsspec.core.url_to_fs(pattern, **fsspec_options(path, options))
            found = server.glob(place, detail=True)
        except FileNotFoundError:
            return {}
        except MissingPackageError:
            raise
        except Exception as error:
            msg = (
                f"{path}: its server does not list its files: {reason(path, options, error)}; list them in the fileset"
            )
            raise FileReadError(msg) from error
        return {server.unstrip_protocol(name): entry.get("type") == "directory" for name, entry in found.items()}

    return patiently(ask, path, options)


def _matching(pattern: str, path: str, find: Find) -> list[str]:
    """The files that match a pattern, and those of folders that do, unless it goes into folders itself."""
    found: set[str] = set()
    for one in _combinations(pattern):
        for match, is_folder in find(one).items():
            if not is_folder:
                found.add(match)
            elif "**" not in pattern:
                found.update(_of_folder(glob.escape(match), match, find))
    return _some(sorted(found), path)


def _of_folder(place: str, path: str, find: Find) -> list[str]:
    """The files of a folder, if all that are below it are in it."""
    found, below = (
        sorted(
            file
            for file, is_folder in find(f"{place.rstrip('/')}/{pattern}").items()
            if not is_folder and _is_data(file)
        )
        for pattern in ("*", "*/**")
    )
    if below:
        msg = (
            f"{path} is a folder with files in folders below it, such as {below[0]}: name them by a pattern, such as "
            f"{path.rstrip('/')}/**/*{Path(below[0]).suffix} for all"
        )
        raise FilesetError(msg)
    return _some(found, path)


def _is_data(file: str) -> bool:
    return bool(ENDINGS.search(_name(file))) and not _name(file).startswith((".", "_"))


def _name(path: str) -> str:
    return path.partition("?")[0].rpartition("/")[2]


def _some(found: list[str], path: str) -> list[str]:
    if not found:
        http = "; an http server has to give a page of links for that" if path.startswith("http") else ""
        msg = f"{path} stands for no files: none there matches it, or has a name that ends in .root or .parquet{http}"
        raise FilesetError(msg)
    return found


def _combinations(pattern: str) -> list[str]:
    """The patterns that one with ``{a,b}`` stands for."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]
