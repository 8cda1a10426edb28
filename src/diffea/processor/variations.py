"""Systematic variations: the same ``fill`` on shifted columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from diffea.errors import VariationError
from diffea.processor.fill import Fill
from diffea.templates.layout import NOMINAL

if TYPE_CHECKING:
    from diffea.processor.base import DifferentiableProcessor

Shift = Callable[[Mapping[str, Any], int], Mapping[str, Any] | None]
DIRECTIONS = {"up": 1, "down": -1}


def with_variations(processor: DifferentiableProcessor, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
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
        VariationError: when a shift does not return columns that exist.
    """
    yield from processor.fill(params, columns)
    for name, shift in processor.variations.items():
        for direction, sign in DIRECTIONS.items():
            shifted = shift(columns, sign)
            if not shifted:
                continue
            unknown = sorted(set(shifted) - set(columns))
            if unknown:
                msg = f"the variation {name!r} shifts {unknown}, but the columns are {sorted(columns)}"
                raise VariationError(msg)
            for fill in processor.fill(params, {**columns, **shifted}):
                if fill.variation == NOMINAL:
                    yield dataclasses.replace(fill, variation=f"{name}_{direction}")
