"""Opening: a file of either format, which is the one that a fileset or the plan means."""

from __future__ import annotations

from diffea.errors import FileReadError, FilesetError, MissingPackageError
from diffea.events.filesets import File
from diffea.events.parquet import ParquetFile
from diffea.events.root import RootFile
from diffea.events.servers import packages_for, reason

Opened = RootFile | ParquetFile


def open_file(file: File) -> Opened:
    """Open a file that has the tree, the number of entries and the UUID that the fileset or the plan says.

    Raises:
        FilesetError: if entries or UUID are others.
        FileReadError: if the file or its tree cannot be opened.
        MissingPackageError: if its kind of address needs a package that is not installed.
    """
    kind = "Parquet" if file.is_parquet else "ROOT"
    try:
        with packages_for(file.path):
            opened = (
                ParquetFile.open(file.path, file.options)
                if file.is_parquet
                else RootFile.open(file.path, file.tree, file.options)
            )
        entries = opened.entries
        alike = file.uuid is None or opened.is_stated(file.uuid)
    except MissingPackageError:
        raise
    except FileReadError as error:
        msg = f"dataset {file.dataset!r}: {error}"
        raise FileReadError(msg) from error
    except Exception as error:
        msg = f"dataset {file.dataset!r}: {file.path} cannot be read as a {kind} file: {reason(file.path, file.options, error)}"
        raise FileReadError(msg) from error
    if file.entries not in (None, entries):
        raise _other(file, "entries", file.entries, entries)
    if not alike:
        raise _other(file, "UUID", file.uuid, opened.uuid)
    return opened


def _other(file: File, name: str, stated: object, inside: object) -> FilesetError:
    msg = (
        f"{file}: expected the {name} {stated} that the fileset states, or the file had when this began, got {inside}: "
        "it is another file by now; preprocess the fileset again, or leave num_entries, uuid and steps away"
    )
    return FilesetError(msg)
