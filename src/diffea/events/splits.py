"""Split: train, validation and test events, divided by a hash of what identifies them."""

from __future__ import annotations

import dataclasses
from numbers import Real
from typing import Literal, get_args

import numpy as np

from diffea.errors import SplitError
from diffea.events.scalars import plain
from diffea.types import Events

Part = Literal["train", "validation", "test"]
PARTS = get_args(Part)


@dataclasses.dataclass(frozen=True)
class Split:
    """Parts of the events, the same whatever the chunking, the cluster or the order of files.

    An event is identified by its run, luminosity block and event number where the file has all three, and by the file's
    UUID and the entry number otherwise. Weights of a part are scaled by one over its fraction, to the full yield.

    Args:
        train: fraction of the events that are trained on.
        validation: fraction that is kept for early stopping.
        seed: another seed divides otherwise.
        part: always take this part; by default ``distribute`` takes train and ``evaluate`` test.

    Raises:
        SplitError: if a fraction is not a number within 0 and 1, nothing is left for the test, the seed is not a whole number from 0
            to 2⁶⁴ - 1, or there is no such part.
    """

    train: float = 0.5
    validation: float = 0.0
    seed: int = 0
    part: Part | None = None

    def __post_init__(self) -> None:
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
        if self.part is not None and self.part not in PARTS:
            msg = f"the part of a split is {', '.join(map(repr, PARTS))} or None, got {self.part!r}"
            raise SplitError(msg)
        for name, value in (("train", float(train)), ("validation", float(validation)), ("seed", seed)):
            object.__setattr__(self, name, value)

    def of(self, part: Part) -> Split:
        """The same split, always taking one part."""
        return dataclasses.replace(self, part=part)

    @property
    def interval(self) -> tuple[float, float]:
        """The part's share of the unit interval of hashes."""
        ends = {
            "train": (0.0, self.train),
            "validation": (self.train, self.train + self.validation),
            "test": (self.train + self.validation, 1.0),
        }
        return ends[self.part or "train"]

    @property
    def scale(self) -> float:
        """What weights are multiplied with."""
        low, high = self.interval
        if high <= low:
            msg = f"the {self.part} part of {self} holds no events"
            raise SplitError(msg)
        return 1.0 / (high - low)

    def mask(self, identity: tuple[np.ndarray, ...]) -> np.ndarray:
        """Which events belong to the part.

        Args:
            identity: integer arrays of shape ``(events,)`` that together identify an event.
        """
        low, high = self.interval
        hashed = np.full(identity[0].shape, np.uint64(self.seed))
        for numbers in identity:
            hashed = splitmix64(hashed ^ numbers.astype(np.uint64))
        uniform = (hashed >> np.uint64(11)) * 2.0**-53
        return (low <= uniform) & (uniform < high)


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


def splitmix64(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), a bijection of 64-bit integers."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
