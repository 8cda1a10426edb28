"""Verify: the hard loss along each parameter around the best point, all in one pass."""

from __future__ import annotations

import numpy as np

from diffea.optimise.passes import Passes
from diffea.optimise.result import At, Scan

DISTANCES = (0.005, 0.02, 0.08)  # of a parameter's range, to both sides


def scan(passes: Passes, explored: np.ndarray) -> dict[int, Scan]:
    """The scan of each explored parameter, by its number; the best point may change by it.

    Args:
        passes: which know the best point so far.
        explored: the parameters to scan, shape (parameters,).
    """
    at, lowest = passes.best, passes.lowest
    places = {}
    for axis in np.flatnonzero(explored):
        steps = np.array([side * distance for side in (-1, 1) for distance in DISTANCES])
        beside = np.unique(np.clip(at[axis] + steps, passes.low[axis], passes.high[axis]))
        places[int(axis)] = beside[beside != at[axis]]
    points = np.concatenate([_along(at, axis, beside) for axis, beside in places.items()])
    values = np.split(passes.look("verify", points), np.cumsum([len(beside) for beside in places.values()])[:-1])
    return {
        axis: _scan(passes, axis, at, lowest, beside, losses)
        for (axis, beside), losses in zip(places.items(), values, strict=True)
    }


def _along(at: np.ndarray, axis: int, beside: np.ndarray) -> np.ndarray:
    points = np.repeat(at[None], len(beside), axis=0)
    points[:, axis] = beside
    return points


def _scan(passes: Passes, axis: int, at: np.ndarray, lowest: float, beside: np.ndarray, losses: np.ndarray) -> Scan:
    places, found = np.append(beside, at[axis]), np.append(losses, lowest)
    order = np.argsort(places)
    values = [passes.flat_params(point)[axis] for point in _along(at, axis, places[order])]
    return Scan(tuple(map(float, values)), tuple(map(float, found[order])), _verdict(passes, axis, at, lowest, losses))


def _verdict(passes: Passes, axis: int, at: np.ndarray, lowest: float, losses: np.ndarray) -> At:
    if losses.min() < lowest:
        return "higher than beside it"
    if (losses == lowest).all():
        return "flat"
    if at[axis] <= passes.low[axis]:
        return "lower bound"
    return "upper bound" if at[axis] >= passes.high[axis] else "minimum"
