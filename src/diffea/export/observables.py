"""Observables that were learned, such as the output of a network: each as a function of the columns that it is computed of, and of nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

from diffea.analysis import Analysis, Variant
from diffea.errors import ExportError
from diffea.events.columns import Columns, pack, read
from diffea.events.filesets import Chunk
from diffea.events.plan import plan
from diffea.events.ragged import Ragged
from diffea.parameters import as_arrays
from diffea.processor.base import axes_of
from diffea.program import Program
from diffea.program.structure import structured
from diffea.program.traced import Reading
from diffea.templates.layout import NOMINAL
from diffea.types import Params

ENTRIES = 1_000  # of each dataset, that are looked at
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclasses.dataclass(frozen=True)
class Observable:
    """What nominal fills of a channel put on one of its axes.

    Attributes:
        channel: its name.
        name: the channel's, with that of the axis where it has several.
        inputs: entries of some events, of shape ``(events, …)``, by column: those that it is computed of.
        computation: of leaves of the parameters and of the inputs, for a single event.
        leaves: which of the parameters' leaves these are.
        where: it was found: a dataset.
    """

    channel: str
    name: str
    inputs: Mapping[str, np.ndarray]
    computation: ClosedJaxpr
    leaves: tuple[int, ...]
    where: str

    def at(self, params: Params) -> Callable[..., jax.Array]:
        """A function of the inputs, in their order, with exact cuts; its result has an entry for each event, or a row for a category axis."""
        all_leaves = [
            *jax.tree.leaves(as_arrays(params)),
            np.ones(()),
        ]  # the last one is the width of soft cuts, of which exact ones have none
        used, of_one = [all_leaves[place] for place in self.leaves], jaxpr_as_fun(self.computation)

        def of_events(*inputs: jax.Array) -> jax.Array:
            (found,) = jax.vmap(lambda *one: of_one(*used, *(number[None] for number in one)))(*inputs)
            return found[:, 0]

        return of_events

    @property
    def signature(self) -> tuple[object, ...]:
        """The same for what is computed in the same way."""
        jaxpr, constants = self.computation.jaxpr, self.computation.consts
        arrays = [(np.asarray(constant).tobytes(), np.shape(constant)) for constant in constants]
        return ADDRESS.sub("", str(jaxpr)), arrays, self.leaves, tuple(self.inputs)


def learned_observables(analysis: Analysis, variant: Variant, data: Path) -> list[Observable]:
    """Those that depend on parameters, of every channel, as the first entries of each simulated dataset show them.

    Args:
        analysis: that was run.
        variant: of it.
        data: folder of its data.

    Raises:
        ExportError: if there is none; if one has an entry for each object, or is computed of a column of objects, or otherwise in one dataset than in another.
    """
    program, found = Program(variant.processor), dict[str, Observable]()
    for chunk in _first_chunks(analysis, data):
        columns = read(chunk, program.processor.columns, analysis.schemaclass, None)
        for one in _of_dataset(program, columns, variant.params, chunk.file.dataset):
            known = found.setdefault(one.name, one)
            if known.signature != one.signature:
                msg = (
                    f"channel {one.name!r} is filled with something else in {one.where} than in {known.where}, or with several things, so that no one "
                    "function gives it: a network that is to be handed on is the only observable of its channel"
                )
                raise ExportError(msg)
    if not found:
        msg = (
            f"no observable of {type(variant.processor).__name__} depends on the parameters: a network whose output is only cut on is handed on if `fill` "
            "also fills it into a channel, which the model need not name"
        )
        raise ExportError(msg)
    return list(found.values())


def _first_chunks(analysis: Analysis, data: Path) -> Iterator[Chunk]:
    seen = set[str]()
    for chunk in plan(analysis.fileset(data), analysis.chunksize)[0]:
        if chunk.file.dataset not in seen:
            seen.add(chunk.file.dataset)
            yield dataclasses.replace(chunk, stop=min(chunk.stop, chunk.start + ENTRIES))


def _of_dataset(program: Program, columns: Columns, params: Params, dataset: str) -> Iterator[Observable]:
    structure, _ = structured(columns, program.dtype, size=1)
    reading, packed = program.traced(structure, as_arrays(params), hard=True).own, pack(columns, program.dtype)
    axes = axes_of(program.processor)
    for (channel, _, variation), places in zip(reading.keys, _places(reading), strict=True):
        if variation != NOMINAL:
            continue
        several = len(axes[channel]) > 1
        for axis, place in zip(axes[channel], places, strict=True):
            name = f"{channel}-{axis.name}" if several else channel
            one = _observable(reading, params, packed, place, (channel, name, dataset))
            if one is not None:
                yield one


def _places(reading: Reading) -> Iterator[tuple[int | Ragged, ...]]:
    """Of each fill's observables, which outputs of the computation they are."""
    numbers, _ = jax.tree.unflatten(reading.outputs, range(len(reading.computation.jaxpr.outvars)))
    for observables, _ in numbers:
        yield observables


def _observable(
    reading: Reading,
    params: Params,
    packed: Mapping[str, np.ndarray | Ragged],
    place: int | Ragged,
    names: tuple[str, str, str],
) -> Observable | None:
    """The part of a computation that gives one of its outputs; None if no parameter is in it."""
    channel, name, dataset = names
    first = place.values if isinstance(place, Ragged) else place
    whole = reading.computation
    jaxpr, used = dce_jaxpr(whole.jaxpr, [number == first for number in range(len(whole.jaxpr.outvars))])
    settings = len(jax.tree.leaves(params)) + 1  # parameters, and the width of soft cuts
    if not any(used[: settings - 1]):
        return None
    if isinstance(place, Ragged):
        msg = f"channel {channel!r} has an entry for each object of an event (in {dataset}), which is no function of numbers: fill one an event"
        raise ExportError(msg)
    leaves = [(column, leaf) for column, value in sorted(packed.items()) for leaf in jax.tree.leaves(value)]
    inputs = {column: leaf for (column, leaf), is_used in zip(leaves, used[settings:], strict=True) if is_used}
    if objects := [column for column in inputs if isinstance(packed[column], Ragged)]:
        msg = (
            f"what {channel!r} is filled with is computed of the objects in {', '.join(objects)}, of which an event has any number (in {dataset}): make "
            "what the network reads numbers of the event, in `columns`"
        )
        raise ExportError(msg)
    constants = dict(zip(whole.jaxpr.constvars, whole.consts, strict=True))
    needed = [atom for equation in jaxpr.eqns for atom in equation.invars] + list(jaxpr.outvars)
    kept = list(dict.fromkeys(atom for atom in needed if isinstance(atom, Var) and atom in constants))
    closed = ClosedJaxpr(jaxpr.replace(constvars=kept), [constants[variable] for variable in kept])
    return Observable(channel, name, inputs, closed, tuple(np.flatnonzero(used[:settings]).tolist()), dataset)
