"""Auto: explore, descend, evolve, sharpen, verify: the whole way to the best hard cuts, many points a pass."""

from __future__ import annotations

import functools

import numpy as np

from diffea.optimise.composite import Composite
from diffea.optimise.descend import together
from diffea.optimise.evaluation import flat_loss
from diffea.optimise.evolve import Population, evolve
from diffea.optimise.explore import apart, spread
from diffea.optimise.loops import Run
from diffea.optimise.passes import EnoughError, Passes
from diffea.optimise.result import Result, Scan
from diffea.optimise.sharpen import sharpen
from diffea.optimise.verify import scan
from diffea.types import Params

EXPLORED = 33  # points, the start among them
MOST = 64  # parameters with bounds; more, such as the weights of a network, are not explored one by one
STARTS = 3  # that lie apart, of descents and populations
APART = 0.15  # of the range of a parameter
WIDTHS = (1.0, 0.4)  # what the widths are multiplied by, before and after the populations
EVALUATIONS = 4  # of each descent
ALONE = 150  # descents from a single start, where nothing is explored
WIDE = Population(sigma=0.25, size=8, generations=24)  # from each start
NARROW = Population(sigma=0.1, size=16, generations=12)  # from the best point of all
ROUNDS = 3  # of the local search along each parameter
VERIFICATIONS = 2  # at most, as long as the scan finds what is lower


def auto(run: Run, loss: Composite, start: Params) -> Result:
    """Minimise the loss with exact cuts; the number of ``run.steps`` is that of passes.

    Args:
        run: what to minimise.
        loss: the same loss, in its two parts.
        start: parameters.
    """
    passes = Passes(run, loss, start)
    explored = _explored(passes)
    scans: dict[int, Scan] = {}
    try:
        _search(passes, explored, scans)
        message = "explored, descended, evolved, sharpened and verified"
    except EnoughError:
        message = f"all {run.steps} passes made"
    return passes.result(message, scans)


def _search(passes: Passes, explored: np.ndarray, scans: dict[int, Scan]) -> None:
    if not explored.any():
        points = passes.begin[None]
        for widths in WIDTHS:
            points, _ = _descend(passes, points, widths, ALONE)
        return
    points = spread(passes.low, passes.high, passes.begin, explored, EXPLORED)
    points = points[apart(points, passes.look("explore", points), STARTS, APART)]
    points, _ = _descend(passes, points, WIDTHS[0], EVALUATIONS)
    points, before = evolve(passes, explored, points, WIDE)
    ends, after = _descend(passes, points, WIDTHS[1], EVALUATIONS)
    sharpen(passes, explored, np.where((after < before)[:, None], ends, points), ROUNDS)
    evolve(passes, explored, passes.best[None], NARROW)
    sharpen(passes, explored, passes.best[None], ROUNDS)
    for _ in range(VERIFICATIONS):
        scans.clear()
        scans.update(scan(passes, explored))
        if all(found.at != "higher than beside it" for found in scans.values()):
            return
        sharpen(passes, explored, passes.best[None], 2, reach=0.02)


def _descend(passes: Passes, starts: np.ndarray, widths: float, evaluations: int) -> tuple[np.ndarray, np.ndarray]:
    """The ends of descents side by side, and their losses with exact cuts."""
    evaluate = functools.partial(passes.slope, "descend", widths=widths)
    ends, _ = together(evaluate, starts, passes.low, passes.high, evaluations)
    values = passes.look("descend", ends)
    if passes.flat:
        raise flat_loss(passes.lowest, "at the start and wherever it was looked at")
    return ends, values


def _explored(passes: Passes) -> np.ndarray:
    """Which parameters have a range within which to look."""
    bounded = np.isfinite(passes.low) & np.isfinite(passes.high)
    return bounded if bounded.sum() <= MOST else np.zeros_like(bounded)
