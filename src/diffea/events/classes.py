"""Size classes: the events of a batch by how many objects they have, so that one crowded event does not pad all the others."""

from __future__ import annotations

import dataclasses
from collections import Counter

import awkward as ak
import numpy as np

from diffea.events.columns import Columns
from diffea.events.kinds import is_jagged

ENOUGH = 2.0  # times the numbers that there are, which padding may make of them
WORTH = 1 << 17  # numbers that another class must save, since it compiles again
MOST = 4


def size_classes(columns: Columns) -> np.ndarray:
    """Which class each event belongs to; one for all, unless padding costs much.

    A class is divided where one column exceeds a power of two, wherever that saves most numbers, until padding no longer makes more
    than ``ENOUGH`` times the numbers of them, or less than ``WORTH`` are saved, or there are ``MOST`` classes.

    Args:
        columns: of a batch.

    Returns:
        integers from 0 on, shape ``(rows,)``.
    """
    jagged = [ak.to_numpy(ak.num(array, axis=1)) for array in columns.arrays.values() if is_jagged(array)]
    flat = sum(int(np.prod(np.shape(array)[1:])) for array in columns.arrays.values() if not is_jagged(array))
    numbers = columns.rows * flat + sum(int(counts.sum()) for counts in jagged)
    widest = sum(1 << int(_exponents(counts.max(initial=0))) for counts in jagged)
    if columns.rows * (flat + widest) - numbers < WORTH:
        return np.zeros(columns.rows, np.uint8)
    profiles = _Profiles.of(jagged)
    classes = [np.arange(len(profiles.events))]
    while len(classes) < MOST and columns.rows * flat + sum(map(profiles.slots, classes)) > ENOUGH * numbers:
        number, saving, parts = max(
            ((number, *profiles.best_cut(members)) for number, members in enumerate(classes)), key=lambda cut: cut[1]
        )
        if saving < WORTH:
            break
        classes[number : number + 1] = parts
    of_profile = np.empty(len(profiles.events), np.uint8)
    for number, members in enumerate(classes):
        of_profile[members] = number
    return of_profile[profiles.place]


@dataclasses.dataclass(frozen=True)
class _Profiles:
    """The powers of two that hold the multiplicities of an event, of which few are different.

    Attributes:
        exponents: shape ``(profiles, lists)``, of columns with unlike multiplicities.
        columns: how many share each of these lists, shape ``(lists,)``.
        events: how many have each profile, shape ``(profiles,)``.
        place: the profile of each event, shape ``(events,)``.
    """

    exponents: np.ndarray
    columns: np.ndarray
    events: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, jagged: list[np.ndarray]) -> _Profiles:
        """Of the multiplicities of some columns, each of shape ``(events,)``."""
        shared = Counter(_exponents(counts).tobytes() for counts in jagged)
        lists = np.stack([np.frombuffer(text, np.uint8) for text in shared], axis=1)
        place = np.zeros(len(lists), np.int64)
        for exponents in lists.T:
            _, first, place, events = np.unique(
                64 * place + exponents, return_index=True, return_inverse=True, return_counts=True
            )
        return cls(lists[first], np.array(list(shared.values())), events, place)

    def slots(self, members: np.ndarray) -> int:
        """How many slots a class of these profiles has in all columns."""
        return int(
            self.events[members].sum() * (self.columns << self.exponents[members].max(axis=0).astype(np.int64)).sum()
        )

    def best_cut(self, members: np.ndarray) -> tuple[int, list[np.ndarray]]:
        """The slots saved by the best division of a class in two, and the two."""
        best: tuple[int, list[np.ndarray]] = 0, []
        for exponents in self.exponents[members].T:
            for largest in np.unique(exponents)[:-1]:
                parts = [members[exponents <= largest], members[exponents > largest]]
                saving = self.slots(members) - sum(map(self.slots, parts))
                best = max(best, (saving, parts), key=lambda cut: cut[0])
        return best


def _exponents(counts: np.ndarray) -> np.ndarray:
    """Of the smallest powers of two that are not below the counts."""
    return np.frexp(np.maximum(np.asarray(counts) - 1, 0).astype(float))[1].astype(np.uint8)
