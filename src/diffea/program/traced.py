"""Traced: one reading of ``fill``, from which everything that is compiled or run is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TypeAlias

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.tree_util import PyTreeDef

from diffea.events.ragged import Ragged
from diffea.histograms import Binning, binning
from diffea.processor.base import DifferentiableProcessor, axes_of, learned_edges
from diffea.processor.fill import Fill, as_numbers, named
from diffea.processor.variations import with_variations
from diffea.program.structure import Structure
from diffea.soft.context import annealed, exactly
from diffea.templates import Key
from diffea.types import Params, PyTree, Scalar

ANY = "\0"  # stands for the dataset's sample in compiled code, which serves all samples of one structure
Numbers: TypeAlias = list[tuple[tuple[jax.Array | Ragged, ...], jax.Array | Ragged | None]]
"""Observables and weight of each fill."""

Edges = dict[str, tuple[Binning, ...]]


@dataclasses.dataclass(frozen=True)
class Traced:
    """What ``fill`` does with a block of one structure and parameters of one shape, with soft or with hard cuts.

    The user's code runs once to make it. A class attribute or a global that changes afterwards is then not new in some
    modes and old in others: values, derivatives and hard templates are all made from this reading.

    Attributes:
        keys: of the template that each fill goes into; ``ANY`` stands for the dataset's sample.
        groups: a number for each fill; fills of one number share channel, kernel and bandwidth.
        learned: the channels whose edges are parameters.
        compute: of parameters, the scale of all widths and the columns of a block, the numbers of all fills, and the settings that depend on parameters.
        complete: of what ``compute`` gives, the fills, and the binning of every channel's axes.
        arcs: whether an arc tangent is among the operations.
    """

    keys: tuple[Key, ...]
    groups: tuple[int, ...]
    learned: tuple[str, ...]
    compute: Callable[[Params, Scalar, PyTree], tuple[Numbers, list[jax.Array]]]
    complete: Callable[[Numbers, list[jax.Array]], tuple[list[Fill], Edges]]
    arcs: bool

    def block(self, params: Params, widths: Scalar, arrays: PyTree) -> tuple[list[Fill], Edges]:
        """The fills of a block, inside of a compiled function."""
        return self.complete(*self.compute(params, widths, arrays))

    def blocks(self, params: Params, arrays: PyTree) -> tuple[Numbers, list[jax.Array]]:
        """What ``compute`` gives with exact cuts, which have no width, for many blocks at once."""
        return jax.vmap(self.compute, in_axes=(None, None, 0))(params, 1.0, arrays)

    def rows(self, numbers: Numbers, settings: list[jax.Array], rows: int) -> tuple[list[Fill], Edges]:
        """The fills of the first rows of many blocks.

        Args:
            numbers, settings: of ``blocks``.
            rows: how many are events.
        """

        def flat(leaf: jax.Array) -> np.ndarray:
            known = np.asarray(leaf)
            return known[0] if known.ndim == 1 else known.reshape(-1, *known.shape[2:])[:rows]

        return self.complete(jax.tree.map(flat, numbers), [np.asarray(leaf)[0] for leaf in settings])


def of_sample(keys: Iterable[Key], sample: str) -> list[Key]:
    """The templates of fills from a dataset of this sample."""
    return [(channel, sample if of == ANY else of, variation) for channel, of, variation in keys]


def trace(
    processor: DifferentiableProcessor, structure: Structure, params: Params, dtype: np.dtype, *, hard: bool
) -> Traced:
    """Read ``fill`` once; nothing is computed.

    Args:
        processor: whose ``fill`` it is.
        structure: of a block.
        params: pytree of shapes.
        dtype: of the scale of the widths.
        hard: whether with exact cuts.

    Raises:
        FillError: for what ``fill`` or ``edges`` return that does not fit the channels or the events.
    """
    where = f"{type(processor).__name__}.fill"
    made: list[tuple[list[tuple[Key, Fill]], PyTreeDef, list[object]]] = []

    def read(params: Params, widths: Scalar, arrays: PyTree) -> tuple[Numbers, list[jax.Array]]:
        with annealed(widths):
            fills = fills_of(processor, structure, params, arrays)
        settings = [fill.bandwidth for _, fill in fills], learned_edges(processor, params)
        leaves, tree = jax.tree.flatten(settings)
        numbers = [as_numbers(fill, structure.rows, where) for _, fill in fills]
        known = [None if isinstance(leaf, jax.core.Tracer) else leaf for leaf in leaves]
        made.append((fills, tree, known))
        return numbers, [leaf for leaf in leaves if isinstance(leaf, jax.core.Tracer)]

    widths = jax.ShapeDtypeStruct((), dtype)
    with exactly(hard):
        computation, shapes = jax.make_jaxpr(read, return_shape=True)(params, widths, structure.shapes)
    ((fills, tree, known),) = made
    outputs, function = jax.tree.structure(shapes), jaxpr_as_fun(computation)
    groups: dict[tuple[str, str, int], int] = {}
    alike = tuple(groups.setdefault((fill.channel, fill.kernel, id(fill.bandwidth)), len(groups)) for _, fill in fills)
    forms = [dataclasses.replace(fill, observable=(), weight=None, bandwidth=None) for _, fill in fills]
    fixed = {name: tuple(map(binning, axes)) for name, axes in axes_of(processor).items()}

    def compute(params: Params, widths: Scalar, arrays: PyTree) -> tuple[Numbers, list[jax.Array]]:
        return jax.tree.unflatten(outputs, function(*jax.tree.leaves((params, widths, arrays))))

    def complete(numbers: Numbers, settings: list[jax.Array]) -> tuple[list[Fill], Edges]:
        computed = iter(settings)
        leaves = [next(computed) if leaf is None else leaf for leaf in known]
        bandwidths, learned = jax.tree.unflatten(tree, leaves)
        complete_fills = [
            dataclasses.replace(form, observable=observables, weight=weight, bandwidth=bandwidth)
            for form, (observables, weight), bandwidth in zip(forms, numbers, bandwidths, strict=True)
        ]
        return complete_fills, {**fixed, **{name: (edges,) for name, edges in learned.items()}}

    keys = tuple(key for key, _ in fills)
    learned = tuple(jax.tree.unflatten(tree, known)[1])
    return Traced(keys, alike, learned, compute, complete, "atan" in str(computation))


def fills_of(
    processor: DifferentiableProcessor, structure: Structure, params: Params, arrays: PyTree
) -> list[tuple[Key, Fill]]:
    """Run ``fill`` on columns of this structure, of a dataset of any sample."""
    where = f"{type(processor).__name__}.fill"
    columns = {**arrays, **dict(structure.static)}
    return named(with_variations(processor, params, columns), axes_of(processor), ANY, where)
