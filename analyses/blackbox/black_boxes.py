"""Black boxes, each as it is at its best: asked for one point at a time, but for CMA-ES, which has its generations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import scipy.stats

from diffea.optimise.blackbox import Cma, Tpe

Values = Callable[[np.ndarray], np.ndarray]
"""Hard losses, shape (points,), of points in the unit box, shape (points, parameters)."""

AT_ONCE = 32  # points in a pass, of those that do not learn
REFITTED = 10  # evaluations between two fits of the Gaussian process's kernel
CANDIDATES = 2000


def grid(values: Values, begin: np.ndarray, evaluations: int, seed: int) -> None:  # noqa: ARG001
    """Every combination of as many values of each parameter as fit."""
    each = int(evaluations ** (1 / begin.size) + 1e-9)
    ticks = (np.arange(each) + 0.5) / each
    several(values, np.stack(np.meshgrid(*[ticks] * begin.size), axis=-1).reshape(-1, begin.size))


def random(values: Values, begin: np.ndarray, evaluations: int, seed: int) -> None:
    """Uniformly drawn points."""
    several(values, np.random.default_rng(seed).random((evaluations, begin.size)))


def tpe(values: Values, begin: np.ndarray, evaluations: int, seed: int) -> None:
    """optuna's tree-structured Parzen estimator, one point after the other."""
    box = Tpe(begin, 1, seed)
    for _ in range(evaluations):
        box.tell(_known(values(box.ask())).tolist())


def cma(values: Values, begin: np.ndarray, evaluations: int, seed: int) -> None:
    """CMA-ES of the package cmaes, with its usual generations."""
    box, done = Cma(begin, seed), 0
    while done < evaluations:
        points = box.ask()
        box.tell(_known(values(points)).tolist())
        done += len(points)


def gp(values: Values, begin: np.ndarray, evaluations: int, seed: int) -> None:
    """A Gaussian process of scikit-learn (Matérn 5/2, one length a parameter) by its expected improvement."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    random = np.random.default_rng(seed)
    points = np.concatenate([begin[None], random.random((2 * begin.size + 2, begin.size))])
    losses = _known(values(points))
    kernel = ConstantKernel() * Matern([0.3] * begin.size, (0.05, 10.0), nu=2.5) + WhiteKernel(0.01, (1e-5, 1.0))
    while len(losses) < evaluations:
        level = np.clip(losses, None, 2 * np.median(losses))
        scaled = (level - level.mean()) / level.std()
        fitted = len(losses) % REFITTED == 0
        process = GaussianProcessRegressor(kernel, optimizer="fmin_l_bfgs_b" if fitted else None, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kernel = process.fit(points, scaled).kernel_
        near = points[np.argmin(losses)] + 0.1 * random.normal(size=(CANDIDATES, begin.size))
        tried = np.concatenate([random.random((CANDIDATES, begin.size)), np.clip(near, 0.0, 1.0)])
        mean, deviation = process.predict(tried, return_std=True)
        better = (scaled.min() - mean) / deviation
        gain = deviation * (better * scipy.stats.norm.cdf(better) + scipy.stats.norm.pdf(better))
        points = np.concatenate([points, tried[[np.argmax(gain)]]])
        losses = np.append(losses, _known(values(points[-1:])))


BLACK_BOXES = {"grid": grid, "random": random, "tpe": tpe, "cma": cma, "gp": gp}
COMPARED = ("tpe", "cma", "gp")  # those that learn


def several(values: Values, points: np.ndarray) -> None:
    """Many points, some at a time."""
    for some in _parts(points):
        values(some)


def _parts(points: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(points), AT_ONCE):
        yield points[start : start + AT_ONCE]


def _known(losses: np.ndarray) -> np.ndarray:
    """Losses that a black box can learn from: where the statistics fail, as bad as anything."""
    return np.minimum(losses, 1e3)
