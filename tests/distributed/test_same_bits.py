"""Properties of a pass: the same bits on any number of workers, in any order, with any padding; other chunks within a bound."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute as distribute_nano
from diffea.distributed.reduction import merge
from diffea.distributed.shards import Source, load
from diffea.distributed.steps import step
from diffea.events.batches import Batch
from diffea.events.blocks import Blocks
from diffea.events.plan import plan
from diffea.parameters import as_arrays
from diffea.portable import Portable
from diffea.program import Program
from diffea.runtime import versions

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema)
EPSILON = np.finfo(float).eps


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def shards(fileset):
    """A shard for each of nine batches, so that any division among workers can be made of them."""
    chunks, _ = plan(fileset, 700, map)
    batches = [Batch(index, (chunk,)) for index, chunk in enumerate(chunks)]
    source = Source(Program(Search()), Portable(QuietSchema), None, 1024, len(batches), False, None, versions())
    return [load(source, [batch]) for batch in batches]


@pytest.fixture(scope="module")
def whole(fileset):
    with distribute(Search(), fileset) as templates:
        layout = templates.layout(as_arrays(PARAMS))
        return Portable(layout), templates(PARAMS)


def sums(shards, layout):
    point = jax.tree.map(lambda leaf: np.asarray(leaf)[None], (as_arrays(PARAMS), 1.0, np.array([0, 1, 0])))
    return [step(shard, "jacobian", layout, *point) for shard in shards]


def same_bits(a, b):
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_any_division_among_workers_and_any_order_of_arrival(shards, whole, data) -> None:
    found = sums(shards, whole[0])
    expected = merge(found)
    workers = data.draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found)))
    arrived = data.draw(st.permutations(range(len(found))))
    parts = [merge(found[index] for index in arrived if workers[index] == worker) for worker in set(workers)]
    total = merge(data.draw(st.permutations(parts)))
    assert total.events == expected.events == 5100
    assert same_bits(total.total, expected.total)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_what_pads_the_last_block_changes_no_bit(shards, whole, seed) -> None:
    """Rows beyond the events weigh nothing, whatever they hold."""
    rng = np.random.default_rng(seed)
    held = shards[0].held[0]
    (structure,), (events,) = held.structures, held.blocks
    rows = int(events.rows)

    def other_padding(leaf):
        flat = np.asarray(leaf).reshape(-1, *leaf.shape[2:]).copy()
        assert len(flat) > rows
        flat[rows:] = rng.uniform(-100, 100, flat[rows:].shape).astype(flat.dtype)
        return jnp.asarray(flat.reshape(leaf.shape))

    program = shards[0].source.program
    padded = Blocks(jax.tree.map(other_padding, events.arrays), events.rows)
    found, expected = (
        program.run("jacobian", structure, "signal", whole[0].value, as_arrays(PARAMS), blocks, 1.0)
        for blocks in (padded, events)
    )
    assert same_bits(found, expected)


@given(st.integers(100, 6000))
@settings(deadline=None, max_examples=6)
def test_any_chunk_size_is_within_the_rounding_of_a_sum(fileset, whole, chunksize) -> None:
    """Weights are ±1: a sum of n of them in another order differs by at most n ε Σ|w|; a tree of blocks does far better."""
    events = 5100
    with distribute(Search(), fileset, chunksize=chunksize) as templates:
        for key, template in templates(PARAMS).items():
            difference = np.abs(template.flow_values - whole[1][key].flow_values)
            assert difference.max() <= 8 * EPSILON * events


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_one_two_and_four_workers(fileset, workers) -> None:
    def gradient(templates):
        return jax.grad(lambda params: sum(jnp.sum(t.values**2) for t in templates(params).values()))(PARAMS)

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, memory_limit="64 GB", dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
        distribute(Search(), fileset, chunksize=700, client=client, gradient="vjp") as remote,
        distribute(Search(), fileset, chunksize=700, gradient="vjp") as local,
    ):
        assert remote.workers == workers
        assert same_bits(gradient(remote), gradient(local))
