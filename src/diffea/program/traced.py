"""Traced: one reading of ``fill``, from which everything that is compiled or run is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.tree_util import PyTreeDef

from diffea.events.ragged import Ragged
from diffea.events.scalars import Static
from diffea.histograms import Binning, binning
from diffea.processor.base import DifferentiableProcessor, axes_of, learned_edges
from diffea.processor.fill import Fill, as_numbers, fills_in, named
from diffea.processor.variations import shifts_of, with_variations
from diffea.program.recomputed import Recomputed, Shifts, Values
from diffea.program.structure import Structure
from diffea.soft.context import annealed, exactly
from diffea.templates import Key
from diffea.templates.layout import NOMINAL
from diffea.types import Params, PyTree, Scalar

ANY = "\0"  # stands for the dataset's sample in compiled code, which serves all samples of one structure
MOST_WRITTEN_OUT = 8  # shifts of columns: more than these run in a loop, of which the code is compiled once
Numbers: TypeAlias = list[tuple[tuple[jax.Array | Ragged, ...], jax.Array | Ragged | None]]
"""Observables and weight of each fill."""

Edges = dict[str, tuple[Binning, ...]]


@dataclasses.dataclass(frozen=True)
class Reading:
    """Some fills of a block of one structure, for parameters of one shape.

    Attributes:
        keys: of the template that each fill goes into; ``ANY`` stands for the dataset's sample.
        groups: a number for each fill; fills of one number share channel, kernel and bandwidth.
        learned: the channels whose edges are parameters.
        computation: of parameters, the scale of all widths and the columns of a block, all flat: what ``outputs`` makes the numbers of all
            fills of, and the settings that depend on parameters.
        outputs: their structure.
        complete: of these, the fills, and the binning of every channel's axes.
    """

    keys: tuple[Key, ...]
    groups: tuple[int, ...]
    learned: tuple[str, ...]
    computation: ClosedJaxpr
    outputs: PyTreeDef
    complete: Callable[[Numbers, list[jax.Array]], tuple[list[Fill], Edges]]

    def fills(self, found: Sequence[jax.Array]) -> tuple[list[Fill], Edges]:
        """The fills of a block, of what the computation gives."""
        return self.complete(*jax.tree.unflatten(self.outputs, found))

    def rows(self, found: Sequence[jax.Array], rows: int) -> tuple[list[Fill], Edges]:
        """The fills of the first rows of many blocks.

        Args:
            found: what the computation gives for many blocks at once.
            rows: how many are events.
        """
        numbers, settings = jax.tree.unflatten(self.outputs, found)

        def flat(leaf: jax.Array) -> np.ndarray:
            known = np.asarray(leaf)
            return known[0] if known.ndim == 1 else known.reshape(-1, *known.shape[2:])[:rows]

        return self.complete(jax.tree.map(flat, numbers), [np.asarray(leaf)[0] for leaf in settings])


@dataclasses.dataclass(frozen=True)
class Varied:
    """The nominal fills on columns that are shifted, for many shifts.

    Attributes:
        names: of the variations.
        nominal: the fills on columns as they are.
        again: their computation for each of the shifts.
    """

    names: tuple[str, ...]
    nominal: Reading
    again: Recomputed

    @property
    def keys(self) -> list[Key]:
        """Of all fills, one variation after the other."""
        return [(channel, sample, name) for name in self.names for channel, sample, _ in self.nominal.keys]


@dataclasses.dataclass(frozen=True)
class Traced:
    """What ``fill`` does with a block of one structure and parameters of one shape, with soft or with hard cuts.

    The user's code runs for it and never again. A class attribute or a global that changes afterwards is then not new in some
    modes and old in others: values, derivatives and hard templates are all made from this reading.

    Attributes:
        own: the fills that are written out one after the other.
        varied: those of many variations, which run in a loop.
    """

    own: Reading
    varied: Varied | None

    @property
    def keys(self) -> list[Key]:
        """Of the template that each fill goes into."""
        return [*self.own.keys, *(self.varied.keys if self.varied else ())]

    @property
    def arcs(self) -> bool:
        """Whether an arc tangent is among the operations."""
        computations = [self.own.computation, *(self.varied.again.computations if self.varied else ())]
        return any("atan" in str(computation) for computation in computations)

    def block(self, params: Params, widths: Scalar, arrays: PyTree) -> tuple[list[Fill], Edges]:
        """The fills of a block that are written out, inside of a compiled function."""
        return self.own.fills(self._computed(params, arrays, widths))

    def prepared(self, params: Params, widths: Scalar, arrays: PyTree) -> Values:
        """What the fills of variations share."""
        assert self.varied is not None
        return self.varied.again.prepared(jax.tree.leaves((params, widths, arrays)))

    def variation(self, number: jax.Array, values: Values) -> tuple[list[Fill], Edges]:
        """The fills of one variation of a block, of what is ``prepared``."""
        assert self.varied is not None
        return self.varied.nominal.fills(self.varied.again.at(number, values))

    def blocks(self, params: Params, arrays: PyTree) -> list[jax.Array]:
        """What the fills that are written out are made of with exact cuts, which have no width, for many blocks at once."""
        return jax.vmap(self._computed, in_axes=(None, 0))(params, arrays)

    def variation_of_blocks(self, number: jax.Array, params: Params, arrays: PyTree) -> list[jax.Array]:
        """Likewise of one variation."""
        assert self.varied is not None
        again = self.varied.again

        def one(arrays: PyTree) -> list[jax.Array]:
            return again.at(number, self.prepared(params, 1.0, arrays))

        return jax.vmap(one)(arrays)

    def _computed(self, params: Params, arrays: PyTree, widths: Scalar = 1.0) -> list[jax.Array]:
        return jaxpr_as_fun(self.own.computation)(*jax.tree.leaves((params, widths, arrays)))


def of_sample(keys: Iterable[Key], sample: str) -> list[Key]:
    """The templates of fills from a dataset of this sample."""
    return [(channel, sample if of == ANY else of, variation) for channel, of, variation in keys]


def trace(
    processor: DifferentiableProcessor, structure: Structure, params: Params, dtype: np.dtype, *, hard: bool
) -> Traced:
    """Read ``fill``; nothing is computed.

    Args:
        processor: whose ``fill`` it is.
        structure: of a block.
        params: pytree of shapes.
        dtype: of the scale of the widths.
        hard: whether with exact cuts.

    Raises:
        FillError: for what ``fill`` or ``edges`` return that does not fit the channels or the events.
        VariationError: when a variation shifts columns that do not exist.
    """
    where, axes = f"{type(processor).__name__}.fill", axes_of(processor)

    def read(fills: Callable[[Params, PyTree], list[tuple[Key, Fill]]]) -> Reading:
        return _read(processor, structure, params, dtype, fills)

    def without_variations(params: Params, arrays: PyTree) -> list[tuple[Key, Fill]]:
        columns = {**arrays, **dict(structure.static)}
        return named(fills_in(processor.fill(params, columns), where), axes, ANY, where)

    def nominal(params: Params, arrays: PyTree) -> list[tuple[Key, Fill]]:
        return [(key, fill) for key, fill in without_variations(params, arrays) if fill.variation == NOMINAL]

    with exactly(hard):
        if found := _shifts(processor, structure, params, dtype):
            names, shifts = found
            own, again = read(without_variations), read(nominal)
            varied = Varied(names, again, Recomputed(again.computation, shifts))
            written = {(channel, variation) for channel, _, variation in own.keys}
            if again.keys and written.isdisjoint((channel, variation) for channel, _, variation in varied.keys):
                return Traced(own, varied)
        return Traced(read(lambda params, arrays: fills_of(processor, structure, params, arrays)), None)


def _read(
    processor: DifferentiableProcessor,
    structure: Structure,
    params: Params,
    dtype: np.dtype,
    fills_of_block: Callable[[Params, PyTree], list[tuple[Key, Fill]]],
) -> Reading:
    where = f"{type(processor).__name__}.fill"
    axes = axes_of(processor)
    made: list[tuple[list[tuple[Key, Fill]], PyTreeDef, list[object]]] = []

    def read(params: Params, widths: Scalar, arrays: PyTree) -> tuple[Numbers, list[jax.Array]]:
        with annealed(widths):
            fills = fills_of_block(params, arrays)
        settings = [fill.bandwidth for _, fill in fills], learned_edges(processor, params)
        leaves, tree = jax.tree.flatten(settings)
        numbers = [as_numbers(fill, axes[fill.channel], structure.rows, where) for _, fill in fills]
        known = [None if isinstance(leaf, jax.core.Tracer) else leaf for leaf in leaves]
        made.append((fills, tree, known))
        return numbers, [leaf for leaf in leaves if isinstance(leaf, jax.core.Tracer)]

    widths = jax.ShapeDtypeStruct((), dtype)
    computation, shapes = jax.make_jaxpr(read, return_shape=True)(params, widths, structure.shapes)
    ((fills, tree, known),) = made
    groups: dict[tuple[str, str, int], int] = {}
    alike = tuple(groups.setdefault((fill.channel, fill.kernel, id(fill.bandwidth)), len(groups)) for _, fill in fills)
    forms = [dataclasses.replace(fill, observable=(), weight=None, bandwidth=None) for _, fill in fills]
    fixed = {name: tuple(map(binning, of)) for name, of in axes.items()}

    def complete(numbers: Numbers, settings: list[jax.Array]) -> tuple[list[Fill], Edges]:
        computed = iter(settings)
        leaves = [next(computed) if leaf is None else leaf for leaf in known]
        bandwidths, learned = jax.tree.unflatten(tree, leaves)
        complete_fills = [
            dataclasses.replace(form, observable=observables, weight=weight, bandwidth=bandwidth)
            for form, (observables, weight), bandwidth in zip(forms, numbers, bandwidths, strict=True)
        ]
        return complete_fills, {**fixed, **{name: (edges,) for name, edges in learned.items()}}

    keys, learned = tuple(key for key, _ in fills), tuple(jax.tree.unflatten(tree, known)[1])
    return Reading(keys, alike, learned, computation, jax.tree.structure(shapes), complete)


def _shifts(
    processor: DifferentiableProcessor, structure: Structure, params: Params, dtype: np.dtype
) -> tuple[tuple[str, ...], Shifts] | None:
    """The variations of a block, by name; None if they are few, or one changes more of a column than its numbers."""
    places, first = {}, len(jax.tree.leaves(params)) + 1
    for name, column in sorted(structure.shapes.items()):
        places[name] = tuple(range(first, first := first + len(jax.tree.leaves(column))))
    made: list[tuple[str, list[str]]] = []

    def read(_: Params, widths: Scalar, arrays: PyTree) -> list[list[jax.Array]]:
        columns = {**arrays, **dict(structure.static)}
        with annealed(widths):
            shifts = list(shifts_of(processor, columns))
        if len(shifts) <= MOST_WRITTEN_OUT or not all(_alike(shifted, columns) for _, shifted in shifts):
            return []
        made.extend((name, sorted(shifted)) for name, shifted in shifts)
        return [[_like(*pair) for of in sorted(new) for pair in _leaves(new[of], columns[of])] for _, new in shifts]

    computation = jax.make_jaxpr(read)(params, jax.ShapeDtypeStruct((), dtype), structure.shapes)
    if not made:
        return None
    moved = tuple(tuple(place for of in shifted for place in places[of]) for _, shifted in made)
    return tuple(name for name, _ in made), Shifts(computation, moved)


def _alike(shifted: Mapping[str, PyTree], columns: Mapping[str, PyTree]) -> bool:
    """Whether shifted columns are arrays like those that they replace."""
    return all(
        not isinstance(columns[of], Static)
        and isinstance(new, Ragged) == isinstance(columns[of], Ragged)
        and all(np.shape(a) == b.shape and _kind(a) == _kind(b) for a, b in _leaves(new, columns[of]))
        for of, new in shifted.items()
    )


def _leaves(one: PyTree, other: PyTree) -> list[tuple[jax.Array, jax.Array]]:
    """Arrays of two columns, both ``Ragged`` or neither."""
    return list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def _kind(array: jax.Array) -> str:
    return str(jnp.result_type(array).kind)


def _like(array: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.asarray(array, other.dtype)


def fills_of(
    processor: DifferentiableProcessor, structure: Structure, params: Params, arrays: PyTree
) -> list[tuple[Key, Fill]]:
    """Run ``fill`` on columns of this structure, of a dataset of any sample."""
    where = f"{type(processor).__name__}.fill"
    columns = {**arrays, **dict(structure.static)}
    return named(with_variations(processor, params, columns), axes_of(processor), ANY, where)
