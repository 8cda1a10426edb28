"""Folds: which parameters judge an event. `fold_of(seed, folds, run, luminosity_block, event)` with integer arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def fold_of(seed: int, folds: int, *identity: Any) -> Any:
    """The fold of each event, whose parameters were trained without it.

    Args:
        seed: of the split.
        folds: how many there are.
        identity: run, luminosity block and event number; where a file has them not, the upper and the lower 64 bits of the file's UUID, and the entry.
    """
    return np.floor(uniform(seed, *identity) * folds).astype(int)


def uniform(seed: int, *identity: Any) -> Any:
    """A number from 0 up to 1 for each event, made of what identifies it."""
    hashed = np.full(len(identity[0]), np.uint64(seed))
    for numbers in identity:
        hashed = splitmix64(hashed ^ np.asarray(numbers).astype(np.uint64))
    return (hashed >> np.uint64(11)) * 2.0**-53


def splitmix64(numbers: Any) -> Any:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
