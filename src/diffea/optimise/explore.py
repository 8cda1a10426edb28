"""Explore: quasi-random points within the bounds, and the best few that lie apart."""

from __future__ import annotations

import numpy as np
import scipy

SEED = 0


def spread(low: np.ndarray, high: np.ndarray, begin: np.ndarray, explored: np.ndarray, count: int) -> np.ndarray:
    """The start, and points of a scrambled Sobol sequence in the explored dimensions; the others stay at the start.

    Args:
        low, high: bounds in the units of steps, shape (parameters,).
        begin: the start, likewise.
        explored: which parameters to vary, shape (parameters,).
        count: of points, the start among them; one more than a power of two fills the box most evenly.

    Returns:
        shape (count, parameters).
    """
    points = np.repeat(begin[None], count, axis=0)
    if count > 1:
        sequence = scipy.stats.qmc.Sobol(int(explored.sum()), seed=SEED).random(count - 1)
        points[1:, explored] = low[explored] + sequence * (high - low)[explored]
    return points


def apart(points: np.ndarray, values: np.ndarray, count: int, distance: float) -> list[int]:
    """The best few points, none nearer to a better one than ``distance`` in every parameter.

    Args:
        points: shape (points, parameters).
        values: of the loss, shape (points,).
        count: at most so many.
        distance: in the units of steps.
    """
    found: list[int] = []
    for number in np.argsort(values, kind="stable"):
        near = any(np.abs(points[number] - points[other]).max() <= distance for other in found)
        if np.isfinite(values[number]) and not near:
            found.append(int(number))
        if len(found) == count:
            break
    return found
