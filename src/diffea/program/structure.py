"""Structure: what decides which code a batch compiles to."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from diffea.events.blocks import FEW, Blocks, block_rows, to_blocks
from diffea.events.classes import divided
from diffea.events.columns import Columns, pack
from diffea.events.scalars import Static
from diffea.types import PyTree


@dataclasses.dataclass(frozen=True)
class Structure:
    """What ``fill`` may branch on: the same structure compiles to the same code.

    Attributes:
        static: the plain Python values among the columns.
        shapes: pytree of ``jax.ShapeDtypeStruct`` of one block.
    """

    static: tuple[tuple[str, Static], ...]
    shapes: PyTree

    @property
    def rows(self) -> int:
        """Of a block."""
        return int(jax.tree.leaves(self.shapes)[0].shape[0])

    @functools.cached_property
    def identity(self) -> tuple[object, ...]:
        leaves, tree = jax.tree.flatten(self.shapes)
        return repr(self.static), tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves), tree

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.identity == other.identity


def pieces(
    columns: Columns, dtype: np.dtype, size: int | None = None
) -> tuple[tuple[Structure, ...], tuple[Blocks, ...], tuple[np.ndarray, ...] | None]:
    """Columns of a batch in size classes, each in blocks.

    Args:
        columns: of some events of one dataset.
        dtype: of floating-point columns.
        size: rows of a block of the class with most events; by default chosen for it alone, as for the others.

    Returns:
        structure and blocks of each class, and which events it holds (None if it is all of them as they are).
    """
    events = divided(columns)
    if events is None:
        structure, blocks = structured(columns, dtype, size)
        return (structure,), (blocks,), None
    most = max(map(len, events))
    sizes = [size if len(members) == most else block_rows([len(members)], FEW) for members in events]
    found = [structured(columns.of(members), dtype, rows) for members, rows in zip(events, sizes, strict=True)]
    return tuple(structure for structure, _ in found), tuple(blocks for _, blocks in found), events


def structured(columns: Columns, dtype: np.dtype, size: int | None = None) -> tuple[Structure, Blocks]:
    """Columns in blocks, with their structure.

    Args:
        columns: of some events of one dataset.
        dtype: of floating-point columns.
        size: rows of a block; by default chosen for these rows alone.
    """
    packed = pack(columns, dtype)
    blocks = to_blocks(packed, columns.rows, size or block_rows([columns.rows]))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), blocks.arrays)
    return Structure(tuple(sorted(columns.static.items())), shapes), blocks
