"""Sharpen: local searches on hard values: along each parameter and the sums of what was better, and along several at random."""

from __future__ import annotations

import numpy as np

from diffea.optimise.passes import Passes

REACH = 0.1  # of a parameter's range: the first steps, to both sides
SHRINK = 0.5  # of steps along a parameter neither of which was better
NARROWEST = 0.004
WIDEST = 0.15  # of random steps
CANDIDATES = 16  # of them in a pass
SHARE = 0.35  # of the parameters that one moves
SEED = 0


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


def wander(passes: Passes, explored: np.ndarray, count: int) -> None:
    """Random steps from the best point along several parameters at once, of lengths that grow with success and shrink without.

    Args:
        passes: which know the best point so far.
        explored: the parameters to step along, shape (parameters,).
        count: of passes.
    """
    random, axes, length = np.random.default_rng(SEED), np.flatnonzero(explored), WIDEST
    for _ in range(count):
        chosen = random.random((CANDIDATES, axes.size)) < max(SHARE, 1.0 / axes.size)
        chosen[np.arange(CANDIDATES), random.integers(axes.size, size=CANDIDATES)] = True
        sizes = length * np.exp(random.normal(size=(CANDIDATES, 1)))
        steps = np.zeros((CANDIDATES, explored.size))
        steps[:, axes] = chosen * sizes * random.normal(size=chosen.shape)
        before = passes.lowest
        passes.look("sharpen", passes.best + steps)
        length = np.clip(length * (1.2 if passes.lowest < before else 0.85), NARROWEST, WIDEST)
