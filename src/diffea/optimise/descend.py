"""Descend: several quasi-Newton descents side by side, whose evaluations share their passes over the data."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import scipy

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Losses, shape (points,), and their gradients, shape (points, parameters), at points of shape (points, parameters)."""

FIRST = 0.1  # of a parameter's range: the length of a descent's first step, before it knows any curvature


def together(
    evaluate: Evaluate, starts: np.ndarray, low: np.ndarray, high: np.ndarray, evaluations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise from several starts by SciPy's L-BFGS-B; each round of evaluations is one call.

    Args:
        evaluate: called in this thread, with the points that the descents ask for, in the order of their starts.
        starts: shape (starts, parameters).
        low, high: bounds, shape (parameters,).
        evaluations: at most so many from each start.

    Returns:
        the best point of each descent, shape (starts, parameters), and its loss.
    """
    descents = [_Descent(start, low, high, evaluations) for start in starts]
    try:
        while asking := [descent for descent in descents if descent.asks()]:
            values, gradients = evaluate(np.stack([descent.asked for descent in asking]))
            for descent, value, gradient in zip(asking, values, gradients, strict=True):
                descent.tell(float(value), np.array(gradient, float))
    finally:
        for descent in descents:
            descent.stop()
    return np.stack([descent.best for descent in descents]), np.array([descent.lowest for descent in descents])


class _StopError(Exception):
    """Raised to leave SciPy."""


class _Descent:
    """SciPy's minimiser turned inside out: it asks for an evaluation, and goes on when it is told."""

    def __init__(self, start: np.ndarray, low: np.ndarray, high: np.ndarray, evaluations: int) -> None:
        self.asked = self.best = start
        self.lowest = np.inf
        self._left = evaluations
        self._answer: tuple[float, np.ndarray] | None = None
        self._asking, self._told = threading.Semaphore(0), threading.Semaphore(0)
        self._ended = False
        self._thread = threading.Thread(
            target=self._work, args=(start, scipy.optimize.Bounds(low / FIRST, high / FIRST)), daemon=True
        )
        self._thread.start()

    def asks(self) -> bool:
        """Wait until it asks for ``asked``, or has ended."""
        if not self._ended:
            self._asking.acquire()
        return not self._ended

    def tell(self, value: float, gradient: np.ndarray) -> None:
        """Give what it asked for."""
        if value < self.lowest:
            self.best, self.lowest = self.asked, value
        self._answer = value, gradient
        self._told.release()

    def stop(self) -> None:
        """End it, wherever it is."""
        self._answer = None
        self._told.release()
        self._thread.join()

    def _work(self, start: np.ndarray, bounds: scipy.optimize.Bounds) -> None:
        try:
            scipy.optimize.minimize(self._evaluate, start / FIRST, jac=True, method="L-BFGS-B", bounds=bounds)
        except _StopError:
            pass
        finally:
            self._ended = True
            self._asking.release()

    def _evaluate(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        if not self._left:
            raise _StopError
        self._left -= 1
        self.asked = FIRST * point
        self._asking.release()
        self._told.acquire()
        if self._answer is None:
            raise _StopError
        value, gradient = self._answer
        return value, FIRST * gradient
