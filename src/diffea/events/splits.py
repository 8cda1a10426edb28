"""Split: train, validation and test events, divided by a hash of what identifies them."""

from __future__ import annotations

import dataclasses
from numbers import Real
from typing import Literal, get_args

import numpy as np

from diffea.errors import SplitError
from diffea.events.scalars import plain
from diffea.types import Events

Part = Literal["train", "validation", "test", "fold"]
PARTS = get_args(Part)
MOST_FOLDS = 1_000


@dataclasses.dataclass(frozen=True)
class Split:
    """Parts of the events, the same whatever the chunking, the cluster or the order of files.

    An event is identified by its run, luminosity block and event number where the file has all three, and by the file's
    UUID and the entry number otherwise. Weights of a part are scaled by one over its fraction, to the full yield.

    With folds, parameters are trained once without each fold, and judged on it: ``split.without(0)`` trains on all folds but the first,
    which is its test part. The part ``"fold"`` is that too, with the weights that events have: those of all folds add up.

    >>> [fold.fold for fold in diffea.Split(folds=2).each]
    [0, 1]
    >>> diffea.Split(train=0.25, validation=0.25).of("test").share
    0.5

    Args:
        train: fraction of the events that are trained on; with folds, all of the others.
        validation: fraction that is kept for early stopping; with folds, of the events that are not in the fold.
        seed: another seed divides otherwise.
        part: always take this part; by default ``distribute`` takes train and ``evaluate`` test.
        folds: into how many to divide the events, instead of into training and test.
        fold: which of them is not trained on, counted from 0; see ``without``.

    Raises:
        SplitError: if a fraction is not a number within 0 and 1, nothing is left for the test, the seed is not a whole number from 0
            to 2⁶⁴ - 1, there is no such part, folds are fewer than two, or there is no such fold.
    """

    train: float = 0.5
    validation: float = 0.0
    seed: int = 0
    part: Part | None = None
    folds: int | None = None
    fold: int | None = None

    def __post_init__(self) -> None:
        self._check_folds()
        train, validation = plain(self.train), plain(self.validation)
        numbers = all(isinstance(number, Real) and not isinstance(number, bool) for number in (train, validation))
        if not (numbers and train > 0 and validation >= 0 and train + validation < 1):
            msg = (
                "a split needs 0 < train, 0 ≤ validation and train + validation < 1 (the rest is the test part), "
                f"got train={self.train!r}, validation={self.validation!r}"
            )
            raise SplitError(msg)
        seed = plain(self.seed)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
            msg = f"the seed of a split is a whole number from 0 to 2⁶⁴ - 1, got {self.seed!r}"
            raise SplitError(msg)
        parts = PARTS if self.folds is not None else PARTS[:-1]
        if self.part is not None and self.part not in parts:
            msg = f"the part of a split is {', '.join(map(repr, parts))} or None, got {self.part!r}"
            raise SplitError(msg)
        for name, value in (
            ("train", float(train)),
            ("validation", float(validation)),
            ("seed", seed),
            ("folds", plain(self.folds)),
            ("fold", plain(self.fold)),
        ):
            object.__setattr__(self, name, value)

    def _check_folds(self) -> None:
        folds, fold = plain(self.folds), plain(self.fold)
        known = folds is None or _counts(folds, 2, MOST_FOLDS)
        if not known or not (fold is None or (folds is not None and _counts(fold, 0, folds - 1))):
            msg = f"a split has 2 to {MOST_FOLDS} folds, and a fold is one of them, counted from 0; got folds={folds!r}, fold={fold!r}"
            raise SplitError(msg)
        if folds is not None and plain(self.train) != type(self).train:
            msg = f"with folds all others are trained on: leave train away, got train={self.train!r}, folds={folds}"
            raise SplitError(msg)

    def of(self, part: Part) -> Split:
        """The same split, always taking one part."""
        return dataclasses.replace(self, part=part)

    def without(self, fold: int) -> Split:
        """The same split, with this fold as what is not trained on."""
        return dataclasses.replace(self, fold=fold)

    @property
    def each(self) -> tuple[Split, ...]:
        """This split for each of its folds; this one alone where it has none, or names one."""
        return (self,) if self.folds is None or self.fold is not None else tuple(map(self.without, range(self.folds)))

    @property
    def interval(self) -> tuple[float, float]:
        """The part's share of the unit interval of hashes, where there are no folds."""
        ends = {
            "train": (0.0, self.train),
            "validation": (self.train, self.train + self.validation),
            "test": (self.train + self.validation, 1.0),
        }
        return ends[self.part or "train"]

    @property
    def share(self) -> float:
        """Of the events, that are in the part."""
        if self.folds is None:
            low, high = self.interval
            return high - low
        of_others = {"train": 1.0 - self.validation, "validation": self.validation}.get(self.part or "train")
        return 1.0 / self.folds if of_others is None else of_others * (1.0 - 1.0 / self.folds)

    @property
    def scale(self) -> float:
        """What weights are multiplied with."""
        if self.share <= 0:
            msg = f"the {self.part} part of {self} holds no events"
            raise SplitError(msg)
        return 1.0 if self.part == "fold" else 1.0 / self.share

    def mask(self, identity: tuple[np.ndarray, ...]) -> np.ndarray:
        """Which events belong to the part.

        Args:
            identity: integer arrays of shape ``(events,)`` that together identify an event.

        Raises:
            SplitError: with folds, if it is not said which of them is not trained on.
        """
        hashed = np.full(identity[0].shape, np.uint64(self.seed))
        for numbers in identity:
            hashed = splitmix64(hashed ^ numbers.astype(np.uint64))
        if self.folds is None:
            low, high = self.interval
            return (low <= uniform(hashed)) & (uniform(hashed) < high)
        if self.fold is None:
            msg = f"{self} does not say which fold is not trained on: give split.without(0), …, one after the other"
            raise SplitError(msg)
        inside = np.floor(uniform(hashed) * self.folds) == self.fold
        if self.part in ("test", "fold"):
            return inside
        kept = uniform(splitmix64(hashed)) < self.validation
        return ~inside & (kept if self.part == "validation" else ~kept)


def _counts(number: object, low: int, high: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and low <= number <= high


def identity(events: Events, uuid: str, start: int) -> tuple[np.ndarray, ...]:
    """What identifies the events of a chunk.

    Args:
        events: NanoEvents of the chunk.
        uuid: of the file.
        start: the chunk's first entry in the file.
    """
    if {"run", "luminosityBlock", "event"} <= set(events.fields):
        return tuple(np.asarray(events[name]) for name in ("run", "luminosityBlock", "event"))
    high, low = divmod(int(uuid.replace("-", ""), 16), 2**64)
    entries = np.arange(start, start + len(events), dtype=np.uint64)
    return np.full_like(entries, high), np.full_like(entries, low), entries


def uniform(hashed: np.ndarray) -> np.ndarray:
    """Hashes as numbers from 0 up to, and not, 1."""
    return (hashed >> np.uint64(11)) * 2.0**-53


def splitmix64(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), a bijection of 64-bit integers."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
