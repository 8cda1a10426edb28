"""Blocks: the rows of a batch, cut into pieces of one shape, so that one compilation serves them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = 4_096
SMALLEST = 1_024
CAPACITIES = (1, 4, 8, 12, 16)


@partial(jax.tree_util.register_dataclass, data_fields=("arrays", "rows"), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Blocks:
    """Columns in blocks.

    Attributes:
        arrays: a pytree of arrays of shape ``(blocks, rows of a block, …)``; what pads them is a copy of a real row, so
            that no padded row computes what a real one would not.
        rows: how many rows are events, in order.
    """

    arrays: Any
    rows: Any

    @property
    def nbytes(self) -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.arrays))


def block_rows(batches: Iterable[int]) -> int:
    """The largest block that pads the batches by less than a quarter.

    Args:
        batches: rows of each.
    """
    counts = np.fromiter(batches, dtype=np.int64)
    size = LARGEST
    while size > SMALLEST and (-(-counts // size) * size).sum() > 1.25 * counts.sum():
        size //= 2
    return size


def to_blocks(arrays: Any, rows: int, size: int) -> Blocks:
    """Cut packed columns into blocks of ``size`` rows; the number of blocks is rounded up so that few shapes compile.

    Args:
        arrays: a pytree of arrays of ``rows`` rows.
        rows: may be none.
        size: rows of a block.
    """
    blocks = capacity(-(-rows // size))
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
