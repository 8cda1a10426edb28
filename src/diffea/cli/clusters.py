"""Which cluster a run uses: a local one, a running one, or what a function of the user's returns."""

from __future__ import annotations

import ast
import contextlib
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import dask
from dask.distributed import Client, LocalCluster
from distributed.diagnostics.plugin import PipInstall

from diffea.errors import ClusterError
from diffea.types import PyTree

log = logging.getLogger(__name__)

CALM = {
    "distributed.deploy.lost-worker-timeout": "1 day",  # by default dask gives up, 15 s later, a worker that happens to be down again just then
    "distributed.admin.tick.interval": "500ms",  # those and the profile, by default every 20 and 10 ms, take some per cent of each core
    "distributed.worker.profile.interval": "100ms",
}
DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C reaches all processes of a terminal: the driver ends them
SELDOM = (50_000, 10, 10)
"""How seldom Python looks for cycles of objects: by default it goes through all that JAX holds again and again."""
CALM_COLLECTOR = f"import gc\ngc.set_threshold{SELDOM}"
LOCALHOST = "127.0.0.1"
ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def cluster(
    workers: int | None,
    scheduler: str | None,
    made_by: str | None = None,
    arguments: Sequence[str] = (),
    install: Sequence[str] = (),
    connect: str = "10s",
    threads: int | None = None,
) -> Iterator[Client | None]:
    """A client of a cluster; None, for in process, without any.

    Args:
        workers: local processes of one thread.
        scheduler: address of a running cluster.
        made_by: ``package.module:callable``, which returns a dask cluster or client; closed at the end.
        arguments: of that, as ``key=value``: Python literals, or else text.
        install: packages that pip installs on the workers first.
        connect: how long a running cluster may take to answer.
        threads: workers of one thread in this process, where no other cluster is asked for.

    Raises:
        ClusterError: nothing answers at the address, there is no such callable, or it returns something else; or pip fails.
    """
    with contextlib.ExitStack() as stack:
        if made_by is not None:
            client = stack.enter_context(_made(made_by, keywords(arguments)))
        elif scheduler is not None:
            client = stack.enter_context(_connected(scheduler, connect))
        elif workers is not None:
            client = stack.enter_context(_local(workers))
        elif threads is not None:
            client = stack.enter_context(_here(threads))
        else:
            yield None
            return
        if install:
            _install(client, install)
        yield client


def keywords(arguments: Sequence[str]) -> dict[str, object]:
    """The keyword arguments that ``key=value`` stand for.

    Raises:
        ClusterError: if one is not of this form.
    """
    found: dict[str, object] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key.isidentifier():
            msg = f"arguments of --cluster are key=value, such as cores=2 or queue=short, got {argument!r}"
            raise ClusterError(msg)
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


@contextlib.contextmanager
def _connected(scheduler: str, timeout: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=timeout)
    except (OSError, ValueError) as error:
        msg = f"no dask scheduler answers at {scheduler} ({error}): start one with `dask scheduler`, or use --workers N"
        raise ClusterError(msg) from error
    except TypeError as error:  # what dask raises where TLS is not configured
        msg = (
            f"{scheduler} asks for certificates: name them in dask's configuration, distributed.comm.tls.ca-file and "
            "distributed.comm.tls.client.cert and .key"
        )
        raise ClusterError(msg) from error
    with client:
        yield client


def _local(workers: int) -> contextlib.AbstractContextManager[Client]:
    """Workers as processes of their own."""
    return _started(n_workers=workers, env=ONE_THREAD, preload=[DEAF, CALM_COLLECTOR])


def _here(workers: int) -> contextlib.AbstractContextManager[Client]:
    """Workers as threads of this process: packages are imported, and kernels traced and loaded, once. Each may use all of the memory."""
    return _started(n_workers=workers, processes=False, memory_limit=1.0)


@contextlib.contextmanager
def _started(**how: PyTree) -> Iterator[Client]:
    """A local cluster, which the network does not see: without a protocol, dask lets workers in one process listen on all addresses."""
    protocol = "tls://" if dask.config.get("distributed.comm.require-encryption") else "tcp://"
    there: PyTree = {"protocol": protocol, "host": LOCALHOST, "dashboard_address": f"{LOCALHOST}:0"}
    with (
        dask.config.set(CALM),
        LocalCluster(threads_per_worker=1, silence_logs=logging.ERROR, **there, **how) as local,
        Client(local) as client,
    ):
        yield client


