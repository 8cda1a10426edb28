"""Fill: events that go into one template."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from diffea.errors import FillError
from diffea.templates.layout import NOMINAL, Key


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
    observable: Any
    weight: Any = None
    _: dataclasses.KW_ONLY
    sample: str | None = None
    variation: str = NOMINAL
    bandwidth: Any = None
    kernel: str = "biweight"

    @property
    def observables(self) -> tuple[Any, ...]:
        """One array for each axis of the channel."""
        return self.observable if isinstance(self.observable, tuple) else (self.observable,)


def named(fills: Iterable[Fill], axes: dict[str, tuple[Any, ...]], sample: str, where: str) -> list[tuple[Key, Fill]]:
    """The fills with the templates they go into.

    Args:
        fills: what a processor's ``fill`` yields.
        axes: of each channel.
        sample: of the dataset being read.
        where: for the message.

    Raises:
        FillError: if one is not a Fill, or does not fit its channel.
    """
    found = []
    for fill in fills:
        if not isinstance(fill, Fill):
            msg = f"{where} must yield diffea.Fill(channel, observable, weight), got {type(fill).__name__}"
            raise FillError(msg)
        if fill.channel not in axes:
            msg = f"{where} fills the channel {fill.channel!r}; `channels` has: {', '.join(axes) or 'none'}"
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
        found.append(((fill.channel, fill.sample or sample, fill.variation), fill))
    return found
