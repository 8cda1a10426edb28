"""A web server of the files of a folder, which may be slow, hang, break off, refuse, or send whole files only."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder to addresses of this machine.

    Attributes:
        ranges: whether it sends parts of files.
        delay: seconds before each answer.
        hangs_after, breaks_after: how many answers it gives before it does; None for never.
        token: that it asks for.
        asked: what for, in order.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.ranges = True
        self.delay = 0.0
        self.hangs_after: int | None = None
        self.breaks_after: int | None = None
        self.mends_after: int | None = None
        self.token = ""
        self.asked: list[str] = []
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def of(self, kind: str) -> int:
        """How many requests of a kind there were."""
        return sum(asked.startswith(kind) for asked in self.asked)

    def handle_error(self, request, client_address) -> None:
        """Silent about clients that went away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        server, number = self.server, len(self.server.asked)
        server.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        time.sleep(server.delay)
        if server.hangs_after is not None and number >= server.hangs_after:
            server.over.wait(60)
        path = server.folder / self.path.lstrip("/").partition("?")[0]
        if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            self.send_error(401)
        elif not path.is_file():
            self.send_error(404)
        else:
            broken = server.breaks_after is not None and number >= server.breaks_after
            mended = server.mends_after is not None and number >= server.mends_after
            self._send(path.read_bytes(), with_content, broken and not mended)

    def _send(self, content: bytes, with_content: bool, breaks: bool) -> None:
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.server.ranges else None
        whole = len(content)
        if part:
            start = int(part[1])
            content = content[start : int(part[2]) + 1 if part[2] else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(content) - 1}/{whole}")
        else:
            self.send_response(200)
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if breaks:
            self.wfile.write(content[: len(content) // 2] if with_content else b"")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif with_content:
            self.wfile.write(content)

    def log_message(self, *args) -> None:
        """Silent."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server, until the end of the block."""
    with Server(folder) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
