"""NumPy's archives as diffea writes them: read only if every part says what it is, and is that."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from diffea.types import JSONDict

END = ".npy"
HEADER = "header"
KINDS = "fiub"  # of the arrays; the header is text
LONGEST = 10_000  # characters of an array's description


def read_npz(path: Path) -> tuple[JSONDict, dict[str, np.ndarray]]:
    """The ``header``, which is a JSON object, and the other arrays of a file of NumPy's.

    Names, types, shapes and sizes are compared with what the file says of itself before an array is made of it. Compressed parts are
    refused: what is stored as it is cannot grow beyond the size of the file.

    Raises:
        ValueError: if it is another file, or truncated or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check(members, path.stat().st_size)
            arrays = {member.filename.removesuffix(END): _array(archive.read(member)) for member in members}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError, OverflowError) as error:
        msg = f"{type(error).__name__}: {error}"
        raise ValueError(msg) from error
    header = _header(arrays.pop(HEADER, None))
    if unlike := [name for name, array in arrays.items() if array.dtype.kind not in KINDS]:
        msg = f"expected numbers, got {arrays[unlike[0]].dtype} in {unlike[0]!r}"
        raise ValueError(msg)
    return header, arrays


def _check(members: Iterable[zipfile.ZipInfo], size: int) -> None:
    seen: set[str] = set()
    for member in members:
        if not member.filename.endswith(END) or member.filename in seen:
            msg = f"expected arrays, each under a name of its own, got {member.filename!r}"
            raise ValueError(msg)
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            msg = f"expected {member.filename!r} as numpy.savez stores it, got it compressed"
            raise ValueError(msg)
        seen.add(member.filename)
        size -= member.file_size
    if size < 0:
        msg = "its parts are larger than itself"
        raise ValueError(msg)


def _array(content: bytes) -> np.ndarray:
    """An array from its description and its numbers, if they fit each other."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        msg = f"expected an array of NumPy's format 1.0 or 2.0, got {version}"
        raise ValueError(msg)
    shape, in_columns, dtype = readers[version](stream, max_header_size=LONGEST)
    if dtype.kind not in f"{KINDS}U" or dtype.itemsize == 0:
        msg = f"expected an array of numbers or text, got {dtype}"
        raise ValueError(msg)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        msg = f"expected {len(content) - stream.tell()} bytes of {dtype}, got the shape {shape}"
        raise ValueError(msg)
    flat = np.frombuffer(content, dtype, offset=stream.tell()).astype(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if in_columns else "C")


def _header(text: np.ndarray | None) -> JSONDict:
    if text is None or text.dtype.kind != "U" or text.shape != ():
        msg = "expected a header of text"
        raise ValueError(msg)
    try:
        header = json.loads(str(text), parse_constant=_no_number)
    except RecursionError as error:
        msg = "the header is nested too deep"
        raise ValueError(msg) from error
    if not isinstance(header, dict):
        msg = f"expected a JSON object as header, got {type(header).__name__}"
        raise ValueError(msg)  # noqa: TRY004  (damage of the file, as all above)
    return header


def _no_number(text: str) -> float:
    msg = f"expected numbers in the header, got {text}"
    raise ValueError(msg)
