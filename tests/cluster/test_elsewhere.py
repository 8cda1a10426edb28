"""Clusters unlike a fixed local one: secured by TLS as on coffea-casa, and growing and shrinking while they work."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time

import dask
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from distributed import Client, LocalCluster, Security
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import cli, errors
from diffea.distributed import distribute as distribute_nano
from diffea.optimise import optimise

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=700)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def one_core_a_worker(monkeypatch):
    monkeypatch.setenv("NPROC", "1")


def loss(templates, params):
    return sum(jnp.sum(jnp.sqrt(50.0 + t.values)) for t in templates(params).values())


@pytest.mark.slow
def test_a_secured_cluster_by_its_address(fileset) -> None:
    """By ``Security`` in a notebook, and on the command line by dask's own configuration, as coffea-casa gives it."""
    pytest.importorskip("cryptography", reason="dask makes temporary certificates with cryptography")
    security = Security.temporary()
    configured = {
        "distributed.comm.tls.ca-file": security.tls_ca_file,
        "distributed.comm.tls.client.cert": security.tls_client_cert,
        "distributed.comm.tls.client.key": security.tls_client_key,
    }
    found = []
    with LocalCluster(
        n_workers=2, threads_per_worker=1, protocol="tls://", security=security, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        with pytest.raises(errors.ClusterError, match=r"distributed\.comm\.tls"), cli.cluster(None, address):
            pass
        with Client(address, security=security) as client, distribute(Search(), fileset, client=client) as templates:
            found.append(jax.value_and_grad(functools.partial(loss, templates))(PARAMS))
        with (
            dask.config.set(configured),
            cli.cluster(None, address) as client,
            distribute(Search(), fileset, client=client, gradient="vjp") as templates,
        ):
            found.append(jax.value_and_grad(functools.partial(loss, templates))(PARAMS))
    for gradient, got in zip(("jacobian", "vjp"), found, strict=True):
        with distribute(Search(), fileset, gradient=gradient) as templates:
            expected = jax.value_and_grad(functools.partial(loss, templates))(PARAMS)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_an_adaptive_cluster_that_grows_and_shrinks_through_an_optimisation(fileset) -> None:
    run = functools.partial(optimise, params=PARAMS, optimizer=optax.adam(0.02), steps=15)
    with distribute(Search(), fileset) as templates:
        expected = run(functools.partial(loss, templates))
    sizes = {3: 3, 6: 1, 9: 3, 12: 2}
    seen = []
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):

        def resize(step):
            if number := sizes.get(step.step):
                cluster.adapt(minimum=number, maximum=number, interval="100ms", wait_count=1)
                end = time.monotonic() + 120
                while len(client.nthreads()) != number:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            seen.append(frozenset(client.nthreads()))

        with distribute(Search(), fileset, client=client) as templates:
            got = run(functools.partial(loss, templates), progress=resize)
    assert [len(workers) for workers in seen] == [2, 2, 3, 3, 3, 1, 1, 1, 3, 3, 3, 2, 2, 2, 2]
    assert not seen[0] <= seen[8]  # some of the first workers, with their shards, went away
    for name in PARAMS:
        np.testing.assert_array_equal(got.params[name], expected.params[name])


def test_a_local_cluster_of_the_command_line_never_gives_a_lost_worker_up() -> None:
    def process(client):
        try:
            return set(client.run(os.getpid).values())
        except OSError:  # it is being lost
            return set()

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}), cli.cluster(1, None) as client:
        first = process(client)
        os.kill(*first, signal.SIGKILL)
        end = time.monotonic() + 60
        while process(client) in (first, set()):
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_cluster_without_workers_says_that_it_waits(fileset, caplog) -> None:
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        starting = threading.Timer(1.0, cluster.scale, [1])
        starting.start()
        with distribute(Search(), fileset, client=client) as templates:
            assert sum(templates.events.values()) == 5100
        starting.join()
        assert f"waiting for workers: the dask scheduler at {client.scheduler.address}" in caplog.text
