"""Mini-batches on a cluster: the bits of one process, however many workers, and no step of another length."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import optax
from distributed import Client, LocalCluster
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import Composite, distribute, optimise


def objective(found):
    return jnp.sum(jnp.sqrt(50.0 + found["few", "bkg"].values)) - jnp.sum(
        jnp.sqrt(50.0 + found["few", "signal"].values)
    )


def everything(templates):
    part = templates.batch(1, of=3)
    trained = optimise(Composite(templates, objective), PARAMS, optimizer=optax.adam(0.5), steps=4, batches=3)
    gradient = jax.grad(lambda p: objective(part(p)))(PARAMS)
    return jax.tree.leaves((part(PARAMS), part.hard(PARAMS), gradient, trained.params))


def test_one_and_two_workers_have_the_bits_of_one_process(tmp_path, client):
    distributed = functools.partial(
        distribute, Search(), write_fileset(tmp_path), schemaclass=QuietSchema, chunksize=700
    )
    with distributed() as local, distributed(client=client) as remote:
        here, there = everything(local), everything(remote)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as single,
        distributed(client=single) as alone,
    ):
        once = everything(alone)
    for a, b, c in zip(here, there, once, strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()
