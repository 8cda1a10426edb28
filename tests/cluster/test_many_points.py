"""Many parameter points on a cluster: one step, and the bits of one process."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest
from distributed import Client, LocalCluster
from tests.samples import QuietSchema, Search, write_fileset

from diffea import distribute

POINTS = {"mt": jnp.linspace(20.0, 60.0, 5), "jet_pt": jnp.linspace(40.0, 25.0, 5), "shift": jnp.linspace(-1.0, 1.0, 5)}


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


def loss(templates, params):
    return sum(jnp.sum(jnp.sqrt(50.0 + t.values)) for t in templates(params).values())


def everything(templates):
    """Soft, hard and gradients of all points, and in how many passes."""
    found = [
        jax.vmap(templates)(POINTS),
        jax.vmap(templates.hard)(POINTS),
        jax.jit(jax.vmap(jax.value_and_grad(functools.partial(loss, templates))))(POINTS),
    ]
    return jax.tree.leaves(found), templates.passes


def test_one_and_two_workers_have_the_bits_of_one_process(fileset, client):
    distributed = functools.partial(distribute, Search(), fileset, schemaclass=QuietSchema, chunksize=700)
    with distributed() as local, distributed(client=client) as remote:
        (here, passes), (there, remotely) = everything(local), everything(remote)
        assert remote.chunks == local.chunks
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as single,
        distributed(client=single) as alone,
    ):
        once, of_one = everything(alone)
    assert passes == remotely == of_one == 3
    for a, b, c in zip(here, there, once, strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()
