"""Layout: where each template lies in one flat vector of bins."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence

import hist
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import TemplateError, UnknownTemplateError
from diffea.histograms import edges_of
from diffea.types import Axis

Key = tuple[str, str, str]
NOMINAL = "nominal"


def as_key(name: object) -> Key:
    """Complete ``(channel, sample)`` to ``(channel, sample, "nominal")``."""
    if isinstance(name, tuple) and len(name) in (2, 3) and all(isinstance(part, str) for part in name):
        return (*name, NOMINAL)[:3]
    msg = f"a template is named by (channel, sample) or (channel, sample, variation), got {name!r}"
    raise UnknownTemplateError(msg)


def check_variations(parts: Sequence[Iterable[Key]]) -> None:
    """See that what adds up to a varied template are the same events as those of the nominal one, or events of its own.

    Args:
        parts: the templates that each part of the events fills.

    Raises:
        TemplateError: naming a variation that one part of the nominal events fills, and another one not.
    """
    filled = [set(part) for part in parts]
    for key in sorted(set().union(*filled)):
        channel, sample, variation = key
        nominal = [part for part in filled if (channel, sample, NOMINAL) in part]
        if 0 < sum(key in part for part in nominal) < len(nominal):
            msg = (
                f"the variation {variation!r} of sample {sample!r} in channel {channel!r} is filled from some of its datasets only, so that "
                "it would lack the events of the others: fill it from all of them, unshifted where nothing shifts, or give them samples of their own"
            )
            raise TemplateError(msg)


def with_edges(axis: Axis, edges: ArrayLike) -> hist.axis.Variable:
    """An axis of other edges, otherwise like this one: name, label, and whether there are flow bins."""
    traits = axis.traits
    return hist.axis.Variable(
        np.asarray(edges), name=axis.name, label=axis.label, underflow=traits.underflow, overflow=traits.overflow
    )


def axis_identity(axis: Axis) -> tuple[object, ...]:
    """What two axes must have in common for their bins to be the same: name, kind, flow bins, and every edge or category."""
    traits = axis.traits
    flags = tuple(
        getattr(traits, name) for name in ("underflow", "overflow", "circular", "growth", "discrete", "ordered")
    )
    return axis.name, flags, tuple(axis) if traits.discrete else tuple(edges_of(axis).tolist())


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Where each template lies in one flat vector of bins; flow bins included, C order.

    Args:
        axes: the axes of each channel.
        keys: the templates, in the order in which they lie.
    """

    axes: Mapping[str, tuple[Axis, ...]]
    keys: tuple[Key, ...]

    @functools.cached_property
    def identity(self) -> tuple[object, ...]:
        channels = sorted({channel for channel, _, _ in self.keys})
        return self.keys, tuple((channel, *map(axis_identity, self.axes[channel])) for channel in channels)

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.identity == other.identity

    def shape(self, channel: str) -> tuple[int, ...]:
        """Bins of each axis, the two flow bins included."""
        return tuple(len(axis) + 2 for axis in self.axes[channel])

    @functools.cached_property
    def spans(self) -> dict[Key, slice]:
        """The part of the flat vector that belongs to each template."""
        spans, start = {}, 0
        for key in self.keys:
            stop = start + math.prod(self.shape(key[0]))
            spans[key] = slice(start, stop)
            start = stop
        return spans

    @functools.cached_property
    def size(self) -> int:
        return sum(math.prod(self.shape(channel)) for channel, _, _ in self.keys)

    def union(self, other: Layout) -> Layout:
        """The layout of the templates of both.

        Raises:
            TemplateError: if a channel of both has other axes here than there, or a sample of both a variation on one side alone.
        """
        if self == other:
            return self
        check_variations([self.keys, other.keys])
        for channel in sorted({key[0] for key in self.keys} & {key[0] for key in other.keys}):
            pair = [tuple(map(axis_identity, layout.axes[channel])) for layout in (self, other)]
            if pair[0] != pair[1]:
                msg = f"templates on unlike axes in channel {channel!r} do not add up: got {self.axes[channel]} and {other.axes[channel]}"
                raise TemplateError(msg)
        return Layout({**other.axes, **self.axes}, tuple(sorted({*self.keys, *other.keys})))

    def within(self, whole: Layout) -> np.ndarray:
        """Positions of this layout's bins in another one that has all of its templates."""
        if not self.keys:
            return np.empty(0, dtype=np.intp)
        positions = np.arange(whole.size)
        return np.concatenate([positions[whole.spans[key]] for key in self.keys])
