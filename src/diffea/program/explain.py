"""Explain: what of a processor's own settings made a sum NaN."""

from __future__ import annotations

import jax
import numpy as np

from diffea.errors import DiffeaError
from diffea.histograms import binning
from diffea.histograms.window import checked_edges
from diffea.processor.base import axes_of, learned_edges
from diffea.program.kernels import fill_sums
from diffea.program.program import Program
from diffea.program.structure import Structure
from diffea.program.traced import fills_of
from diffea.types import Params, PyTree


def explain(program: Program, structure: Structure, params: Params, arrays: PyTree) -> DiffeaError | None:
    """The error of a width, bandwidth or edges that are no more sound once the parameters are known, if that is the cause.

    In compiled code they only make a NaN. Here ``fill`` runs on one block without compilation, where all numbers are known.

    Args:
        program: of the processor.
        structure: of the block.
        params: the parameters.
        arrays: columns of a block.
    """
    params = jax.tree.map(lambda leaf: np.asarray(leaf, program.dtype), params)
    processor, axes = program.processor, axes_of(program.processor)
    try:
        for edges in learned_edges(processor, params).values():
            checked_edges(np.asarray(edges))
        for _, fill in fills_of(processor, structure, params, arrays):
            binnings = tuple(map(binning, axes[fill.channel]))
            fill_sums(fill, binnings, fill.weight, reflect=(False,) * len(binnings))
    except DiffeaError as error:
        return error
    return None
