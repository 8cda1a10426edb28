"""Fill: events that go into one template."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from diffea.errors import FillError
from diffea.events.ragged import Column, Ragged
from diffea.templates.layout import NOMINAL, Key
from diffea.types import Axis


@dataclasses.dataclass(frozen=True)
class Fill:
    """Events that go into one template.

    Args:
        channel: a name in ``processor.channels``.
        observable: what is histogrammed, shape ``(events,)``; a tuple of arrays for a channel of several axes.
        weight: event weights times soft selection, shape ``(events,)``; ones by default.
        sample: the template's sample; by default that of the dataset being read.
        variation: the systematic variation.
        bandwidth: of the kernel, in units of the observable; by default set by the bin widths.
        kernel: a name in ``diffea.histograms.KERNELS``.
    """

    channel: str
    observable: Column | tuple[Column, ...]
    weight: Column | None = None
    _: dataclasses.KW_ONLY
    sample: str | None = None
    variation: str = NOMINAL
    bandwidth: ArrayLike | tuple[ArrayLike | None, ...] | None = None
    kernel: str = "biweight"

    @property
    def observables(self) -> tuple[Column, ...]:
        """One array for each axis of the channel."""
        return self.observable if isinstance(self.observable, tuple) else (self.observable,)


def fills_in(made: object, where: str) -> list[Fill]:
    """What a processor's ``fill`` made, as a list.

    Raises:
        FillError: if that is not some fills.
    """
    if isinstance(made, Fill) or not isinstance(made, Iterable) or isinstance(made, str | Mapping):
        what = "one diffea.Fill; write `yield diffea.Fill(…)`" if isinstance(made, Fill) else type(made).__name__
        msg = f"{where} must yield diffea.Fill(channel, observable, weight) for each template, or return a list of them, got {what}"
        raise FillError(msg)
    fills = list(made)
    if not fills:
        msg = f"{where} yields no diffea.Fill: without one there are no templates (of no events it yields empty arrays)"
        raise FillError(msg)
    for fill in fills:
        if not isinstance(fill, Fill):
            msg = f"{where} must yield diffea.Fill(channel, observable, weight), got {type(fill).__name__}"
            raise FillError(msg)
    return fills


def named(
    fills: Iterable[Fill], axes: Mapping[str, tuple[Axis, ...]], sample: str, where: str
) -> list[tuple[Key, Fill]]:
    """The fills with the templates they go into.

    Args:
        fills: of a processor.
        axes: of each channel.
        sample: of the dataset being read.
        where: for the message.

    Raises:
        FillError: if one does not fit its channel.
    """
    return [(_key(fill, axes, sample, where), fill) for fill in fills]


def as_numbers(
    fill: Fill, axes: tuple[Axis, ...], rows: int, where: str
) -> tuple[tuple[jax.Array | Ragged, ...], jax.Array | Ragged | None]:
    """The observables and the weight of a fill as arrays or ``Ragged`` ones.

    Args:
        fill: of a block.
        axes: of its channel.
        rows: of the block.
        where: for the message.

    Raises:
        FillError: if one is not real numbers, one an event or an object, or probabilities of the categories of a discrete axis.
    """
    where = f"{where}, channel {fill.channel!r}, variation {fill.variation!r}"
    observables = tuple(_as_numbers(array, f"{where}: the observable") for array in fill.observables)
    weight = None if fill.weight is None else _as_numbers(fill.weight, f"{where}: the weight")
    objects = {array.shape for array in (*observables, weight) if isinstance(array, Ragged)}
    for array, axis in zip(observables, axes, strict=True):
        of_event = {(rows, len(axis))} if axis.traits.discrete else objects
        if not isinstance(array, Ragged) and array.shape != (rows,) and array.shape not in of_event:
            or_probabilities = f", or the probabilities of {len(axis)} categories" if axis.traits.discrete else ""
            msg = f"{where}: the observable has shape {array.shape}; expected one number for each of the {rows} events of a block{or_probabilities}"
            raise FillError(msg)
    if weight is not None and weight.shape not in ((), (rows,)) and not isinstance(weight, Ragged):
        msg = f"{where}: the weight has shape {weight.shape}; expected one number for each of the {rows} events of a block, or one for all"
        raise FillError(msg)
    if objects and (len(objects) > 1 or next(iter(objects))[0] != rows):
        msg = f"{where}: observables and weight are of unlike objects, of shapes {sorted(objects)}; {rows} events are in a block"
        raise FillError(msg)
    return observables, weight


def _key(fill: Fill, axes: Mapping[str, tuple[Axis, ...]], sample: str, where: str) -> Key:
    if fill.channel not in axes:
        msg = f"{where} fills the channel {fill.channel!r}; `channels` has: {', '.join(axes) or 'none'}"
        raise FillError(msg)
    for what, name in (("sample", fill.sample), ("variation", fill.variation)):
        if not (isinstance(name, str) and name) and not (what == "sample" and name is None):
            msg = f"{where} fills the channel {fill.channel!r} with {what}={name!r}: a {what} is a text, such as {what}='signal'"
            raise FillError(msg)
    if "/" in fill.channel or "/" in fill.variation:
        msg = (
            f"{where} fills channel {fill.channel!r}, variation {fill.variation!r}: the report and the files of a run name templates "
            "channel/sample/variation, so that channels and variations have no '/' in their names"
        )
        raise FillError(msg)
    if len(fill.observables) != len(axes[fill.channel]):
        msg = (
            f"{where} fills the channel {fill.channel!r} with {len(fill.observables)} observables; "
            f"it has {len(axes[fill.channel])} axes"
        )
        raise FillError(msg)
    return fill.channel, fill.sample or sample, fill.variation


def _as_numbers(array: Any, what: str) -> jax.Array | Ragged:
    ragged = isinstance(array, Ragged)
    try:
        numbers = jnp.asarray(array.values if ragged else array)
    except (TypeError, ValueError) as error:
        msg = f"{what} is {type(array).__name__}; expected an array of numbers, or diffea.Ragged"
        raise FillError(msg) from error
    if not (jnp.issubdtype(numbers.dtype, jnp.floating) or numbers.dtype.kind in "bi"):
        msg = f"{what} is of type {numbers.dtype}; expected real numbers"
        raise FillError(msg)
    return Ragged(numbers, jnp.asarray(array.mask)) if ragged else numbers
