"""Evolve: CMA-ES on hard values from the best point, whose generations are wide enough to leave a poor basin."""

from __future__ import annotations

import numpy as np

from diffea.optimise.passes import Passes

SIGMA = 0.3  # of the first generation, in units of a parameter's range
POPULATION = 16  # points of a pass
ZOOMS = 3  # passes along a single parameter
WORST = 1e3  # times the lowest loss: what it is told where the statistics fail
SEED = 0


def evolve(passes: Passes, explored: np.ndarray, generations: int) -> None:
    """Let a population spread from the best point and contract (Hansen, arXiv:1604.00772, of the package cmaes).

    Args:
        passes: which know the best point so far.
        explored: the parameters to vary, shape (parameters,).
        generations: at most; one pass each. A single parameter is looked at all along its range instead.
    """
    import cmaes  # which imports scipy.stats

    axes, begin = np.flatnonzero(explored), passes.best
    if axes.size == 1:
        _line(passes, int(axes[0]))
        return
    low, size = passes.low[axes], (passes.high - passes.low)[axes]
    worst = WORST * max(1.0, abs(passes.lowest))
    optimizer = cmaes.CMA(
        mean=(begin[axes] - low) / size, sigma=SIGMA, bounds=np.tile([0.0, 1.0], (axes.size, 1)), seed=SEED,
        population_size=POPULATION,
    )  # fmt: skip
    for _ in range(generations):
        drawn = np.stack([optimizer.ask() for _ in range(POPULATION)])
        points = np.repeat(begin[None], POPULATION, axis=0)
        points[:, axes] = low + drawn * size
        values = np.minimum(passes.look("evolve", points), worst)
        optimizer.tell(list(zip(drawn, values.tolist(), strict=True)))
        if optimizer.should_stop():
            return


def _line(passes: Passes, axis: int) -> None:
    """Even steps from bound to bound, then finer ones around the best point."""
    reach = (passes.high - passes.low)[axis]
    middle = passes.low[axis] + reach / 2
    for _ in range(ZOOMS):
        points = np.repeat(passes.best[None], 2 * POPULATION + 1, axis=0)
        points[:, axis] = middle + reach * np.linspace(-0.5, 0.5, len(points))
        passes.look("evolve", points)
        middle, reach = passes.best[axis], reach / POPULATION
