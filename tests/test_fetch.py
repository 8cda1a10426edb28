"""`diffea.fetch` against a server on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffea.errors import ChecksumError, DownloadError, OutputError, RemoteFileError
from diffea.fetch import RemoteFile, fetch, is_whole
from diffea.files import UNFINISHED
from tests.disks import full_disk

CONTENT = bytes(range(256)) * 9000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ADLER32 = f"{zlib.adler32(CONTENT):08x}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing.root":
            self.send_error(404)
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/").replace("HERE", self.headers["Host"]))
            self.end_headers()
            return
        if self.path == "/endless.root":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(CONTENT)
                    self.server.sent += len(CONTENT)
            return
        body = CONTENT[:-1] + b"x" if self.path == "/changed.root" else CONTENT
        self.send_response(200)
        if self.path != "/unannounced.root":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/broken.root" else body)
        self.server.served.append(self.path)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.served, running.sent = [], 0
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def remote(server: http.server.ThreadingHTTPServer, name: str = "good.root", **kwargs: object) -> RemoteFile:
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    return RemoteFile(name=f"sub/{name}", url=url, **({"sha256": SHA256, "adler32": ADLER32} | kwargs))


def test_download_is_checked_reported_and_not_repeated(server, tmp_path: Path) -> None:
    file, seen = remote(server, size=len(CONTENT)), []
    (path,) = fetch([file], tmp_path, progress=lambda *event: seen.append(event))
    assert path == tmp_path / "sub" / "good.root"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["good.root"]
    assert seen[0][0] is file
    assert seen[-1][1:] == (len(CONTENT), len(CONTENT))
    assert [event[1] for event in seen] == sorted(event[1] for event in seen)
    assert len(seen) > 1
    requests = len(server.served)
    fetch([file], tmp_path)
    assert len(server.served) == requests


def test_a_damaged_file_is_downloaded_again(server, tmp_path: Path) -> None:
    file = remote(server)
    (path,) = fetch([file], tmp_path)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert not is_whole(file, tmp_path)
    fetch([file], tmp_path)
    assert is_whole(file, tmp_path)


def test_what_a_killed_download_left_is_removed(server, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, age in (("killed", 1000.0), ("going on", 1.0)):
        path = tmp_path / "sub" / f"{UNFINISHED}{name}"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    fetch([remote(server)], tmp_path)
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {"good.root", f"{UNFINISHED}going on"}


def test_a_file_has_the_mode_that_the_user_asks_for(server, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (path,) = fetch([remote(server)], tmp_path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_without_announced_length(server, tmp_path: Path) -> None:
    seen = []
    fetch([remote(server, "unannounced.root")], tmp_path, progress=lambda *event: seen.append(event))
    assert seen[-1][1:] == (len(CONTENT), None)


@pytest.mark.parametrize("checksums", [{"sha256": SHA256, "adler32": None}, {"sha256": None, "adler32": ADLER32}])
def test_either_checksum_catches_a_changed_byte(server, tmp_path: Path, checksums: dict[str, str | None]) -> None:
    kind = next(k for k, v in checksums.items() if v)
    with pytest.raises(ChecksumError, match=f"changed.root.*expected {kind} {checksums[kind]}, got"):
        fetch([remote(server, "changed.root", **checksums)], tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"), [("missing.root", "404"), ("broken.root", "IncompleteRead|broke off|expected .* got")]
)
def test_what_does_not_arrive_leaves_nothing(server, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DownloadError, match=message):
        fetch([remote(server, name)], tmp_path)
    assert list((tmp_path / "sub").iterdir()) == []


def test_interrupt_leaves_nothing(server, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([remote(server)], tmp_path, progress=interrupt)
    assert list((tmp_path / "sub").iterdir()) == []


def test_redirects_are_followed_on_the_web_alone(server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    begin = f"http://127.0.0.1:{server.server_port}/to/"
    fetch([RemoteFile(name="good.root", url=f"{begin}http://HERE/good.root", sha256=SHA256)], tmp_path / "data")
    places = f"file://{tmp_path}/secret", f"FILE:{tmp_path}/secret", "ftp://127.0.0.1/x", "data:text/plain,x", "//"
    for place in places:
        file = RemoteFile(name="secret", url=f"{begin}{place}", sha256=SHA256)
        with pytest.raises(DownloadError, match=r"leads to|not allowed|could not download"):
            fetch([file], tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["good.root"]


@pytest.mark.parametrize(("name", "size"), [("endless.root", 1000), ("endless.root", 0), ("good.root", 1000)])
def test_no_more_than_the_stated_size_is_read(server, tmp_path: Path, name: str, size: int) -> None:
    seen, before = [], server.sent
    with pytest.raises(ChecksumError, match=f"expected size {size}, (got more|the server announces {len(CONTENT)})"):
        fetch([remote(server, name, size=size)], tmp_path, progress=lambda *event: seen.append(event))
    assert seen == []
    assert server.sent - before < 20 * len(CONTENT)  # as much as the system's buffers hold
    assert list((tmp_path / "sub").iterdir()) == []


def test_a_full_disk_and_what_is_no_folder_are_named(server, tmp_path: Path) -> None:
    (tmp_path / "sub").touch()
    with pytest.raises(OutputError, match=r"could not write .*sub/good.root: File exists"):
        fetch([remote(server)], tmp_path)
    (tmp_path / "data" / "sub").mkdir(parents=True)
    with full_disk(1 << 16), pytest.raises(OutputError, match=r"good.root: File too large"):
        fetch([remote(server)], tmp_path / "data")
    assert list((tmp_path / "data" / "sub").iterdir()) == []


def test_two_files_of_one_name_are_refused(server, tmp_path: Path) -> None:
    file = remote(server)
    other = RemoteFile(name=file.name, url=file.url, sha256="0" * 64)
    with pytest.raises(RemoteFileError, match=r"several called 'sub/good.root'"):
        fetch([file, other], tmp_path)
    assert fetch([file, file], tmp_path) == [tmp_path / file.name] * 2


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "a//b", "a/", "./a", "a/../b", "..", "~/a", "a\\b", "..\\a", "C:a", "C:\\a", ".hidden", "a/.ssh/b", ".writing-x",
        "a\nb", "a\x00b", "a\x1b[2J", "a\u202eb", "a\u200bb", " a", "a ", "a.", "CON", "nul.root", "a/aux/b", "com1", "a*", "a|b", "x" * 300,
        "-rf", 3,
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_are_none_are_refused(name: object) -> None:
    with pytest.raises(RemoteFileError, match="a path inside the data folder, got"):
        RemoteFile(name=name, url="https://opendata.cern.ch/a", sha256=SHA256)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "/etc/passwd", "data:text/plain,x", "ftp://host/x", "root://host//x", "", "http://", "http:///x",
        "https://host:99999999/x", "http://host/a b", "http://host/\r\nX: y", "http://[::1/x", "javascript:x", 3,
    ],
)  # fmt: skip
def test_other_addresses_than_those_of_the_web_are_refused(url: object) -> None:
    with pytest.raises(RemoteFileError, match="must be http:// or https://, got"):
        RemoteFile(name="a.root", url=url, sha256=SHA256)


def test_a_name_may_have_folders_blanks_and_letters_of_all_alphabets() -> None:
    for name in ("data/DY Jets-1.root", "Übung_é/τ τ (2).root", "v1.2/a.b.c+d=e.root"):
        assert RemoteFile(name=name, url="https://a/b", sha256=SHA256).name == name


@pytest.mark.parametrize("size", [-1, 1.5, True, "10"])
def test_a_size_is_a_number_of_bytes(size: object) -> None:
    with pytest.raises(RemoteFileError, match=r"size of remote file 'a.root' must be a number of bytes"):
        RemoteFile(name="a.root", url="https://a/b", sha256=SHA256, size=size)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "../up.root", "sha256": SHA256}, "inside the data folder"),
        ({"name": "/up.root", "sha256": SHA256}, "inside the data folder"),
        ({"name": "a.root"}, "has no checksum"),
        ({"name": "a.root", "adler32": "xyz"}, "adler32 of remote file 'a.root'"),
    ],
)
def test_bad_descriptions(kwargs: dict[str, str], message: str) -> None:
    with pytest.raises(RemoteFileError, match=message):
        RemoteFile(url="http://127.0.0.1/", **kwargs)
