"""Replicas: the hard twin of a batch and its Poisson bootstrap by event, filled in one pass."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from diffea.errors import ReplicaError
from diffea.events.blocks import Blocks
from diffea.events.replicas import poisson_weights
from diffea.program.hard import filled, hard_entries, places_of
from diffea.program.program import Program
from diffea.program.structure import Structure
from diffea.templates import Layout
from diffea.types import Params

AT_ONCE = 4_096  # events whose weights of all replicas are held


def replicated_sums(
    program: Program,
    structure: Structure,
    sample: str,
    whole: Layout,
    params: Params,
    blocks: Blocks,
    scale: float,
    where: str,
    numbers: np.ndarray,
) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
    """Sums of a batch under ``soft.hard()``, and those of its replicas, in which each event is met a Poisson number of times.

    An event that is met n times counts n times in the sum of weights and in that of their squares, as n events would.

    Args:
        program, structure, sample, whole, params, blocks, scale, where: as for ``hard_sums``.
        numbers: of the replicas, shape ``(replicas,)``.

    Returns:
        the number of rows that were filled; the sums as ``hard_sums`` gives them, and those of the replicas, shape
        ``(replicas, 2, whole.size)``.

    Raises:
        ReplicaError: if it is not known what identifies the events.
        NotFiniteError, HistogramError: as ``hard_sums``.
    """
    rows = int(blocks.rows)
    hashes = _hashes(blocks, where)
    entered = list(hard_entries(program, structure, sample, params, blocks, scale, where))
    events, places, weights = (
        np.concatenate(parts) for parts in zip(*(places_of(entries, whole) for entries in entered), strict=True)
    )
    found, events = np.unique(events, return_inverse=True)
    shape = (2 * whole.size, len(found))
    rows_of = np.concatenate([places, places + whole.size])
    both = np.concatenate([weights, weights**2]), (rows_of, np.concatenate([events, events]))
    matrix = scipy.sparse.csc_matrix(both, shape)
    sums = np.zeros((2 * whole.size, len(numbers)))
    for start in range(0, len(found), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        sums += matrix[:, part] @ poisson_weights(hashes[found[part]], numbers).astype(float)
    return rows, (filled(entered, whole), sums.T.reshape(len(numbers), 2, whole.size))


def _hashes(blocks: Blocks, where: str) -> np.ndarray:
    if blocks.hashes is None:
        msg = (
            f"{where}: replicas weight each event by what identifies it, which is not known of the events that `columns` returned; "
            "select them with `events = events[mask]` before their columns are taken, and give a fileset, not a dask collection"
        )
        raise ReplicaError(msg)
    return np.asarray(blocks.hashes)
