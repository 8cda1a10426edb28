"""Systematic variations: the same ``fill`` on shifted columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from diffea.errors import VariationError
from diffea.processor.fill import Fill, fills_in
from diffea.templates.layout import NOMINAL
from diffea.types import Params, PyTree

Shift = Callable[[Mapping[str, PyTree], int], Mapping[str, PyTree] | None]
DIRECTIONS = {"up": 1, "down": -1}


class Varied(Protocol):
    """What has fills and variations."""

    variations: Mapping[str, Shift]

    def fill(self, params: Params, columns: Mapping[str, PyTree]) -> Iterable[Fill]:
        """The fills."""


def with_variations(processor: Varied, params: Params, columns: Mapping[str, PyTree]) -> Iterator[Fill]:
    """What ``fill`` yields, and again, for each of ``processor.variations``, on the columns shifted up and down.

    All are one compiled program: what a shift does not touch is computed once, and a shift that only replaces a weight
    costs a product and another sum.

    Args:
        processor: whose ``fill`` is run.
        params: the parameters.
        columns: of a block.

    Yields:
        Fills; a variation's are named ``"tes_up"`` and ``"tes_down"`` after its name ``"tes"``.

    Raises:
        VariationError: when a shift does not return columns that exist, or ``fill`` makes one of the variations itself.
    """
    where = f"{type(processor).__name__}.fill"
    own = fills_in(processor.fill(params, columns), where)
    yield from own
    for name, shifted in shifts_of(processor, columns):
        for fill in fills_in(processor.fill(params, {**columns, **shifted}), where):
            if fill.variation == NOMINAL:
                if any(_same_template(fill, name, other) for other in own):
                    msg = f"{where} fills the variation {name!r} of channel {fill.channel!r}, which `variations` makes too: leave one of them away"
                    raise VariationError(msg)
                yield dataclasses.replace(fill, variation=name)


def _same_template(fill: Fill, name: str, other: Fill) -> bool:
    """Whether a fill's variation of this name and another fill go into one template of some dataset, whose own sample is the one without a name."""
    samples = {fill.sample, other.sample}
    return (fill.channel, name) == (other.channel, other.variation) and (len(samples) == 1 or None in samples)


def shifts_of(processor: Varied, columns: Mapping[str, PyTree]) -> Iterator[tuple[str, Mapping[str, PyTree]]]:
    """Every variation that shifts something, ``"tes_up"``, with the columns that it shifts.

    Raises:
        VariationError: when a shift does not return columns that exist.
    """
    for name, shift in processor.variations.items():
        for direction, sign in DIRECTIONS.items():
            shifted = shift(columns, sign)
            if shifted is not None and not isinstance(shifted, Mapping):
                msg = f"the variation {name!r} must return a dict of columns, or None, got {type(shifted).__name__}"
                raise VariationError(msg)
            if unknown := sorted(set(shifted or ()) - set(columns)):
                msg = f"the variation {name!r} shifts {unknown}, but the columns are {sorted(columns)}"
                raise VariationError(msg)
            if shifted:
                yield f"{name}_{direction}", shifted
