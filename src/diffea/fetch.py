"""Downloads the data of an analysis: streamed, checked against published checksums, renamed only when whole."""

from __future__ import annotations

import hashlib
import re
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO

from diffea.errors import ChecksumError, DownloadError, RemoteFileError
from diffea.files import UNFINISHED, whole

__all__ = ["Progress", "RemoteFile", "fetch", "is_whole"]

BLOCK = 1 << 20
TIMEOUT = 60.0
CHECKSUMS = {"sha256": re.compile("[0-9a-f]{64}"), "adler32": re.compile("[0-9a-f]{8}")}


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file to download, and how to know that it arrived whole.

    Args:
        name: where it goes, relative to the data folder, with forward slashes.
        url: http(s) address; ``https://opendata.cern.ch/eos/opendata/...`` for the CERN Open Data portal.
        sha256: 64 hexadecimal digits.
        adler32: 8 hexadecimal digits, as the CERN Open Data portal lists them.
        size: length in bytes.
        record: record number on the CERN Open Data portal.

    Raises:
        RemoteFileError: no checksum, a malformed one, or a name that leaves the data folder.
    """

    name: str
    url: str
    sha256: str | None = None
    adler32: str | None = None
    size: int | None = None
    record: int | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if not self.name or path.is_absolute() or ".." in path.parts:
            msg = f"a remote file's name must be a path inside the data folder, got {self.name!r}"
            raise RemoteFileError(msg)
        if self.sha256 is None and self.adler32 is None:
            msg = f"remote file {self.name!r} has no checksum: give sha256 or adler32 (the CERN Open Data portal lists it)"
            raise RemoteFileError(msg)
        for kind, pattern in CHECKSUMS.items():
            given = getattr(self, kind)
            if given is not None and not pattern.fullmatch(given):
                msg = f"{kind} of remote file {self.name!r} must match {pattern.pattern}, got {given!r}"
                raise RemoteFileError(msg)


Progress = Callable[[RemoteFile, int, int | None], None]
"""Called with the file, the bytes received so far and the bytes expected (None when nobody says)."""


class _Meter:
    """Length and checksums of the bytes seen so far."""

    def __init__(self) -> None:
        self.size = 0
        self.adler32 = 1
        self.sha256 = hashlib.sha256()

    def update(self, block: bytes) -> None:
        self.size += len(block)
        self.adler32 = zlib.adler32(block, self.adler32)
        self.sha256.update(block)

    def mismatch(self, file: RemoteFile) -> str | None:
        """What differs from `file`'s size and checksums, in words; None when nothing does."""
        got = {"size": self.size, "adler32": f"{self.adler32:08x}", "sha256": self.sha256.hexdigest()}
        for kind, value in got.items():
            expected = getattr(file, kind)
            if expected is not None and expected != value:
                return f"expected {kind} {expected}, got {value}"
        return None


def is_whole(file: RemoteFile, folder: Path) -> bool:
    """Whether `folder` already holds `file` with the right size and checksums."""
    path = folder / file.name
    if not path.is_file():
        return False
    if file.size is not None and path.stat().st_size != file.size:
        return False
    meter = _Meter()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            meter.update(block)
    return meter.mismatch(file) is None


def fetch(files: Iterable[RemoteFile], folder: Path, *, progress: Progress | None = None) -> list[Path]:
    """Download `files` into `folder`, leaving alone those that are there and whole.

    Args:
        files: what to download.
        folder: the data folder; made when it is not there.
        progress: told of every block that arrives.

    Returns:
        The files' paths, in the order given.

    Raises:
        DownloadError: an address did not answer, refused, or broke off.
        ChecksumError: what arrived is not the file that was published; nothing is kept of it.
    """
    paths = []
    for file in files:
        if not is_whole(file, folder):
            _download(file, folder / file.name, progress)
        paths.append(folder / file.name)
    return paths


def _download(file: RemoteFile, target: Path, progress: Progress | None) -> None:
    for unfinished in target.parent.glob(f"{UNFINISHED}*"):
        if time.time() - unfinished.stat().st_mtime > 2 * TIMEOUT:  # one that goes on writes more often
            unfinished.unlink()
    with whole(target) as out:
        meter = _stream(file, out, progress)
        if difference := meter.mismatch(file):
            msg = (
                f"{file.url} is not the published file {file.name!r}: {difference}. "
                "Nothing was kept; try again, and if it repeats, look at the record on the portal"
            )
            raise ChecksumError(msg)


def _stream(file: RemoteFile, out: IO[bytes], progress: Progress | None) -> _Meter:
    meter = _Meter()
    try:
        with urllib.request.urlopen(file.url, timeout=TIMEOUT) as response:
            announced = response.headers.get("Content-Length")
            total = file.size if announced is None else int(announced)
            while block := response.read(BLOCK):
                out.write(block)
                meter.update(block)
                if progress is not None:
                    progress(file, meter.size, total)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        msg = f"could not download {file.name!r} from {file.url} (after {meter.size} bytes): {error}. Is the network there?"
        raise DownloadError(msg) from error
    if total is not None and meter.size < total:
        msg = f"{file.url} broke off: expected {total} bytes of {file.name!r}, got {meter.size}. Try again"
        raise DownloadError(msg)
    return meter
