"""Steps past the scheduler: they are made, have the bits of all others, and whatever goes wrong with one, a graph puts right."""

from __future__ import annotations

import asyncio
import functools
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distributed import Client, LocalCluster, Security
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import errors
from diffea.distributed import direct, keeping, lanes
from diffea.distributed import distribute as distribute_nano
from diffea.distributed.direct import Direct
from diffea.events import batches

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=400)
ROWS = batches.ROWS


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(batches, "ROWS", 1)
    monkeypatch.setattr(keeping, "KEEP", 600.0)  # however slow the machine
    monkeypatch.setenv("NPROC", "1")


@pytest.fixture
def expected(fileset):
    with distribute(Search(), fileset) as templates:
        return templates.jacobian(PARAMS).flat


def loss(templates, params):
    return sum(jnp.sum(jnp.sqrt(50.0 + t.values)) for t in templates(params).values())


def transitions(client):
    """How much the scheduler has done so far, the end of earlier steps with it, which it forgets a little later."""
    before, now = -1, 0
    while before != now:
        time.sleep(0.1)
        before, now = now, client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)
    return now


def warm(templates):
    """The first step compiles, the second tells how long one takes, those after it may be direct."""
    for _ in range(3):
        templates.jacobian(PARAMS)


def everything(templates):
    return jax.value_and_grad(functools.partial(loss, templates))(PARAMS), templates.hard(PARAMS)


def test_they_go_past_the_scheduler_with_the_bits_of_one_process(fileset, client, monkeypatch) -> None:
    monkeypatch.setattr(batches, "ROWS", ROWS)  # shapes that other tests compile, too
    with distribute(Search(), fileset, gradient="vjp", chunksize=700) as templates:
        here = everything(templates)
    with distribute(Search(), fileset, client=client, gradient="vjp", chunksize=700) as templates:
        found = [everything(templates) for _ in range(2)]
        before = transitions(client)
        found += [everything(templates) for _ in range(2)]
        assert transitions(client) == before
    for there in found:
        jax.tree.map(np.testing.assert_array_equal, there, here)


def test_the_scheduler_hears_of_a_step_now_and_then(fileset, client, monkeypatch) -> None:
    with distribute(Search(), fileset, client=client) as templates:
        warm(templates)
        before = transitions(client)
        templates.jacobian(PARAMS)
        assert transitions(client) == before
        monkeypatch.setattr(templates._lane._direct, "_until", time.monotonic())  # it has not heard for long
        templates.jacobian(PARAMS)
        heard = transitions(client)
        assert heard > before
        templates.jacobian(PARAMS)
        assert transitions(client) == heard


def test_each_of_many_workers_asks_others(fileset, expected, monkeypatch) -> None:
    monkeypatch.setattr(lanes, "FAN_IN", 2)
    with (
        LocalCluster(
            n_workers=7, threads_per_worker=1, processes=False, memory_limit="64 GB", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        distribute(Search(), fileset, client=client) as templates,
    ):
        warm(templates)
        before = transitions(client)
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
        assert transitions(client) == before
        assert len({place for place, _ in templates._lane._bundles}) == 7


def test_bundles_that_dask_took_away_are_made_again(fileset, client, expected) -> None:
    def leave(dask_scheduler):
        for key, home in homes.items():
            dask_scheduler.request_remove_replicas(home, [key], stimulus_id="a test")

    with distribute(Search(), fileset, client=client) as templates:
        warm(templates)
        homes = {future.key: place for (place, _), future in templates._lane._bundles.items()}
        client.replicate(list(templates._lane._bundles.values()), n=2)
        client.run_on_scheduler(leave)
        end = time.monotonic() + 20
        while any(home in client.who_has()[key] for key, home in homes.items()):
            assert time.monotonic() < end
        before = transitions(client)
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
        assert transitions(client) > before


def test_errors_keep_their_names(fileset, client, expected) -> None:
    def switch(on):
        jax.config.update("jax_enable_x64", on)

    with distribute(Search(), fileset, client=client) as templates:
        warm(templates)
        client.run(switch, False)
        try:
            with pytest.raises(errors.WorkerMismatchError, match="32-bit mode"):
                templates.jacobian(PARAMS)
        finally:
            client.run(switch, True)
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)


@pytest.mark.parametrize("way", ["refused", "silent"])
def test_where_the_driver_cannot_connect_to_workers_steps_are_graphs(
    fileset, client, expected, monkeypatch, caplog, way
) -> None:
    """As behind the proxy of dask-gateway."""
    tried = []

    async def connect(address, timeout=None):
        if address == client.scheduler.address:
            return await usual(address, timeout)
        tried.append(address)
        if way == "silent":
            await asyncio.sleep(3600)
        msg = "no way"
        raise OSError(msg)

    usual = client.rpc.connect
    monkeypatch.setattr(client.rpc, "connect", connect)
    monkeypatch.setattr(direct, "REACH", 0.2)
    with distribute(Search(), fileset, client=client) as templates:
        warm(templates)
        for _ in range(3):
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
    assert sorted(tried) == sorted(client.nthreads())  # once each
    assert caplog.text.count("the driver cannot connect to the worker at") == 1


@pytest.mark.slow
def test_they_are_secured_as_the_cluster_is(fileset, expected) -> None:
    pytest.importorskip("cryptography", reason="dask makes temporary certificates with cryptography")
    security = Security.temporary()
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tls://",
            security=security,
            dashboard_address=None,
        ) as cluster,
        Client(cluster.scheduler_address, security=security) as client,
        distribute(Search(), fileset, client=client) as templates,
    ):
        assert all(place.startswith("tls://") for place in client.nthreads())
        warm(templates)
        before = transitions(client)
        np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
        assert transitions(client) == before


def test_after_a_failure_they_are_tried_again_later_each_time(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(direct, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(direct, "Asked", lambda *_: "asked")
    steps = Direct(None)
    ask = functools.partial(steps.ask, {}, 2.0, "jacobian", None, ())
    assert ask() is None
    steps.ended(direct=False)
    for pause in (1.0, 2.0, 4.0):
        assert ask() == "asked"
        steps.failed()
        now[0] += 0.9 * pause
        assert ask() is None
        now[0] += 0.2 * pause
    assert ask() == "asked"
    steps.ended(direct=True)
    steps.failed()
    now[0] += 1.1
    assert ask() == "asked"
    now[0] = 97.9  # a step of two seconds is over before the scheduler has to hear of one
    assert ask() == "asked"
    now[0] = 98.1
    assert ask() is None
