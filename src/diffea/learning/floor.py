"""A floor under empty bins: what a bin may hold although no simulated event fell into it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

from diffea.errors import SpecError
from diffea.processor import DifferentiableProcessor
from diffea.processor.base import axes_of
from diffea.types import JSONDict, JSONMapping

UNSIMULATED = "unsimulated"


def with_floor(
    spec: JSONMapping, processor: DifferentiableProcessor, events: float | Mapping[str, float] = 1.0
) -> JSONDict:
    """The specification with one more sample in every channel, ``unsimulated``: so many events, known to 100 %, in each bin.

    A bin without simulated background has the MC-statistical error 0 by Σw², so that both an optimiser and a limit believe that nothing is
    there, and the one looks for such corners. With the floor a bin holds w ± w more, where w is what one simulated background event
    stands for: a bin that w would have reached e⁻¹ of the time without showing is no longer free. It adds to the error of filled bins in
    quadrature, by the channel's own ``staterror``, and costs next to nothing where a bin has many events.

    Args:
        spec: of a HistFactory model, templates named in place of numbers.
        processor: whose channels tell how many bins there are.
        events: w, the typical weight of a simulated background event; one number, or one for each channel.

    Raises:
        SpecError: if a channel is not the processor's, has such a sample already, or w is not positive.
    """
    made, axes = copy.deepcopy(dict(spec)), axes_of(processor)
    for channel in made.get("channels", []):
        name = channel["name"]
        if name not in axes:
            msg = f"the processor has no channel {name!r}, whose bins get a floor; it has: {', '.join(axes)}"
            raise SpecError(msg)
        if any(sample["name"] == UNSIMULATED for sample in channel["samples"]):
            msg = f"channel {name!r} has a sample {UNSIMULATED!r} already"
            raise SpecError(msg)
        floor = events.get(name) if isinstance(events, Mapping) else events
        if floor is None or not 0 < floor < math.inf:
            msg = f"the floor of channel {name!r} is a positive number of events, got {floor!r}"
            raise SpecError(msg)
        data = [float(floor)] * math.prod(axis.size for axis in axes[name])
        channel["samples"].append(
            {
                "name": UNSIMULATED,
                "data": data,
                "modifiers": [{"name": _staterror(channel), "type": "staterror", "data": data}],
            }
        )
    return made


def _staterror(channel: JSONMapping) -> str:
    """The name of the channel's ``staterror``, of which pyhf allows one; a new one where there is none."""
    named = (
        modifier["name"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
        if modifier["type"] == "staterror"
    )
    return next(named, f"mcstat_{channel['name']}")
