"""Blocks: the rows of a batch, cut into pieces of one shape, so that one compilation serves them all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffea.types import AnyArray, PyTree

SIZES = (4_096, 3_584, 3_072, 2_560, 2_048, 1_792, 1_536, 1_280, 1_024)
CROWDED = 4_096  # objects of a column in a block of crowded events
CAPACITIES = (1, 4, 8, 12, 16)
TOGETHER = 4
AT_ONCE = (16, 4, 1)


@partial(jax.tree_util.register_dataclass, data_fields=("arrays", "rows", "first", "hashes"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Blocks:
    """Columns in blocks.

    Attributes:
        arrays: a pytree of arrays of shape ``(blocks, rows of a block, …)``; what pads them is a copy of a real row, so
            that no padded row computes what a real one would not.
        rows: one past the last row that counts.
        first: row that counts.
        hashes: of what identifies the events, shape ``(rows,)``; None where that is not known, or was not asked for.
    """

    arrays: PyTree
    rows: AnyArray
    first: AnyArray = dataclasses.field(default_factory=lambda: jnp.asarray(0))
    hashes: AnyArray | None = None

    @property
    def nbytes(self) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self))

    @property
    def columns(self) -> Blocks:
        """What is computed with: a program is compiled for the shape of these."""
        return dataclasses.replace(self, hashes=None)

    @property
    def size(self) -> int:
        """Rows of a block."""
        return int(jax.tree.leaves(self.arrays)[0].shape[1])

    def window(self, start: int, stop: int) -> Blocks:
        """The same columns, of which only the rows from ``start`` to ``stop`` count."""
        return dataclasses.replace(self, rows=np.asarray(stop), first=np.asarray(start))

    def parts(self, rows: np.ndarray) -> Iterator[Blocks]:
        """Some of the rows, one block after the other."""

        flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), self.arrays)
        for first in range(0, len(rows), self.size):
            part = rows[first : first + self.size]
            yield to_blocks(_taken(flat, part), len(part), self.size)


def _taken(arrays: PyTree, rows: np.ndarray) -> PyTree:
    return jax.tree.map(lambda array: array[rows], arrays)


def block_rows(batches: Iterable[int]) -> int:
    """The largest block that pads the batches by at most a quarter, or the one that pads them least.

    Args:
        batches: rows of each.
    """
    counts = list(batches)
    padded = {size: sum(size * capacity(-(-count // size)) for count in counts) for size in SIZES}
    enough = (size for size in SIZES if padded[size] <= 1.25 * sum(counts))
    return next(enough, min(SIZES, key=padded.__getitem__))


def crowded_rows(arrays: PyTree) -> int:
    """Rows of a block of crowded events, however many there are: an empty row costs less than another program.

    Args:
        arrays: packed columns.
    """
    widest = max(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(arrays))
    return max(1, CROWDED // widest)


def runs(rows: int, size: int, *, classes: int = 1) -> Iterator[tuple[int, int, int]]:
    """Rows that are summed in one go, by first and last and the number of their blocks: up to sixteen blocks four at a time, more at once.

    Small batches, of which each has another number of blocks, so have one or two shapes to compile for. Where a dataset has several classes of
    events, each of them another number of blocks in each batch, it is sixteen, four or one of them, of any batch.

    Args:
        rows: of a batch.
        size: of a block.
        classes: of events in the dataset.
    """
    blocks = capacity(-(-rows // size))
    start = 0
    while start < max(rows, 1):
        if classes > 1:
            left = -(-(rows - start) // size)
            at_once = next(several for several in AT_ONCE if several <= max(left, 1))
        else:
            at_once = TOGETHER if TOGETHER < blocks <= CAPACITIES[-1] else blocks
        yield start, min(start + at_once * size, rows), at_once
        start += at_once * size


def to_blocks(arrays: PyTree, rows: int, size: int, blocks: int | None = None) -> Blocks:
    """Cut packed columns into blocks of ``size`` rows.

    Args:
        arrays: a pytree of arrays of ``rows`` rows.
        rows: may be none.
        size: rows of a block.
        blocks: how many; by default those that the rows fill, rounded up so that few shapes compile.
    """
    blocks = blocks or capacity(-(-rows // size))
    if not rows:
        arrays = jax.tree.map(lambda array: np.zeros((1, *array.shape[1:]), array.dtype), arrays)
    take = np.clip(np.arange(blocks * size), 0, max(rows - 1, 0))
    return Blocks(
        jax.tree.map(lambda array: jnp.asarray(array[take].reshape(blocks, size, *array.shape[1:])), arrays),
        jnp.asarray(rows),
    )


def capacity(blocks: int) -> int:
    """The next number of blocks that is compiled for: above the listed ones, at most a quarter more."""
    if blocks > CAPACITIES[-1]:
        step = 1 << ((blocks - 1).bit_length() - 3)
        return -(-blocks // step) * step
    return next(size for size in CAPACITIES if size >= blocks)
