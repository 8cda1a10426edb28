"""A dask cluster of two worker processes of one thread each."""

from __future__ import annotations

import os

import pytest
from distributed import Client, LocalCluster


@pytest.fixture(scope="session")
def client():
    """XLA takes every core it sees unless told otherwise, so each worker is told its share."""
    before = os.environ.get("NPROC")
    os.environ["NPROC"] = "1"
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        if before is None:
            del os.environ["NPROC"]
        yield client
