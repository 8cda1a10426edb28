"""Moments without a worker: nothing waits for ever once there are workers again, and the bits stay the same."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from distributed import Client, LocalCluster
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import errors
from diffea.distributed import distribute as distribute_nano

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=700)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def expected(fileset):
    with distribute(Search(), fileset) as templates:
        return templates.jacobian(PARAMS).flat


@pytest.fixture(autouse=True)
def one_core_a_worker(monkeypatch):
    monkeypatch.setenv("NPROC", "1")


class Slow(Search):
    """Says by a file that it is in a phase, and takes its time there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def linger(self, phase):
        if threading.current_thread() is not threading.main_thread() and (self.folder / f"slow-{phase}").exists():
            (self.folder / f"in-{phase}").touch()
            time.sleep(1.0)

    def columns(self, events):
        self.linger("read")
        return super().columns(events)

    def fill(self, params, columns):
        jax.debug.callback(functools.partial(self.linger, "step"))
        yield from super().fill(params, columns)


def kill_all(client):
    for process in client.run(os.getpid).values():
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_both_workers_killed_in_every_phase_and_started_again_by_their_nannies(fileset, expected, tmp_path) -> None:
    processor = Slow(tmp_path)

    def kill_when(phase):
        while not (tmp_path / f"in-{phase}").exists():
            time.sleep(0.02)
        (tmp_path / f"slow-{phase}").unlink()
        kill_all(killer)

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        Client(cluster, set_as_default=False) as killer,
    ):
        for phase in ("read", "step"):
            (tmp_path / f"slow-{phase}").touch()
        killing = threading.Thread(target=kill_when, args=["read"])
        killing.start()
        with distribute(processor, fileset, client=client) as templates:
            killing.join()
            killing = threading.Thread(target=kill_when, args=["step"])
            killing.start()
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
            killing.join()
            client.wait_for_workers(2)  # dask cannot restart one that is just being started
            client.restart()
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_all_workers_lost_for_good_and_others_started(fileset, expected, caplog, workers) -> None:
    """Between steps and in a step; without nannies, as where a batch system has taken the nodes."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, memory_limit="64 GB", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        distribute(Search(), fileset, client=client) as templates,
    ):
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
        for moment in ("between steps", "in a step"):
            first = set(client.nthreads())
            cluster.scale(0)
            while client.nthreads():
                time.sleep(0.05)
            starting = threading.Timer(0.0 if moment == "between steps" else 2.0, cluster.scale, [workers])
            starting.start()
            if moment == "between steps":
                client.wait_for_workers(workers)
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
            starting.join()
            assert not first & set(client.nthreads())
        assert f"the dask scheduler at {client.scheduler.address} has none; an adaptive cluster" in caplog.text
    assert caplog.text.count("waiting for workers") == 1


@pytest.mark.slow
def test_waiting_for_workers_ends_by_a_named_error_where_a_timeout_says_so(fileset) -> None:
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        with pytest.raises(errors.ClusterError, match=r"had no worker for 1 s, the timeout; an adaptive cluster"):
            distribute(Search(), fileset, client=client, timeout=1)
        cluster.scale(1)
        with distribute(Search(), fileset, client=client, timeout=1) as templates:
            templates.hard(PARAMS)
            cluster.scale(0)
            with pytest.raises(errors.ClusterError, match="had no worker for 1 s"):
                templates.hard(PARAMS)


def test_workers_whose_memory_is_full_are_named(fileset) -> None:
    """One that may hold less than this process does, which dask pauses."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, memory_limit="50 MB", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        while {worker["status"] for worker in client.scheduler_info()["workers"].values()} != {"paused"}:
            time.sleep(0.1)
        with pytest.raises(
            errors.ClusterError, match=r"timeout; the 1 that it has are paused by dask, since their memory"
        ):
            distribute(Search(), fileset, client=client, timeout=1)


@pytest.mark.parametrize("timeout", [0, -1, True, "1 s"])
def test_a_timeout_that_is_none_is_named(fileset, timeout) -> None:
    with pytest.raises(errors.OptionError, match="timeout is a number of seconds"):
        distribute(Search(), fileset, timeout=timeout)


def test_loss_is_that_of_one_process_after_a_worker_closed_itself(fileset, expected) -> None:
    """``Worker.close``, as a batch system's walltime does it, while the driver thinks; an other one is there at once."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
        distribute(Search(), fileset, client=client) as templates,
    ):
        cluster.scale(2)
        client.wait_for_workers(2)
        cluster.sync(cluster.workers[0].close)
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
