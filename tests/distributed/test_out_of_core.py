"""Columns beyond the memory budget lie on disk, or are read again at every step: the same bits, and nothing left behind."""

from __future__ import annotations

import functools
import gc
import os
import pickle
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distributed import Client, LocalCluster
from tests.samples import PARAMS, QuietSchema, Search, write, write_fileset

from diffea import errors
from diffea.distributed import distribute as distribute_nano
from diffea.distributed import storage
from diffea.events.blocks import Blocks

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=700)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(storage, "_accounts", {})  # what other tests hold is none of ours
    return tmp_path


def numbers(templates):
    def loss(params):
        return sum(jnp.sum(jnp.sqrt(50.0 + t.values) + 1e-3 * t.variances) for t in templates(params).values())

    value, gradient = jax.value_and_grad(loss)(PARAMS)
    hard = templates.hard(PARAMS)
    return np.array([value, *jax.tree.leaves(gradient), *hard.values_flat, *hard.variances_flat])


@pytest.fixture(scope="module")
def in_memory(fileset):
    with distribute(Search(), fileset) as templates:
        assert templates.ledger.nbytes["disk"] == templates.ledger.nbytes["files"] == 0
        return templates.ledger.nbytes["memory"], numbers(templates)


def full(folder):
    return SimpleNamespace(total=100, free=1)


@pytest.mark.parametrize("place", ["disk", "files"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_same_bits_wherever_columns_lie(fileset, in_memory, scratch, monkeypatch, place, share) -> None:
    nbytes, expected = in_memory
    if place == "files":
        monkeypatch.setattr(shutil, "disk_usage", full)
    with distribute(Search(), fileset, memory=int(share * nbytes)) as templates:
        held = templates.ledger.nbytes
        assert sum(held.values()) == nbytes
        assert held["memory"] <= share * nbytes
        assert (held["memory"] > 0) == (share > 0)
        assert held[place] == nbytes - held["memory"]
        np.testing.assert_array_equal(numbers(templates), expected)
    assert not list(scratch.iterdir())


def test_a_disk_that_fills_up_while_writing_is_not_used(fileset, in_memory, scratch, monkeypatch) -> None:
    def no_room(self, arrays):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(storage.Scratch, "append", no_room)
    with distribute(Search(), fileset, memory=0) as templates:
        assert templates.ledger.nbytes["files"] == in_memory[0]


def test_what_was_held_is_given_back(fileset, scratch) -> None:
    account, _, _ = storage._worker()
    gc.collect()
    before, mapped = account.held, open_files(scratch)
    with distribute(Search(), fileset) as templates:
        assert account.held == before + templates.ledger.nbytes["memory"]
    with distribute(Search(), fileset, memory=0) as templates:
        templates.hard(PARAMS)
        assert open_files(scratch) > mapped
    del templates
    gc.collect()
    assert account.held == before
    assert open_files(scratch) == mapped


def open_files(folder):
    """Files of a folder that this process has open, those without a name included."""
    return sum(str(folder) in target(link) for link in list(Path("/proc/self/fd").iterdir()))


def target(link):
    """What a descriptor is open for; nothing if another thread has closed it in the meantime."""
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def test_workers_keep_theirs_in_their_own_folder(fileset, in_memory, tmp_path) -> None:
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=":0",
            local_directory=str(tmp_path),
        ) as cluster,
        Client(cluster) as client,
    ):
        with distribute(Search(), fileset, client=client) as templates:
            assert templates.ledger.nbytes["memory"] == in_memory[0]
        with distribute(Search(), fileset, client=client, memory=0) as templates:
            assert templates.ledger.nbytes["disk"] == in_memory[0]
            assert open_files(tmp_path) > 0
            np.testing.assert_array_equal(numbers(templates), in_memory[1])


def nothing():
    """Stands for what reads a batch again."""


def test_a_batch_that_moves_to_another_worker_arrives_whole_in_its_account(scratch, monkeypatch) -> None:
    blocks = Blocks({"a": jnp.arange(6.0).reshape(2, 3), "b": np.array([[True], [False]])}, np.asarray(5))
    nbytes = storage.nbytes_of((blocks,))
    for budget, place in ((3 * nbytes, "memory"), (nbytes - 1, "disk")):
        sent = storage.Keeper(budget).keep((blocks,), nothing)
        arrived = pickle.loads(pickle.dumps(sent))
        assert sent.place == arrived.place == place
        (found,) = arrived.blocks
        np.testing.assert_array_equal(found.arrays["a"], blocks.arrays["a"])
        np.testing.assert_array_equal(found.arrays["b"], blocks.arrays["b"])
        assert int(found.rows) == 5
        assert storage._worker()[0].held == (2 * nbytes if place == "memory" else 0)
        message = pickle.dumps(sent)
        del sent, arrived, found
    monkeypatch.setattr(shutil, "disk_usage", full)
    assert pickle.loads(message).place == "files"


def test_what_a_worker_needs_itself_is_no_room_for_columns(scratch, monkeypatch) -> None:
    own = storage._worker()[0].own
    assert own > 100e6  # JAX and coffea
    monkeypatch.setattr(storage, "MEMORY_LIMIT", own + 1000)
    blocks = (Blocks({"a": np.zeros((1, 10))}, np.asarray(10)),)
    held = [storage.Keeper(None).keep(blocks, nothing) for _ in range(10)]
    assert [store.place for store in held] == ["memory"] * 5 + ["disk"] * 5


def test_a_file_that_changed_between_two_readings_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", full)
    path = tmp_path / "some.root"
    write(path, 300, 0)
    with distribute(Cut(), {"some": {"files": {str(path): "Events"}}}, memory=0) as templates:
        write(path, 300, 1)
        with pytest.raises(errors.FilesetError, match=r"some.root: expected the UUID .* it is another file by now"):
            templates.hard(PARAMS)


class Cut(Search):
    def columns(self, events):
        return super().columns(events[events.MET.pt > 30])


@pytest.mark.parametrize("memory", ["much", -1, None])
def test_a_budget_that_is_none_is_named(fileset, memory) -> None:
    with pytest.raises(errors.BudgetError, match="memory is a number of bytes"):
        distribute(Search(), fileset, memory=memory)
