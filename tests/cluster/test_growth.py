"""Clusters that grow from nothing, and shrink: shards follow the workers, and the bits stay the same."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from pathlib import Path

import dask
import jax
import numpy as np
import pytest
from distributed import Client, LocalCluster, get_worker
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute as distribute_nano
from diffea.distributed import keeping, watch
from diffea.events import batches

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=400)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(batches, "ROWS", 1)
    monkeypatch.setenv("NPROC", "1")


@pytest.fixture
def expected(fileset):
    with distribute(Search(), fileset) as templates:
        return templates.jacobian(PARAMS).flat


class Slow(Search):
    """Takes its time to read, and says where."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def columns(self, events):
        if len(events) and threading.current_thread() is not threading.main_thread():
            time.sleep(0.3)
            (self.folder / get_worker().id.replace("/", "-")).touch()
        return super().columns(events)


def within(seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def tasks(client):
    """How many tasks of a step each worker has, and how many shards lie there."""
    found = {"bundle": Counter(), "read": Counter()}
    for key, holders in client.who_has().items():
        for what, count in found.items():
            if f"Search.{what}" in str(key):
                count.update(holders)
    return found["bundle"], found["read"]


def test_an_adaptive_cluster_grows_from_nothing_while_it_reads(fileset, expected, tmp_path) -> None:
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="50ms", target_duration="500ms", wait_count=1000)
        with distribute(Slow(tmp_path), fileset, client=client) as templates:
            assert len(list(tmp_path.iterdir())) == 2  # both have read
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
            assert len(client.nthreads()) == 2


@pytest.mark.slow
def test_shards_follow_the_workers_and_lie_even(fileset, expected, monkeypatch) -> None:
    monkeypatch.setattr(watch, "POLL", 0.05)
    with (
        dask.config.set({"distributed.scheduler.active-memory-manager.interval": "50ms"}),  # so that it interferes
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
        distribute(Search(), fileset, client=client) as templates,
    ):
        for size in (1, 2, 4, 2, 1, 3):
            cluster.scale(size)
            within(60, lambda size=size: len(client.nthreads()) == size)
            time.sleep(0.1)
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
            rows = Counter()
            for number, home in enumerate(templates._lane._holding.homes):
                rows[home] += templates._lane._holding.rows[number]
            assert rows.keys() == client.nthreads().keys()
            assert max(rows.values()) < 5100 / size + 400
            assert rows.total() == 5100

            def at_home():
                """Where they are computed; what was elsewhere is let go of, and what dask let go of first is fetched again, after a step."""
                np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
                return Counter(templates._lane._holding.homes) <= tasks(client)[1]

            within(20, at_home)
            assert templates._lane.remote == 2 * size  # a task a thread, however many shards


@pytest.mark.slow
def test_what_a_retired_worker_held_keeps_to_the_budget_of_the_one_left(fileset, expected) -> None:
    def held(dask_worker):
        from diffea.distributed import storage

        opened = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
        return storage._accounts[dask_worker.address].held, sum(dask_worker.local_directory in path for path in opened)

    with distribute(Search(), fileset) as templates:
        whole = templates.ledger.nbytes["memory"]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        distribute(Search(), fileset, client=client, memory=int(0.6 * whole)) as templates,
    ):
        assert templates.ledger.nbytes["memory"] == whole
        leaving, staying = client.nthreads()
        client.retire_workers([leaving])
        within(60, lambda: list(client.nthreads()) == [staying])
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
        in_memory, on_disk = client.run(held)[staying]
        assert 0.5 * whole < in_memory <= 0.6 * whole
        assert on_disk > 0


def test_two_drivers_share_a_cluster_that_grows(fileset, expected) -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as one,
        Client(cluster, set_as_default=False) as other,
        distribute(Search(), fileset, client=one) as ours,
        distribute(Search(), fileset, client=other) as theirs,
    ):
        cluster.scale(2)
        one.wait_for_workers(2)
        found = []
        step = threading.Thread(target=lambda: found.append(theirs.jacobian(PARAMS).flat))
        step.start()
        np.testing.assert_array_equal(ours.jacobian(PARAMS).flat, expected)
        step.join()
        np.testing.assert_array_equal(found[0], expected)
        assert jax.tree.all(jax.tree.map(np.isfinite, found[0]).all())


def test_an_adaptive_cluster_keeps_its_workers_between_steps_but_not_for_ever(fileset, expected, monkeypatch) -> None:
    monkeypatch.setattr(keeping, "KEEP", 600.0)  # however slow the machine
    with (
        LocalCluster(
            n_workers=3, threads_per_worker=1, processes=False, memory_limit="64 GB", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        distribute(Search(), fileset, client=client) as templates,
    ):
        cluster.adapt(minimum=0, maximum=3, interval="20ms", wait_count=2)
        for _ in range(4):
            time.sleep(0.5)  # the driver thinks
            assert len(client.nthreads()) == 3
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
        cluster.adapt(minimum=0, maximum=2, interval="20ms", wait_count=2)  # whoever says so has its way
        within(60, lambda: len(client.nthreads()) == 2)
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
        monkeypatch.setattr(keeping, "KEEP", 0.1)
        within(60, lambda: len(client.nthreads()) == 1)
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)


def test_bundles_that_dask_moved_are_made_again(client, fileset, expected):
    with distribute(Search(), fileset, client=client) as templates:
        assert np.array_equal(templates.jacobian(PARAMS).flat, expected)
        bundles = {key: set(holders) for key, holders in client.who_has().items() if "Search.bundle" in str(key)}
        client.replicate(list(templates._lane._bundles.values()), n=2)
        within(20, lambda: all(len(client.who_has()[key]) == 2 for key in bundles))
        homes = {key: holder for key, (holder,) in bundles.items()}

        def leave(dask_scheduler):
            for key, home in homes.items():
                dask_scheduler.request_remove_replicas(home, [key], stimulus_id="a test")

        client.run_on_scheduler(leave)
        within(20, lambda: all(home not in client.who_has()[key] for key, home in homes.items()))
        assert np.array_equal(templates.jacobian(PARAMS).flat, expected)
