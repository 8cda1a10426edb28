"""Facilities on this machine, each started for its tests and stopped after: Slurm, a dask-gateway server. `nox -s facilities` runs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute

SLURM = """
ClusterName=diffea
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
GATEWAY = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.address = "127.0.0.1:{ports[0]}"
c.Proxy.address = "127.0.0.1:{ports[1]}"
c.UnsafeLocalBackend.clusters_directory = "{folder}"
c.ClusterConfig.worker_cores = 1
c.ClusterConfig.worker_memory = "3 G"
c.ClusterConfig.adaptive_period = 1
"""


def pytest_collection_modifyitems(items) -> None:
    if not os.environ.get("DIFFEA_FACILITIES"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="starts a facility on this machine: nox -s facilities runs it"))


@pytest.fixture(scope="session")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def bits(fileset) -> Callable[..., list[float]]:
    """Templates and derivatives, in process or on a cluster."""

    def found(client=None) -> list[float]:
        with distribute(
            Search(), fileset, client=client, schemaclass=QuietSchema, chunksize=700, timeout=120
        ) as templates:
            return [*templates.hard(PARAMS).values_flat, *templates.jacobian(PARAMS).flat.ravel()]

    return found


@pytest.fixture(scope="session")
def expected(bits) -> list[float]:
    """What every facility has to find."""
    return bits()


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """The file of the working directory that ``--cluster mysite:…`` names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield tmp_path / "mysite.py"
    sys.modules.pop("mysite", None)


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """Slurm of this one node, and what its commands need in the environment."""
    for program in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"no {program} here: install Debian's munge, slurmctld, slurmd and slurm-client")
    if os.getuid() != 0:
        pytest.skip("Slurm's daemons take root")
    if find_spec("dask_jobqueue") is None:
        pytest.skip("dask-jobqueue is not installed")
    host = socket.gethostname().partition(".")[0]
    with _folder() as folder, contextlib.ExitStack() as stack:
        for name in ("state", "spool", "keys"):
            (folder / name).mkdir(mode=0o700)
        (folder / "keys/key").write_bytes(os.urandom(1024))
        (folder / "keys/key").chmod(0o400)
        (folder / "slurm.conf").write_text(SLURM.format(host=host, ports=_ports(2), folder=folder))
        environment = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        keys = [f"--{name}-file={folder}/keys/{name}" for name in ("key", "pid", "log", "seed")]
        for command in (
            ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *keys],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", host],
        ):
            stack.enter_context(_running(command, folder, environment))
        _until(
            lambda: (
                b"idle" in subprocess.run(["sinfo", "-h"], check=False, env=environment, capture_output=True).stdout
            ),
            folder,
        )
        yield {"SLURM_CONF": environment["SLURM_CONF"]}


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """The address of a dask-gateway server whose clusters are processes of this machine."""
    if find_spec("dask_gateway") is None or find_spec("dask_gateway_server") is None:
        pytest.skip("dask-gateway and dask-gateway-server[local] are not installed")
    ports = _ports(2)
    with _folder() as folder:
        (folder / "config.py").write_text(GATEWAY.format(ports=ports, folder=folder))
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NPROC": "1"}
        command = [
            sys.executable,
            "-c",
            "import dask_gateway_server.app as app; app.main()",
            "-f",
            str(folder / "config.py"),
        ]
        with _running(command, folder, environment):
            _until(lambda: _is_well(f"http://127.0.0.1:{ports[1]}/api/health"), folder)
            yield f"http://127.0.0.1:{ports[1]}"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="diffea-facility-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A daemon, until the end of the block; what it says goes into the folder."""
    with (folder / f"{Path(command[0]).name}.out").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(ready: Callable[[], bool], folder: Path) -> None:
    for _ in range(120):
        if ready():
            return
        time.sleep(0.5)
    said = "\n".join(
        f"{path}: {path.read_text(errors='replace')[-1500:]}" for path in [*folder.glob("*.out"), *folder.glob("*.log")]
    )
    pytest.fail(f"the facility did not start within 60 s:\n{said}")


def _is_well(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _ports(number: int) -> list[int]:
    """Some that are free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
