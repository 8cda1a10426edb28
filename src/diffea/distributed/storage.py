"""Storage: where the columns of a batch lie: in memory, on the worker's disk, or only in the files they came from.

A memory budget decides, batch by batch while they are read. The sums of a step are the same to the last bit either way.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol, TypeAlias

import jax
import numpy as np
import psutil
from dask.utils import parse_bytes
from distributed import Client, Status, Worker, get_worker
from distributed.system import MEMORY_LIMIT

from diffea.errors import BudgetError
from diffea.events.blocks import Blocks
from diffea.runtime import accelerator, on_accelerator
from diffea.types import AnyArray

Arrival: TypeAlias = "Callable[[Columns], Store]"
Place = Literal["memory", "disk", "files"]
Columns = tuple[Blocks, ...]  # of a batch, by piece
AUTO = 0.5  # of the memory limit beyond what the worker needs itself: the rest is for reading, computing and dask's own margins
SPARE_DISK = 0.05
ALIGNMENT = 64  # XLA computes on aligned arrays where they lie, and copies others


class Store(Protocol):
    """A batch, wherever it lies.

    Attributes:
        place: where.
        nbytes: of columns.
    """

    place: Place
    nbytes: int

    @property
    def blocks(self) -> Columns:
        """The columns, to be let go after use."""


def budget_of(memory: int | str) -> int | None:
    """A memory budget in bytes; None if the worker is to choose.

    Args:
        memory: bytes, a text such as ``"4 GB"``, or ``"auto"``.

    Raises:
        BudgetError: if it is none of these.
    """
    if memory == "auto":
        return None
    try:
        budget = parse_bytes(memory)
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        msg = f"memory is a number of bytes a worker may hold, a text such as '4 GB', or 'auto', got {memory!r}"
        raise BudgetError(msg) from error
    if budget < 0:
        msg = f"memory is a number of bytes, 0 or more, got {memory!r}"
        raise BudgetError(msg)
    return int(budget)


class Keeper:
    """Finds a place for the batches of one shard, as they are read.

    Args:
        budget: bytes that all shards of this worker may hold in memory; None for half of what its memory limit leaves.
        arriving: whether the batches come from another worker.
    """

    def __init__(self, budget: int | None, *, arriving: bool = False) -> None:
        self._given = budget
        self._account, limit, self._folder = _worker(arriving=arriving)
        self._budget = self._account.budget(limit) if budget is None else budget
        self._scratch: Scratch | None = None

    def keep(self, blocks: Columns, again: Callable[[], Columns]) -> Store:
        """Hold a batch in memory if the budget allows, on disk if that has room, and otherwise not at all.

        Args:
            blocks: the batch.
            again: reads it again.
        """
        nbytes = nbytes_of(blocks)
        if self._account.reserve(nbytes, self._budget):
            return InMemory(on_accelerator(blocks), self._account, self._arrival(again))
        disk = shutil.disk_usage(self._folder)
        if disk.free - nbytes > SPARE_DISK * disk.total:
            self._scratch = self._scratch or Scratch(self._folder)
            try:
                return OnDisk(blocks, self._scratch, self._arrival(again))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
        return InFiles(nbytes, again)

    def _arrival(self, again: Callable[[], Columns]) -> Arrival:
        return partial(_arrived, self._given, again)


class InMemory:
    """A batch in memory; its bytes are given back to the worker's account when it is let go."""

    place: Place = "memory"

    def __init__(self, blocks: Columns, account: Account, arrival: Arrival) -> None:
        self.blocks = blocks
        self._arrival = arrival
        self.nbytes = nbytes_of(blocks)
        weakref.finalize(self, account.release, self.nbytes)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._arrival, (self.blocks,)


