"""A dask cluster of two worker processes of one thread each."""

from __future__ import annotations

import dask
import pytest
from distributed import Client, LocalCluster, SpecCluster


@pytest.fixture(scope="session", autouse=True)
def patient_nannies():
    """A lost worker's name may come back at any time.

    By default dask closes, 15 s after a worker was lost, whatever bears its name, if that happens to be down, or to start, just then.
    """
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}):
        yield


@pytest.fixture(scope="session", autouse=True)
def lost_workers_are_counted_out_once():
    """A loaded machine sometimes tells a cluster in process twice that a worker left, and its closing ends in dask's KeyError (seen once in CI)."""
    told = SpecCluster._update_worker_status

    def known(cluster, op, msg):
        if op != "remove" or msg in cluster.scheduler_info["workers"]:
            told(cluster, op, msg)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpecCluster, "_update_worker_status", known)
        yield


@pytest.fixture(scope="module")
def cluster():
    """Workers of a module's own, since they are killed or stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", "1")
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            yield cluster


@pytest.fixture(scope="session")
def client():
    """XLA takes every core it sees unless told otherwise, so each worker is told its share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", "1")
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client
