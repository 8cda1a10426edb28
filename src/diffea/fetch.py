"""Downloads the data of an analysis: streamed, checked against published checksums, renamed only when whole."""

from __future__ import annotations

import hashlib
import re
import time
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO

from diffea.errors import ChecksumError, DiffeaError, DownloadError, FileReadError, RemoteFileError
from diffea.files import UNFINISHED, named, whole
from diffea.files.names import unfit_path

__all__ = ["Progress", "RemoteFile", "fetch", "is_whole"]

BLOCK = 1 << 20
TIMEOUT = 60.0
SCHEMES = ("http", "https")
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
        RemoteFileError: no checksum, a malformed one, another address than http(s), or a name that leaves the data folder, is hidden,
            or is none on some system.
    """

    name: str
    url: str
    sha256: str | None = None
    adler32: str | None = None
    size: int | None = None
    record: int | None = None

    def __post_init__(self) -> None:
        if reason := unfit_path(self.name):
            msg = f"a remote file's name must be a path inside the data folder, got {self.name!r}: {reason}"
            raise RemoteFileError(msg)
        if reason := _no_web_address(self.url):
            msg = (
                f"the address of remote file {self.name!r} must be http:// or https://, got {self.url!r:.200}: {reason}"
            )
            raise RemoteFileError(msg)
        if self.sha256 is None and self.adler32 is None:
            msg = f"remote file {self.name!r} has no checksum: give sha256 or adler32 (the CERN Open Data portal lists it)"
            raise RemoteFileError(msg)
        for kind, pattern in CHECKSUMS.items():
            given = getattr(self, kind)
            if given is not None and not (isinstance(given, str) and pattern.fullmatch(given)):
                msg = f"{kind} of remote file {self.name!r} must match {pattern.pattern}, got {given!r}"
                raise RemoteFileError(msg)
        if self.size is not None and (type(self.size) is not int or self.size < 0):
            msg = f"size of remote file {self.name!r} must be a number of bytes, got {self.size!r}"
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
    try:
        if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
            return False
        meter = _Meter()
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                meter.update(block)
    except OSError as error:
        msg = f"{path} is there, but cannot be read: {error.strerror or error}"
        raise FileReadError(msg) from error
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
        RemoteFileError: two files have one name.
        DownloadError: an address did not answer, refused, led to another kind of address, or broke off.
        ChecksumError: what arrives is not the file that was published; nothing is kept of it, and no more read than its size.
        FileReadError, OutputError: a file that is there cannot be read, or one not be written.
    """
    files = list(files)
    unlike = {file.name: file for file in files}
    for file in files:
        if unlike[file.name] != file:
            msg = f"each remote file must have a name of its own, got several called {file.name!r}"
            raise RemoteFileError(msg)
    paths = []
    for file in files:
        if not is_whole(file, folder):
            _download(file, folder / file.name, progress)
        paths.append(folder / file.name)
    return paths


def _no_web_address(url: object) -> str | None:
    """Why a text is no address on the web; None if it is."""
    if not isinstance(url, str) or any(character <= " " or character == "\x7f" for character in url):
        return "it must be a text without blanks and control characters"
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme.lower() not in SCHEMES:
        return f"diffea opens no {parts.scheme or 'local'} addresses"
    return None if parts.hostname else "it names no host"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows where a server sends us, on the web alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if reason := _no_web_address(newurl):
            msg = f"{req.full_url} leads to {newurl!r:.200}: {reason}"
            raise DownloadError(msg)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Opens addresses on the web; unlike urllib's own one no files, data or ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


def _download(file: RemoteFile, target: Path, progress: Progress | None) -> None:
    with named(target):
        for unfinished in target.parent.glob(f"{UNFINISHED}*"):
            if time.time() - unfinished.stat().st_mtime > 2 * TIMEOUT:  # one that goes on writes more often
                unfinished.unlink()
    with whole(target) as out:
        meter = _Meter()
        for block, total in _blocks(file, meter):
            out.write(block)
            if progress is not None:
                progress(file, meter.size, total)
        if difference := meter.mismatch(file):
            raise ChecksumError(_other(file, difference))


def _blocks(file: RemoteFile, meter: _Meter) -> Iterator[tuple[bytes, int | None]]:
    """What arrives, and how much it will be; never more than the published size, if that is known."""
    total = None
    try:
        with _opener().open(file.url, timeout=TIMEOUT) as response:
            announced = response.headers.get("Content-Length", "")
            total = int(announced) if announced.isascii() and announced.isdigit() else file.size
            if file.size is not None and total != file.size:
                raise ChecksumError(_other(file, f"expected size {file.size}, the server announces {total}"))
            while block := response.read(BLOCK if file.size is None else min(BLOCK, file.size - meter.size + 1)):
                meter.update(block)
                if file.size is not None and meter.size > file.size:
                    raise ChecksumError(_other(file, f"expected size {file.size}, got more"))
                yield block, total
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, DiffeaError):
            raise
        msg = f"could not download {file.name!r} from {file.url} (after {meter.size} bytes): {error}. Is the network there?"
        raise DownloadError(msg) from error
    if total is not None and meter.size < total:
        msg = f"{file.url} broke off: expected {total} bytes of {file.name!r}, got {meter.size}. Try again"
        raise DownloadError(msg)


def _other(file: RemoteFile, difference: str) -> str:
    return (
        f"{file.url} is not the published file {file.name!r}: {difference}. "
        "Nothing was kept; try again, and if it repeats, look at the record on the portal"
    )
