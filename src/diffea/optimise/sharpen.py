"""Sharpen: local searches on hard values, side by side, along each parameter and the sums of what was better."""

from __future__ import annotations

import numpy as np

from diffea.optimise.passes import Passes

REACH = 0.1  # of a parameter's range: the first steps, to both sides
SHRINK = 0.5  # of steps along a parameter neither of which was better
NARROWEST = 0.004


def sharpen(passes: Passes, explored: np.ndarray, starts: np.ndarray, rounds: int, reach: float = REACH) -> None:
    """Search around some points, until no step is better however short, or all rounds are done.

    Args:
        passes: which remember the best point.
        explored: the parameters to step along, shape (parameters,).
        starts: shape (starts, parameters).
        rounds: of at most two passes each.
        reach: of the first steps, in units of a parameter's range.
    """
    searches = [_Search(passes, explored, start, reach) for start in starts]
    _look(passes, searches, [start[None] for start in starts])
    for _ in range(rounds):
        _look(passes, searches, [search.beside() for search in searches])
        together = [(search, sums) for search in searches if len(sums := search.together())]
        if together:
            _look(passes, [search for search, _ in together], [sums for _, sums in together])
        searches = [search for search in searches if not search.done]
        if not searches:
            return


class _Search:
    """Around one point.

    Attributes:
        done: whether no step was better, and all are short.
    """

    def __init__(self, passes: Passes, explored: np.ndarray, start: np.ndarray, reach: float) -> None:
        self.done = False
        self._low, self._high = passes.low, passes.high
        self._at, self._lowest = start, np.inf
        self._axes, self._lengths = np.flatnonzero(explored), np.full(explored.size, reach)

    def beside(self) -> np.ndarray:
        """A step to both sides along each parameter."""
        self._from, self._before = self._at, self._lowest
        self._steps = np.concatenate([side * np.diag(self._lengths)[self._axes] for side in (-1, 1)])
        return self._inside(self._from + self._steps)

    def together(self) -> np.ndarray:
        """The sums of those steps that were better, the best first; empty where there is nothing to add up."""
        gains = (self._before - self._values).reshape(2, self._axes.size)
        best = gains.max(axis=0)
        better = np.argsort(-best, kind="stable")[: np.sum(best > 0)]
        self._lengths[np.delete(self._axes, better)] *= SHRINK
        self.done = not better.size and self._lengths[self._axes].max() < NARROWEST
        alone = self._steps.reshape(2, self._axes.size, -1)[gains.argmax(axis=0)[better], better]
        return self._inside(self._from + np.cumsum(alone, axis=0)[1:])

    def tell(self, points: np.ndarray, values: np.ndarray) -> None:
        """What was found at the points that it asked for."""
        self._values = values
        if values.min() < self._lowest:
            self._at, self._lowest = points[np.argmin(values)], values.min()

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return np.clip(points, self._low, self._high)


def _look(passes: Passes, searches: list[_Search], asked: list[np.ndarray]) -> None:
    """One pass of what several searches ask for."""
    values = passes.look("sharpen", np.concatenate(asked))
    parts = np.split(values, np.cumsum([len(points) for points in asked])[:-1])
    for search, points, found in zip(searches, asked, parts, strict=True):
        search.tell(points, found)
