"""Evolve: populations of CMA-ES on hard values, side by side, whose generations are wide enough to leave a poor basin."""

from __future__ import annotations

import dataclasses

import numpy as np

from diffea.optimise.passes import Passes

ZOOMS = 3  # passes along a single parameter
LINE = 33  # points of each
WORST = 1e3  # times the lowest loss: what a population is told where the statistics fail
SEED = 0


@dataclasses.dataclass(frozen=True)
class Population:
    """How a population evolves.

    Attributes:
        sigma: of its first generation, in units of a parameter's range.
        size: its points in a pass.
        generations: at most; one pass each.
    """

    sigma: float
    size: int
    generations: int


def evolve(
    passes: Passes, explored: np.ndarray, starts: np.ndarray, population: Population
) -> tuple[np.ndarray, np.ndarray]:
    """Let a population spread from each start and contract (Hansen, arXiv:1604.00772, of the package cmaes).

    Args:
        passes: which know the best point so far.
        explored: the parameters to vary, shape (parameters,).
        starts: shape (starts, parameters).
        population: from each of them. A single parameter is looked at all along its range instead.

    Returns:
        the best point of each population, shape (starts, parameters), and its loss.
    """
    import cmaes  # which imports scipy.stats

    axes = np.flatnonzero(explored)
    if axes.size == 1:
        _line(passes, int(axes[0]))
        return passes.best[None], np.array([passes.lowest])
    low, size = passes.low[axes], (passes.high - passes.low)[axes]
    worst = WORST * max(1.0, abs(passes.lowest))
    bounds = np.tile([0.0, 1.0], (axes.size, 1))
    optimizers = [
        cmaes.CMA(
            (start[axes] - low) / size,
            population.sigma,
            bounds=bounds,
            seed=SEED + number,
            population_size=population.size,
        )
        for number, start in enumerate(starts)
    ]
    best, lowest = np.array(starts), np.full(len(starts), np.inf)
    for _ in range(population.generations):
        if not (alive := [number for number, one in enumerate(optimizers) if not one.should_stop()]):
            break
        drawn = np.stack([[optimizers[number].ask() for _ in range(population.size)] for number in alive])
        points = np.repeat(starts[alive], population.size, axis=0)
        points[:, axes] = low + drawn.reshape(-1, axes.size) * size
        values = np.minimum(passes.look("evolve", points), worst).reshape(len(alive), population.size)
        for number, unit, losses, at in zip(alive, drawn, values, points.reshape(*values.shape, -1), strict=True):
            optimizers[number].tell(list(zip(unit, losses.tolist(), strict=True)))
            if losses.min() < lowest[number]:
                best[number], lowest[number] = at[np.argmin(losses)], losses.min()
    return best, lowest


def _line(passes: Passes, axis: int) -> None:
    """Even steps from bound to bound, then finer ones around the best point."""
    reach = (passes.high - passes.low)[axis]
    middle = passes.low[axis] + reach / 2
    for _ in range(ZOOMS):
        points = np.repeat(passes.best[None], LINE, axis=0)
        points[:, axis] = middle + reach * np.linspace(-0.5, 0.5, LINE)
        passes.look("evolve", points)
        middle, reach = passes.best[axis], 2 * reach / (LINE - 1)
