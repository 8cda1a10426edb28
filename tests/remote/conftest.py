"""A real XRootD server, started for the tests on an address of this machine, and stopped after."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

CONFIGURATION = """
xrd.port {port}
xrd.network nodnr
all.export {folder}/data
all.adminpath {folder}/admin
all.pidpath {folder}/admin
"""
os.environ.setdefault("XRD_TIMEOUTRESOLUTION", "1")  # seconds between looks at what has expired, 15 otherwise
os.environ.setdefault("XRD_CONNECTIONWINDOW", "2")


@dataclasses.dataclass
class XRootD:
    """A server of the files in ``data``, a folder."""

    folder: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def address(self) -> str:
        return f"root://127.0.0.1:{self.port}"

    def of(self, name: str) -> str:
        """The address of a file."""
        return f"{self.address}/{self.data}/{name}"

    def start(self) -> None:
        user = ["-R", "xrootd"] if os.getuid() == 0 else []
        command = [
            "xrootd",
            "-c",
            str(self.folder / "server.cfg"),
            "-l",
            str(self.folder / "log"),
            "-n",
            "tests",
            *user,
        ]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail(f"xrootd did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def xrootd() -> Iterator[XRootD]:
    if shutil.which("xrootd") is None:
        pytest.skip("no XRootD server here: install Debian's xrootd-server")
    if find_spec("fsspec_xrootd") is None:
        pytest.skip("no XRootD client here: install fsspec-xrootd, as diffea[xrootd] does")
    folder = Path(tempfile.mkdtemp(prefix="diffea-xrootd-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = XRootD(folder, free.getsockname()[1])
    server.data.mkdir()
    (folder / "server.cfg").write_text(CONFIGURATION.format(port=server.port, folder=folder))
    if os.getuid() == 0:  # under which xrootd refuses to run
        user = pwd.getpwnam("xrootd")
        for path in (folder, server.data):
            os.chown(path, user.pw_uid, user.pw_gid)
    server.start()
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