class OnDisk:
    """A batch on local disk, mapped into memory while a step uses it."""

    place: Place = "disk"

    def __init__(self, blocks: Columns, scratch: Scratch, arrival: Arrival) -> None:
        leaves, self._tree = jax.tree.flatten(blocks)
        self._arrival = arrival
        self._scratch = scratch
        self._shapes = [(leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves]
        self.nbytes = nbytes_of(blocks)
        self._start, self._length = scratch.append(leaves)

    @property
    def blocks(self) -> Columns:
        mapped = self._scratch.map(self._start, self._length)
        leaves, offset = [], 0
        for shape, dtype in self._shapes:
            count = int(np.prod(shape, dtype=int))
            leaves.append(np.frombuffer(mapped, dtype, count, offset).reshape(shape))
            offset += _rounded(count * dtype.itemsize, ALIGNMENT)
        found: Columns = jax.tree.unflatten(self._tree, leaves)
        return found

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._arrival, (self.blocks,)


class InFiles:
    """A batch that is read again from its files at every step."""

    place: Place = "files"

    def __init__(self, nbytes: int, again: Callable[[], Columns]) -> None:
        self.nbytes = nbytes
        self._again = again

    @property
    def blocks(self) -> Columns:
        return self._again()


class Scratch:
    """A file without a name, whose room on disk is free again when it is closed, however the process ends.

    Args:
        folder: on the local disk.
    """

    def __init__(self, folder: str) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, prefix="diffea-", buffering=0)  # noqa: SIM115  (closed with this object)

    def append(self, arrays: list[AnyArray]) -> tuple[int, int]:
        """Write arrays one after the other, each aligned; return where the first starts and the length of all."""
        start = end = _rounded(self._file.seek(0, os.SEEK_END), mmap.ALLOCATIONGRANULARITY)
        for array in arrays:
            self._file.seek(end)
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            while len(data):
                data = data[self._file.write(data) :]
            end += _rounded(array.nbytes, ALIGNMENT)
        self._file.truncate(end)
        return start, end - start

    def map(self, start: int, length: int) -> mmap.mmap:
        """A part of the file as memory that the system fills and empties as it needs."""
        return mmap.mmap(self._file.fileno(), length, access=mmap.ACCESS_READ, offset=start)


class Account:
    """Bytes of columns that a worker holds in memory.

    Attributes:
        held: of columns.
        own: what the process held before: the interpreter and its packages.
    """

    def __init__(self) -> None:
        self.held = 0
        self.own = int(psutil.Process().memory_info().rss)
        self._lock = threading.RLock()  # the garbage collector may release while the same thread reserves

    def budget(self, limit: float) -> int:
        """Of a worker with this memory limit that is to choose: of its accelerator's memory, if it has one, where columns lie there."""
        device = accelerator()
        there = device and (device.memory_stats() or {}).get("bytes_limit")
        return int(AUTO * (there or max(limit - self.own, 0)))

    def reserve(self, nbytes: int, budget: int | None) -> bool:
        """Count these bytes as held, unless they exceed the budget."""
        with self._lock:
            fits = budget is None or self.held + nbytes <= budget
            self.held += nbytes if fits else 0
            return fits

    def release(self, nbytes: int) -> None:
        """Count these bytes no longer."""
        with self._lock:
            self.held -= nbytes


_accounts: dict[str, Account] = {}


def _worker(*, arriving: bool = False) -> tuple[Account, int, str]:
    """The account, the memory limit and the scratch folder of the worker that runs this, or of this process.

    What other workers send arrives outside of tasks: at the worker of this process, if there is one.
    """
    try:
        worker = get_worker()
    except ValueError:
        here = [worker for worker in Worker._instances if worker.status in (Status.running, Status.paused)]
        if not (arriving and len(here) == 1):
            return _account(""), MEMORY_LIMIT, tempfile.gettempdir()
        (worker,) = here
    return _of(worker)


def _of(worker: Worker) -> tuple[Account, int, str]:
    return _account(worker.address), worker.memory_manager.memory_limit or MEMORY_LIMIT, worker.local_directory


def room(client: Client, budget: int | None) -> int:
    """Bytes of columns that the workers of a cluster may hold in memory beyond those that they do.

    Args:
        client: of the cluster.
        budget: of a worker, as of a ``Keeper``.
    """
    found: dict[str, int] = client.run(_room, budget, on_error="ignore")
    return sum(found.values())


def _room(budget: int | None, dask_worker: Worker) -> int:
    account, limit, _ = _of(dask_worker)
    return (account.budget(limit) if budget is None else budget) - account.held


def _account(address: str) -> Account:
    if address not in _accounts:
        _accounts[address] = Account()
    return _accounts[address]


def nbytes_of(blocks: Columns) -> int:
    """Bytes of columns."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(blocks))


def _arrived(budget: int | None, again: Callable[[], Columns], blocks: Columns) -> Store:
    """A batch that dask moved to this worker, which keeps to its own account and disk."""
    return Keeper(budget, arriving=True).keep(blocks, again)


def _rounded(number: int, to: int) -> int:
    return -(-number // to) * to
