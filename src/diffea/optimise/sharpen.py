"""Sharpen: a local search on hard values, along each parameter and the sums of what was better."""

from __future__ import annotations

import numpy as np

from diffea.optimise.passes import Passes

REACH = 0.1  # of a parameter's range: the first steps, to both sides
SHRINK = 0.5  # of steps along a parameter neither of which was better
NARROWEST = 0.004


def sharpen(passes: Passes, explored: np.ndarray, rounds: int, reach: float = REACH) -> None:
    """Search around the best point, until no step is better however short, or all rounds are done.

    Args:
        passes: which know the best point so far.
        explored: the parameters to step along, shape (parameters,).
        rounds: of at most two passes each.
        reach: of the first steps, in units of a parameter's range.
    """
    axes, lengths = np.flatnonzero(explored), np.full(explored.size, reach)
    for _ in range(rounds):
        at, lowest = passes.best, passes.lowest
        steps = np.concatenate([side * np.diag(lengths)[axes] for side in (-1, 1)])
        gains = (lowest - passes.look("sharpen", at + steps)).reshape(2, axes.size)
        better = np.argsort(-gains.max(axis=0), kind="stable")[: np.sum(gains.max(axis=0) > 0)]
        if better.size > 1:
            alone = steps.reshape(2, axes.size, -1)[gains.argmax(axis=0)[better], better]
            passes.look("sharpen", at + np.cumsum(alone, axis=0)[1:])
        lengths[np.delete(axes, better)] *= SHRINK
        if not better.size and lengths[axes].max() < NARROWEST:
            return
