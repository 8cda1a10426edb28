"""Size classes: the events of a batch by how many objects they have, so that one crowded event does not pad all the others.

Within a class events are in the order of what is in them, so that sums over classes are the same to the last bit in whatever order
the events of a batch come.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import awkward as ak
import numpy as np

from diffea.events.columns import Columns
from diffea.events.kinds import EventArray, is_jagged
from diffea.events.splits import splitmix64

ENOUGH = 2.0  # times the numbers that there are, which padding may make of them
WORTH = 1 << 17  # numbers that another class must save, since it compiles again
MOST = 6
RARE = 1 / 64  # of the events: what all others have is usual


def divided(columns: Columns) -> tuple[np.ndarray, ...] | None:
    """The events of each size class, as numbers in the order in which they are to be summed; None if there is one class."""
    classes = size_classes(columns)
    if not classes.any():
        return None
    contents = _contents(columns)
    events = (np.flatnonzero(classes == number) for number in range(classes.max() + 1))
    return tuple(members[np.argsort(contents[members], kind="stable")].astype(np.int32) for members in events)


def size_classes(columns: Columns) -> np.ndarray:
    """Which class each event belongs to; one for all, unless padding costs much.

    A class is divided where one column exceeds a power of two, or where any exceeds what is usual, whichever saves most numbers,
    until padding makes no more than ``ENOUGH`` times the numbers that there are, another class would save less than ``WORTH``,
    or there are ``MOST``.

    Args:
        columns: of a batch.

    Returns:
        integers from 0 on, shape ``(rows,)``.
    """
    jagged = [_counts(array) for array in columns.arrays.values() if is_jagged(array)]
    flat = sum(int(_counts(array).sum()) for array in columns.arrays.values() if not is_jagged(array))
    numbers = flat + sum(int(counts.sum()) for counts in jagged)
    widest = sum(1 << int(_exponents(counts.max(initial=0))) for counts in jagged)
    if flat + columns.rows * widest - numbers < WORTH:
        return np.zeros(columns.rows, np.uint8)
    profiles = _Profiles.of(jagged)
    classes = [np.arange(len(profiles.events))]
    while len(classes) < MOST and flat + sum(map(profiles.slots, classes)) > ENOUGH * numbers:
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
        for few in self._cuts(members):
            parts = [members[few], members[~few]]
            best = max(best, (self.slots(members) - sum(map(self.slots, parts)), parts), key=lambda cut: cut[0])
        return best

    def _cuts(self, members: np.ndarray) -> Iterator[np.ndarray]:
        """Divisions of a class by one list, and one by all lists: where none is longer than it is in all but ``RARE`` of the events."""
        exponents, events = self.exponents[members], self.events[members]
        usual = []
        for list_ in exponents.T:
            found = np.unique(list_)
            usual.append(next(most for most in found if events[list_ > most].sum() <= RARE * events.sum()))
            yield from (list_ <= most for most in found[:-1])
        if not (few := (exponents <= usual).all(axis=1)).all():
            yield few


def _counts(array: EventArray) -> np.ndarray:
    """How many numbers each event has in a column."""
    return (
        ak.to_numpy(ak.num(array, axis=1))
        if is_jagged(array)
        else np.full(len(array), np.prod(np.shape(array)[1:], dtype=int))
    )


def _exponents(counts: np.ndarray) -> np.ndarray:
    """Of the smallest powers of two that are not below the counts."""
    return np.frexp(np.maximum(np.asarray(counts) - 1, 0).astype(float))[1].astype(np.uint8)


def _contents(columns: Columns) -> np.ndarray:
    """A hash of all numbers of an event, 64 bits, shape ``(rows,)``."""
    total = np.zeros(columns.rows, np.uint64)
    for name in sorted(columns.arrays):
        array = columns.arrays[name]
        counts = _counts(array)
        flat = np.asarray(ak.flatten(array, axis=None), dtype=float).reshape(-1)
        ends = np.cumsum(counts)
        number = np.arange(len(flat)) - np.repeat(ends - counts, counts)
        hashed = splitmix64(flat.view(np.uint64) + splitmix64(number.astype(np.uint64)))
        sums = np.concatenate(
            [np.zeros(1, np.uint64), np.cumsum(hashed, dtype=np.uint64)]
        )  # modulo 2⁶⁴, like differences
        total = splitmix64(total ^ (sums[ends] - sums[ends - counts]))
    return total