@contextlib.contextmanager
def _made(made_by: str, arguments: dict[str, object]) -> Iterator[Client]:
    call = _callable(made_by)
    try:
        made = call(**arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        msg = f"--cluster {made_by}: the call with ({given}) failed: {type(error).__name__}: {error}"
        raise ClusterError(msg) from error
    with contextlib.ExitStack() as stack:
        if isinstance(made, Client):
            if made.cluster is not None:
                stack.callback(_close, made.cluster)
            client = stack.enter_context(made)
        elif callable(getattr(made, "get_client", None)):  # as dask's own clusters have, and dask-gateway's
            stack.callback(_close, made)
            client = stack.enter_context(made.get_client())
        else:
            msg = f"--cluster {made_by} returns a dask cluster or a dask.distributed.Client, got {made!r}"
            raise ClusterError(msg)
        if client.asynchronous:
            msg = f"--cluster {made_by} is asynchronous: a run takes a synchronous cluster or client"
            raise ClusterError(msg)
        yield client


def _close(made: PyTree) -> None:
    """Close a cluster, which fails in dask-jobqueue where no job could be submitted, and is then no reason to lose results or the first error."""
    try:
        made.close()
    except (AssertionError, OSError, RuntimeError) as error:
        log.warning("the cluster was not closed: %s: %s", type(error).__name__, error)


def _callable(made_by: str) -> Callable[..., PyTree]:
    """What ``package.module:callable`` names; modules of the working directory are found as well."""
    module_name, colon, name = made_by.partition(":")
    if not (colon and module_name and name):
        msg = f"--cluster is package.module:callable, such as dask.distributed:LocalCluster, got {made_by!r}"
        raise ClusterError(msg)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        msg = f"--cluster {made_by}: {module_name} cannot be imported ({error}); install it, or run where its file is"
        raise ClusterError(msg) from error
    found = getattr(module, name, None)
    if not callable(found):
        what = "is not callable" if hasattr(module, name) else "is not there"
        msg = f"--cluster {made_by}: {name} {what} in {module_name} ({module.__file__})"
        raise ClusterError(msg)
    return found


def _install(client: Client, packages: Sequence[str]) -> None:
    try:
        client.register_plugin(PipInstall(packages=list(packages), pip_options=["--no-input"]))
        if client.nthreads():
            client.run(_nothing)  # workers that could not install have closed, or answer with the reason
    except Exception as error:
        msg = f"--install {' '.join(packages)}: pip failed on the cluster: {error}"
        raise ClusterError(msg) from error


def _nothing() -> None:
    """Shows that a worker answers."""


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of commands that compute: a cluster of the user's own."""
    made_by = click.option(
        "--cluster",
        "made_by",
        metavar="PACKAGE.MODULE:CALLABLE",
        help="Use the dask cluster, or client, that this returns, called with the KEY=VALUEs; closed at the end.",
    )
    install = click.option(
        "--install",
        multiple=True,
        metavar="PACKAGE",
        help="Let pip install this on the workers first; may be repeated.",
    )
    return made_by(install(command))


def check_cluster(
    workers: int | None,
    scheduler: str | None,
    made_by: str | None,
    arguments: Sequence[str],
    install: Sequence[str],
    *,
    alone: bool,
) -> None:
    """See that options of one cluster are given; ``alone``, of perhaps none."""
    if sum(map(bool, (workers, scheduler, made_by))) > 1:
        msg = "--workers starts a local cluster, --scheduler uses a running one and --cluster calls what makes one: give one of them"
        raise click.UsageError(msg)
    if arguments and not made_by:
        msg = (
            f"{' '.join(arguments)}: arguments of what makes a cluster; name it with --cluster PACKAGE.MODULE:CALLABLE"
        )
        raise click.UsageError(msg)
    if install and alone and not (workers or scheduler or made_by):
        msg = "--install is for the workers of a cluster: give --workers, --scheduler or --cluster as well"
        raise click.UsageError(msg)
