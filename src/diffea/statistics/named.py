"""Parameters of a model by their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffea.errors import SpecError
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import parameter_names
from diffea.statistics.layout import Layout
from diffea.statistics.yields import is_concrete


def indices(layout: Layout, name: str) -> list[int]:
    """Places of a parameter (``"mu"``, ``"gamma[3]"``) or of a whole set (``"gamma"``) among all parameters.

    Raises:
        SpecError: if there is none.
    """
    if name in layout.sets:
        places = layout.sets[name].slice
        return list(range(places.start, places.stop))
    known = parameter_names(layout)
    if name in known:
        return [known.index(name)]
    sets = [each if item.is_scalar else f"{each}[0..{item.n_parameters - 1}]" for each, item in layout.sets.items()]
    msg = f"no parameter {name!r}, the model has {sets}"
    raise SpecError(msg)


def index(layout: Layout, name: str) -> int:
    """Place of one parameter among all.

    Raises:
        SpecError: if there is none, or a set of several.
    """
    places = indices(layout, name)
    if len(places) > 1:
        msg = f"{name!r} is a set of {len(places)} parameters: name one of them, {name}[0] to {name}[{len(places) - 1}]"
        raise SpecError(msg)
    return places[0]


def free_index(bound: BoundModel, name: str) -> int:
    """Place of one parameter that a fit may move.

    Raises:
        SpecError: if there is none, a set of several, or a fixed one.
    """
    place = index(bound.layout, name)
    if _is_fixed(bound, place):
        msg = (
            f"the parameter {name!r} is fixed, by the measurement or because its bin has no events or no uncertainty: a "
            "fit cannot move it"
        )
        raise SpecError(msg)
    return place


def mask(layout: Layout, places: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which parameters are at these places, shape (npars,)."""
    return np.isin(np.arange(layout.npars), places)


def _is_fixed(bound: BoundModel, place: int) -> bool:
    """As far as it is known: where the yields decide and are being traced, it is not."""
    item = next(s for s in bound.layout.sets.values() if s.slice.start <= place < s.slice.stop)
    if item.fixed is not None:
        return bool(item.fixed[place - item.slice.start])
    fixed = bound.prepared().fixed
    return is_concrete(fixed) and bool(fixed[place])
