"""Servers: how files on them are asked for, and what it means when they do not answer.

Everything goes through fsspec: its options (credentials, headers) are those of ``uproot_options``; diffea adds the time-out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import fsspec
import uproot

from diffea.errors import MissingPackageError, OptionError

TIMEOUT = 60.0  # seconds
NEEDED = {"root": "fsspec-xrootd", "http": "aiohttp", "https": "aiohttp", "s3": "s3fs"}
EXPIRED = ("operation expired", "timed out", "timeouterror")
PLAIN_ANSWER = 200  # of http: all of the file
REFUSED = (401, 403, 404, 410)  # of http
MISSING = ("no such file", "has no tree", "not found", "permission denied", "not authorized")


def is_remote(path: str) -> bool:
    """Whether a path is an address of another machine."""
    return "://" in path and not path.startswith(("file://", "local://"))


def server_of(path: str) -> str:
    """Kind and name of the server of an address, without credentials."""
    parts = urlsplit(path)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def check_options(options: object) -> Mapping[str, object]:
    """The ``uproot_options`` that a user gave, none for None.

    Raises:
        OptionError: if they are no dict, or their time-out no number of seconds.
    """
    options = {} if options is None else options
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        msg = f"uproot_options are a dict of what uproot.open and fsspec take, got {type(options).__name__}"
        raise OptionError(msg)
    timeout = options.get("timeout", TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        msg = f"uproot_options['timeout'] is a number of seconds, above 0, got {timeout!r}"
        raise OptionError(msg)
    return options


def options_for(path: str, options: Mapping[str, object]) -> dict[str, object]:
    """The options by which uproot opens a path, with a time-out where its server may hang."""
    own = {name: value for name, value in options.items() if name != "timeout"}
    if not is_remote(path):
        return {name: value for name, value in own.items() if name in uproot.reading.open.defaults}
    timeout, scheme = _timeout(options), urlsplit(path).scheme
    if scheme == "root":
        return {"timeout": max(round(timeout), 1), **own}
    if scheme in ("http", "https"):
        from aiohttp import ClientTimeout

        waits = ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)
        given = own.pop("client_kwargs", {})
        return {"client_kwargs": {"timeout": waits, **(given if isinstance(given, Mapping) else {})}, **own}
    return own


def fsspec_options(path: str, options: Mapping[str, object]) -> dict[str, object]:
    """Those of them that fsspec takes."""
    found = options_for(path, options)
    return {name: value for name, value in found.items() if name not in uproot.reading.open.defaults}


class Part(io.RawIOBase):
    """A file of fsspec, open for reading any part of it by itself, which keeps time-outs where fsspec's own open files do not.

    Raises:
        OSError: of a part that comes in another length.
    """

    def __init__(self, path: str, options: Mapping[str, object]) -> None:
        self._server, self._path = fsspec.core.url_to_fs(path, **fsspec_options(path, options))
        self._size = int(self._server.size(self._path) or 0)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        found: bytes = self._server.cat_file(self._path, start=self._at, end=end)
        if len(found) != end - self._at:
            msg = f"expected {end - self._at} bytes from {self._at} on, got {len(found)}"
            raise OSError(msg)
        self._at = end
        return found


@contextlib.contextmanager
def packages_for(path: str) -> Iterator[None]:
    """Say which package an address needs, if that is not installed.

    Raises:
        MissingPackageError: then.
    """
    try:
        yield
    except ImportError as error:
        package = NEEDED.get(urlsplit(path).scheme, "the one that fsspec names")
        msg = f"{path} needs a package that is not installed here: {package} ({error})"
        raise MissingPackageError(msg) from error


def reason(path: str, options: Mapping[str, object], error: BaseException) -> str:
    """Why a file could not be read, in words: as the error has it, or what its server did."""
    if not is_remote(path):
        return str(error)
    if any(isinstance(cause, TimeoutError) or _says(cause, EXPIRED) for cause in _causes(error)):
        return f"{server_of(path)} gave no answer within {_timeout(options):g} s (uproot_options={{'timeout': …}})"
    if path.startswith("http") and not is_lasting(error) and _sends_whole_files(path, options):
        return f"{server_of(path)} sends whole files only (no ranges of bytes), of which nothing can be read in parts: download it first"
    status = next(
        (f"it answered {found}; " for cause in _causes(error) if (found := getattr(cause, "status", None))), ""
    )
    return f"{server_of(path)}: {status}{type(error).__name__}: {error}"


def is_lasting(error: BaseException) -> bool:
    """Whether a file that could not be read will not be there a moment later either."""
    kinds = FileNotFoundError | PermissionError | ImportError
    return any(
        isinstance(cause, kinds) or _says(cause, MISSING) or getattr(cause, "status", None) in REFUSED
        for cause in _causes(error)
    )


def forget(path: str, options: Mapping[str, object]) -> None:
    """Drop the connection to a file, which may be broken, and what is remembered of it."""
    with contextlib.suppress(Exception):
        server, place = fsspec.core.url_to_fs(path, **fsspec_options(path, options))
        server.invalidate_cache(place)


def _timeout(options: Mapping[str, object]) -> float:
    timeout = options.get("timeout", TIMEOUT)
    return float(timeout) if isinstance(timeout, int | float) else TIMEOUT


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return any(word in str(error).lower() for word in words)


def _sends_whole_files(path: str, options: Mapping[str, object]) -> bool:
    """Whether an http server does not answer with the byte that it is asked for."""
    with contextlib.suppress(Exception):
        server, place = fsspec.core.url_to_fs(path, **fsspec_options(path, options))

        async def status() -> int:
            session = await server.set_session()
            async with session.get(server.encode_url(place), headers={"Range": "bytes=0-0"}) as answer:
                return answer.status

        return fsspec.asyn.sync(server.loop, status, timeout=_timeout(options)) == PLAIN_ANSWER
    return False
