"""Sharpen: a local search on hard values, in which each pass tries a step along every parameter, and the next their sums."""

from __future__ import annotations

import numpy as np

from diffea.optimise.passes import Passes

REACH = 0.1  # of a parameter's range: the first steps
SHARES = (1.0, 0.4)  # of the reach, to both sides
SHRINK = 0.4  # where no step was better
NARROWEST = 0.004


def sharpen(passes: Passes, explored: np.ndarray, rounds: int) -> None:
    """Search around the best point, until no step is better however short, or all rounds are done.

    Args:
        passes: which know the best point so far.
        explored: the parameters to step along, shape (parameters,).
        rounds: of at most two passes each.
    """
    (axes,) = np.nonzero(explored)
    reach = np.full(explored.size, REACH)
    for _ in range(rounds):
        alone = [(axis, side * share * reach[axis]) for axis in axes for side in (-1, 1) for share in SHARES]
        at, lowest = passes.best, passes.lowest
        steps = np.zeros((len(alone), explored.size))
        for row, (axis, length) in zip(steps, alone, strict=True):
            row[axis] = length
        gains = lowest - passes.hard("sharpen", at + steps)
        best = {axis: max((gain, length) for gain, (of, length) in zip(gains, alone, strict=True) if of == axis) for axis in axes}
        better = sorted((axis for axis in axes if best[axis][0] > 0), key=lambda axis: -best[axis][0])
        if len(better) > 1:
            sums = np.zeros((len(better) - 1, explored.size))
            for number, row in enumerate(sums):
                for axis in better[: number + 2]:
                    row[axis] = best[axis][1]
            passes.hard("sharpen", at + sums)
        for axis in axes:
            reach[axis] *= 1.0 if axis in better else SHRINK
        if not better and reach[axes].max() < NARROWEST:
            return
