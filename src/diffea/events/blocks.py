"""Blocks: the rows of a batch, cut into pieces of one shape, so that one compilation serves them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffea.types import AnyArray, PyTree

SIZES = (4_096, 3_584, 3_072, 2_560, 2_048, 1_792, 1_536, 1_280, 1_024)
FEW = (
    4_096,
    1_024,
    256,
    64,
    16,
    4,
)  # for crowded events, of which each batch has another number: few sizes compile seldom
CAPACITIES = (1, 4, 8, 12, 16)
TOGETHER = 4


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


def block_rows(batches: Iterable[int], sizes: Sequence[int] = SIZES) -> int:
    """The largest block that pads the batches by at most a quarter, or the one that pads them least.

    Args:
        batches: rows of each.
        sizes: of blocks, to choose from.
    """
    counts = list(batches)
    padded = {size: sum(size * capacity(-(-count // size)) for count in counts) for size in sizes}
    enough = (size for size in sizes if padded[size] <= 1.25 * sum(counts))
    return next(enough, min(sizes, key=padded.__getitem__))


def runs(rows: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Rows that are summed in one go, by first and last and the number of their blocks: up to sixteen blocks four at a time.

    Small batches, of which each has another number of blocks, so have one or two shapes to compile for.
    """
    blocks = capacity(-(-rows // size))
    at_once = TOGETHER if TOGETHER < blocks <= CAPACITIES[-1] else blocks
    for start in range(0, max(rows, 1), at_once * size):
        yield start, min(start + at_once * size, rows), at_once


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
