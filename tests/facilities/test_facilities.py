"""Slurm, dask-gateway and TLS, by `--cluster`, from no worker on: the bits of one process, whoever dies meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from distributed import LocalCluster
from distributed.security import Security
from tests.samples import QuietSchema, Search

from diffea.cli.clusters import cluster
from diffea.distributed import distribute
from diffea.errors import ClusterError

ON_SLURM = """
import sys
from dask_jobqueue import SLURMCluster

def adaptive(maximum, **options):
    cluster = SLURMCluster(cores=1, memory="3 GB", scheduler_options={"host": "127.0.0.1"}, python=sys.executable, **options)
    cluster.adapt(minimum=0, maximum=maximum, interval="500 ms")
    return cluster
"""
ON_GATEWAY = """
from dask_gateway import Gateway

def adaptive(address, maximum):
    cluster = Gateway(address, auth="basic").new_cluster(shutdown_on_close=True)
    cluster.adapt(minimum=0, maximum=maximum)
    return cluster
"""


@pytest.fixture
def on_slurm(slurm, site, monkeypatch):
    """Where commands of Slurm find it, and jobs one thread of XLA."""
    for name, value in {**slurm, "NPROC": "1"}.items():
        monkeypatch.setenv(name, value)
    site.write_text(ON_SLURM)


def test_slurm_from_no_worker_on_with_a_job_cancelled_between_steps(on_slurm, bits, expected) -> None:
    with cluster(None, None, "mysite:adaptive", ["maximum=2", "queue=short"]) as client:
        np.testing.assert_array_equal(bits(client), expected)
        jobs = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, check=True, text=True).stdout.split()
        assert jobs
        subprocess.run(["scancel", "--signal=KILL", jobs[0]], check=True)
        np.testing.assert_array_equal(bits(client), expected)


def test_slurm_without_a_file_of_ones_own(on_slurm, bits, expected) -> None:
    options = [
        "queue=short",
        "cores=1",
        "memory=3GB",
        "n_workers=2",
        "scheduler_options={'host': '127.0.0.1'}",
        f"python={sys.executable}",
    ]
    with cluster(None, None, "dask_jobqueue:SLURMCluster", options) as client:
        np.testing.assert_array_equal(bits(client), expected)


def test_a_queue_that_there_is_not_ends_at_the_time_out(on_slurm, fileset, caplog) -> None:
    site = ["maximum=2", "queue=nowhere"]
    with cluster(None, None, "mysite:adaptive", site) as client, pytest.raises(ClusterError, match="worker"):
        distribute(Search(), fileset, client=client, schemaclass=QuietSchema, timeout=15)
    assert "invalid partition specified: nowhere" in caplog.text  # which dask-jobqueue logs


def test_a_gateway_from_no_worker_on(gateway, site, bits, expected) -> None:
    site.write_text(ON_GATEWAY)
    with cluster(None, None, "mysite:adaptive", [f"address={gateway}", "maximum=2"]) as client:
        np.testing.assert_array_equal(bits(client), expected)
        assert client.scheduler.address.startswith("gateway://")


def test_a_gateway_that_is_not_there_is_named(site) -> None:
    site.write_text(ON_GATEWAY)
    options = ["address='http://127.0.0.1:9'", "maximum=2"]
    pytest.importorskip("dask_gateway", reason="dask-gateway is not installed")
    with (
        pytest.raises(ClusterError, match=r"mysite:adaptive: the call with .* failed"),
        cluster(None, None, "mysite:adaptive", options),
    ):
        pass


def test_tls_from_no_worker_on(bits, expected, monkeypatch) -> None:
    monkeypatch.setenv("NPROC", "1")
    with LocalCluster(
        n_workers=0, threads_per_worker=1, security=Security.temporary(), protocol="tls://", dashboard_address=None
    ) as secured:
        secured.adapt(minimum=0, maximum=2, interval="500 ms")
        with secured.get_client() as client:
            assert client.scheduler.address.startswith("tls://")
            np.testing.assert_array_equal(bits(client), expected)
            assert all(address.startswith("tls://") for address in client.nthreads())
        with (
            pytest.raises(ClusterError, match=r"tls://.* asks for certificates"),
            cluster(None, secured.scheduler_address),
        ):
            pass


def test_nothing_of_the_machine_is_kept(on_slurm) -> None:
    left = subprocess.run(["squeue", "-h"], capture_output=True, check=True, env=os.environ).stdout
    assert not left
