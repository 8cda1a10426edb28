"""Whatever makes a cluster: ``--cluster package.module:callable``, what pip puts there first, and what is said meanwhile."""

from __future__ import annotations

import logging
import os
import sys

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster
from rich.console import Console
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

import diffea.cli
from diffea import distribute, errors
from diffea.cli.clusters import cluster, keywords
from diffea.cli.progress import progress

MODULE = """
from dask.distributed import Client, LocalCluster
made = []

def local(n_workers, threads=1, name="x"):
    made.append(LocalCluster(n_workers=n_workers, threads_per_worker=threads, processes=False, memory_limit="64 GB", dashboard_address=None, name=name))
    return made[-1]

def client(**arguments):
    return Client(local(**arguments))

def number():
    return 3

constant = 1
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module of the working directory."""
    (tmp_path / "facility.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("facility", None)


@pytest.mark.parametrize("name", ["local", "client"])
def test_what_a_callable_returns_is_used_and_closed(name) -> None:
    with cluster(None, None, f"facility:{name}", ["n_workers=2", "threads=3", "name=short queue"]) as client:
        (made,) = sys.modules["facility"].made
        assert sorted(client.nthreads().values()) == [3, 3]
        assert made.name == "short queue"
    assert made.status.name == "closed"
    assert client.status == "closed"


def test_workers_of_this_process_are_not_seen_from_other_machines() -> None:
    before = _listening()
    with cluster(None, None, threads=2) as client:
        assert set(client.run(os.getpid).values()) == {os.getpid()}
        assert sorted(client.nthreads().values()) == [1, 1]
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        assert {address for address, _ in _listening() - before} == {"127.0.0.1"}
    with cluster(1, None, threads=2) as client:
        assert os.getpid() not in client.run(os.getpid).values()


def _listening() -> set[tuple[str, int]]:
    return {(*found.laddr,) for found in psutil.Process().net_connections() if found.status == psutil.CONN_LISTEN}


def test_a_cluster_that_does_not_close_costs_neither_result_nor_error(monkeypatch, caplog) -> None:
    close = LocalCluster.close

    def fails(self):
        assert self.status is None, "Status.created"  # as dask says where no job could be submitted

    def use():
        with cluster(None, None, "facility:local", ["n_workers=1"]):
            monkeypatch.setattr(LocalCluster, "close", fails)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    monkeypatch.undo()
    close(sys.modules["facility"].made[0])
    assert "the cluster was not closed: AssertionError: Status.created" in caplog.text


@pytest.mark.parametrize(
    ("made_by", "arguments", "message"),
    [
        ("facility", [], r"package\.module:callable"),
        ("no_such_facility:local", [], r"no_such_facility cannot be imported \(No module named 'no_such_facility'\)"),
        ("facility:slurm", [], r"slurm is not there in facility \(.*facility\.py\)"),
        ("facility:constant", [], r"constant is not callable in facility"),
        ("facility:number", [], r"facility:number returns a dask cluster or a dask\.distributed\.Client, got 3"),
        ("facility:local", ["cores=2"], r"facility:local: the call with \(cores=2\) failed: TypeError: .*'cores'"),
        ("facility:local", ["2"], r"arguments of --cluster are key=value, .* got '2'"),
    ],
)
def test_what_makes_no_cluster_is_named(made_by, arguments, message) -> None:
    with pytest.raises(errors.ClusterError, match=message), cluster(None, None, made_by, arguments):
        pass


def test_arguments_are_literals_or_text() -> None:
    assert keywords(["cores=2", "memory=4 GB", "extra=['--lifetime', '1h']", "walltime=01:00:00", "empty="]) == {
        "cores": 2,
        "memory": "4 GB",
        "extra": ["--lifetime", "1h"],
        "walltime": "01:00:00",
        "empty": "",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cluster", "facility:local", "--workers", "2"], "give one of them"),
        (["n_workers=2"], "name it with --cluster"),
        (["--install", "lhapdf"], "--install is for the workers of a cluster"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message) -> None:
    result = CliRunner().invoke(diffea.cli.main, ["run", "nothing", *options])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


ANALYSIS = """
from diffea import Analysis, DifferentiableProcessor, Variant

variant = Variant(processor=DifferentiableProcessor(), spec={}, params={}, objective=sum)
analysis = Analysis(name="small", title="Small", fileset=lambda data: {}, variants={"": variant})
"""


def test_the_command_line_uses_it_and_closes_it_whatever_happens(tmp_path) -> None:
    (tmp_path / "small.py").write_text(ANALYSIS)
    command = ["run", "small.py", "--data", str(tmp_path), "--cluster", "facility:local", "n_workers=1", "threads=2"]
    result = CliRunner().invoke(diffea.cli.main, command)
    assert result.exit_code == 1
    assert "dashboard: " in result.output
    assert isinstance(result.exception, SystemExit)  # of an error that is named
    (made,) = sys.modules["facility"].made
    assert made.status.name == "closed"


@pytest.mark.slow
def test_what_pip_cannot_install_is_named() -> None:
    arguments = ["n_workers=1"]
    with (
        pytest.raises(errors.ClusterError, match=r"--install \./no-such-folder/such\.whl: pip failed on the cluster"),
        cluster(None, None, "facility:local", arguments, ["./no-such-folder/such.whl"]),
    ):
        pass


@pytest.mark.parametrize("where", ["cluster", "process"])
def test_reading_and_compiling_are_told_in_the_log(tmp_path, capsys, where) -> None:
    fileset = write_fileset(tmp_path)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as local,
        Client(local) as client,
        progress(Console(stderr=True, width=300), "search"),
        distribute(
            Search(), fileset, client=client if where == "cluster" else None, schemaclass=QuietSchema
        ) as templates,
    ):
        assert np.isfinite(templates.jacobian(PARAMS).flat).all()
    told = capsys.readouterr().err
    assert "search: read 3 files, 3 chunks, 5,100 entries in " in told
    assert "held: 5,100 selected events" in told
    assert "search: compiling histograms with soft cuts and their derivatives, where the cache does not have it" in told
    assert logging.getLogger("diffea.distributed").level == logging.NOTSET
