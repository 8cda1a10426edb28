"""Inputs of a network, standardised by one pass over the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import hist
import jax
import jax.numpy as jnp
import numpy as np

from diffea.distributed import distribute
from diffea.errors import ColumnError, FillError
from diffea.events.ragged import Ragged
from diffea.processor import DifferentiableProcessor, Fill
from diffea.types import Events, Fileset, Params, PyTree

Inputs = Mapping[str, Callable[[jax.Array], jax.Array] | None]
"""Columns, each with a function of it that is the input, such as ``jnp.log1p``, or None for the column itself."""

CHANNEL = "moments"
NARROWEST = 1e-6  # width over mean, below which a difference of sums of squares has no digits left


@dataclasses.dataclass(frozen=True)
class Standardised:
    """A function of the columns: inputs with mean 0 and standard deviation 1 over the events that it was made from.

    Attributes:
        inputs: what they are made of.
        mean: shape (inputs,).
        width: their standard deviations, likewise.
    """

    inputs: Inputs
    mean: np.ndarray
    width: np.ndarray

    def __call__(self, columns: Mapping[str, PyTree]) -> jax.Array:
        """Shape (events, inputs), in the order of ``inputs``; to be used in ``fill``."""
        return (jnp.stack(list(_of(self.inputs, columns)), axis=1) - self.mean) / self.width


def standardised(
    inputs: Inputs, processor: DifferentiableProcessor, fileset: Fileset, **options: PyTree
) -> Standardised:
    """Mean and standard deviation of inputs over all selected events, in one pass.

    Every event counts once, whatever its weight: what is standardised is what a network sees. The processor that uses them holds them, as in
    ``processor.scaled = learning.standardised(…)``, and calls ``self.scaled(columns)`` within ``fill``.

    Args:
        inputs: columns of ``processor.columns``, one number an event each, by name; with a function of each, or None.
        processor: whose ``columns`` are read.
        fileset, options: as for ``distribute``; give it the split of the training.

    Raises:
        ColumnError: if there is no such column, or an input is the same number in all events, or so nearly that its width has no digits.
        FillError: if an input is not one number an event.
        NotFiniteError: if an input is not finite, naming where.
    """
    names = list(inputs)
    with distribute(_Moments(processor, inputs), fileset, **options) as sums:
        templates = sums.hard({})
    samples = {key[1] for key in templates}
    total = np.sum([np.asarray(templates[CHANNEL, sample].values) for sample in sorted(samples)], axis=0)
    count, mean, square = total[0], total[1::2] / total[0], total[2::2] / total[0]
    width = np.sqrt(np.maximum(square - mean**2, 0.0))
    if constant := [name for name, m, w in zip(names, mean, width, strict=True) if not w > NARROWEST * abs(m)]:
        msg = (
            f"of {count:.0f} events the inputs {constant} are all but the same number (mean {mean.tolist()}, width {width.tolist()}): leave "
            "them out, or take a difference from what they are near to"
        )
        raise ColumnError(msg)
    return Standardised(dict(inputs), mean, width)


class _Moments(DifferentiableProcessor):
    """Sums over events of 1, and of each input and its square."""

    def __init__(self, processor: DifferentiableProcessor, inputs: Inputs) -> None:
        self._processor, self._inputs = processor, inputs
        self.channels = {CHANNEL: hist.axis.IntCategory(range(1 + 2 * len(inputs)), name=CHANNEL)}  # type: ignore[misc]

    def columns(self, events: Events) -> Mapping[str, PyTree]:
        read = self._processor.columns(events)
        if absent := [name for name in self._inputs if name not in read]:
            msg = f"{type(self._processor).__name__}.columns returns no {absent}; it returns {sorted(read)}"
            raise ColumnError(msg)
        return {name: read[name] for name in self._inputs}

    def fill(self, params: Params, columns: Mapping[str, PyTree]) -> Iterator[Fill]:  # noqa: ARG002
        found = list(_of(self._inputs, columns))
        for number, summand in enumerate([jnp.ones_like(found[0]), *(part for x in found for part in (x, x * x))]):
            yield Fill(CHANNEL, jnp.full(summand.shape, number), summand)


def _of(inputs: Inputs, columns: Mapping[str, PyTree]) -> Iterator[jax.Array]:
    """Each input, shape (events,)."""
    for name, function in inputs.items():
        column = columns[name]
        if isinstance(column, Ragged) or jnp.ndim(column) != 1:
            msg = f"the input {name!r} is not one number an event: make one of it in `columns`"
            raise FillError(msg)
        yield jnp.asarray(column if function is None else function(column), float)
