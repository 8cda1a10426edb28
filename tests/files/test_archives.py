"""Archives: what is not what it says it is, is refused before an array is made of it."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffea.files.archives import read_npz

HEADER = {"format": "mine", "numbers": [1, 2.5]}
ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3),
    "flags": np.array([True, False]),
    "columns": np.asfortranarray(np.eye(3)[:2]),
}


TEXT = json.dumps(HEADER)


def archive(path: Path, header: Any = TEXT, arrays: Any = ARRAYS, save: Any = np.savez, members: Any = None) -> Path:
    """A file of NumPy's, with further members as bytes."""
    save(path, **({} if header is None else {"header": np.asarray(header)}), **arrays)
    with zipfile.ZipFile(path, "a") as file:
        for name, content in (members or {}).items():
            file.writestr(name, content)
    return path


def npy(description: str, content: bytes = b"") -> bytes:
    """An array file whose description is given as text."""
    text = description.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def test_what_was_written_is_read(tmp_path: Path) -> None:
    header, arrays = read_npz(archive(tmp_path / "f.npz"))
    assert header == HEADER
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].flags.writeable
    _, swapped = read_npz(archive(tmp_path / "s.npz", arrays={"a": ARRAYS["a"].astype(">f8")}))
    np.testing.assert_array_equal(swapped["a"], ARRAYS["a"])
    assert swapped["a"].dtype == np.float64


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"save": np.savez_compressed}, "compressed"),
        ({"arrays": {"a": np.array([Bomb()], dtype=object)}}, "numbers or text, got object"),
        ({"arrays": {"a": np.zeros(2, [("x", float), ("y", object)])}}, "numbers or text"),
        ({"arrays": {"a": np.array(["text"])}}, "expected numbers, got <U4 in 'a'"),
        ({"arrays": {"a": np.array([1j])}}, "complex128"),
        ({"arrays": {"a": np.array([1], "datetime64[s]")}}, r"datetime64\[s\]"),
        ({"header": None}, "header of text"),
        ({"header": 3.0}, "header of text"),
        ({"header": ["{}"]}, "header of text"),
        ({"header": "[]"}, "JSON object as header, got list"),
        ({"header": "{"}, "Expecting property name"),
        ({"header": '{"loss": NaN}'}, "numbers in the header, got NaN"),
        ({"header": "[" * 100_000}, "nested too deep"),
        ({"members": {"a.npy": b"twice"}}, "name of its own, got 'a.npy'"),
        ({"members": {"run.sh": b"#!"}}, "got 'run.sh'"),
        ({"members": {"b.npy": b""}}, "EOF|magic"),
        ({"members": {"b.npy": pickle.dumps(Bomb())}}, "magic string"),
        ({"members": {"b.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10**15,)}")}}, "Cannot parse|malformed"),
        ({"members": {"b.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}")}}, "0 bytes of"),
        ({"members": {"b.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}", bytes(8))}}, "8 bytes of"),
        ({"members": {"b.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", bytes(8))}}, "8 bytes of"),
        ({"members": {"b.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", bytes(16))}}, "16 bytes of"),
        ({"members": {"b.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': ()}", pickle.dumps(Bomb()))}}, "object"),
        ({"members": {"b.npy": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (9,)}")}}, "numbers or text"),
        ({"members": {"b.npy": npy("(" * 60_000)}}, "."),
    ],
)  # fmt: skip
def test_what_is_not_as_diffea_writes_it_is_refused(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text):
        read_npz(archive(tmp_path / "f.npz", **changes))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "f.npz", arrays={"a": np.zeros(10**7)}, save=np.savez_compressed)
    assert path.stat().st_size < 10**6
    tracemalloc.start()
    with pytest.raises(ValueError, match="compressed"):
        read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_parts_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    """Many entries of the directory that mean the same bytes."""
    path = archive(tmp_path / "f.npz", arrays={"a": np.zeros(1000)})
    with zipfile.ZipFile(path, "a") as file:
        original = file.getinfo("a.npy")
        for number in range(100):
            copy = zipfile.ZipInfo(f"b{number}.npy")
            copy.header_offset, copy.file_size, copy.compress_size, copy.CRC = (
                original.header_offset, original.file_size, original.compress_size, original.CRC,
            )  # fmt: skip
            file.filelist.append(copy)
        file._didModify = True
    with pytest.raises(ValueError, match=r"larger than itself|[Oo]verlap"):
        read_npz(path)


WHOLE = io.BytesIO()
np.savez(WHOLE, header=np.asarray(json.dumps(HEADER)), **ARRAYS)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.data())
def test_a_file_with_other_bytes_is_the_same_or_refused(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    content = bytearray(WHOLE.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.sampled_from([len(content)] * 3 + [len(content) // 2]))]
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    try:
        header, arrays = read_npz(path)
    except ValueError:
        return
    assert header == HEADER
    for name in arrays:  # a name is the one thing that has no checksum
        assert any(np.array_equal(arrays[name], array) for array in ARRAYS.values())
