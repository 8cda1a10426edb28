"""Black boxes: CMA-ES and tree-structured Parzen estimators, which see hard values only, at several points a pass."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from diffea.errors import MissingPackageError, ParameterError
from diffea.optimise.composite import Composite
from diffea.optimise.loops import Run
from diffea.optimise.passes import EnoughError, Passes
from diffea.optimise.result import Result
from diffea.types import Params

SEED = 0
SIGMA = 0.3  # of CMA-ES, in units of a parameter's range
TRIALS = 8  # of TPE in a pass
WORST = 1e3  # times the loss at the start: what a black box is told where the statistics fail


class Asking(Protocol):
    """A black box that asks for values at points of the unit box, and is told them."""

    def ask(self) -> np.ndarray:
        """Points, shape (points, parameters)."""

    def tell(self, values: Sequence[float]) -> None:
        """The values at the last ones."""


class Cma:
    """CMA-ES of the package cmaes (Hansen, arXiv:1604.00772); one pass is one generation.

    Args:
        begin: where its first generation is drawn around, in the unit box.
        seed: of its random numbers.
    """

    def __init__(self, begin: np.ndarray, seed: int = SEED) -> None:
        import cmaes

        bounds = np.tile([0.0, 1.0], (begin.size, 1))
        self._optimizer = cmaes.CMA(mean=begin.copy(), sigma=SIGMA, bounds=bounds, seed=seed)
        self._asked: list[np.ndarray] = []

    def ask(self) -> np.ndarray:
        self._asked = [self._optimizer.ask() for _ in range(self._optimizer.population_size)]
        return np.stack(self._asked)

    def tell(self, values: Sequence[float]) -> None:
        self._optimizer.tell(list(zip(self._asked, values, strict=True)))


class Tpe:
    """The tree-structured Parzen estimator of optuna (Bergstra et al., NeurIPS 2011).

    Args:
        begin: the first point, in the unit box.
        trials: asked for at once.
        seed: of its random numbers.
    """

    def __init__(self, begin: np.ndarray, trials: int = TRIALS, seed: int = SEED) -> None:
        optuna = package("optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=trials > 1))
        self._names = [f"x{number:04d}" for number in range(begin.size)]
        self._space = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in self._names}
        self._study.enqueue_trial(dict(zip(self._names, begin.tolist(), strict=True)))
        self._number = trials
        self._trials: list[Any] = []

    def ask(self) -> np.ndarray:
        self._trials = [self._study.ask(self._space) for _ in range(self._number)]
        return np.array([[trial.params[name] for name in self._names] for trial in self._trials])

    def tell(self, values: Sequence[float]) -> None:
        for trial, value in zip(self._trials, values, strict=True):
            self._study.tell(trial, value)


BOXES = {"cma": Cma, "tpe": Tpe}


def black_box(run: Run, loss: Composite, start: Params, name: str) -> Result:
    """Minimise the loss with exact cuts, as a black box sees it.

    Args:
        run: what to minimise; its steps are passes.
        loss: the same loss, in its two parts.
        start: parameters.
        name: of the black box.

    Raises:
        MissingPackageError: if its package is not there.
        ParameterError: if a parameter has no two bounds.
    """
    passes = Passes(run, loss, start)
    if not np.isfinite(passes.high - passes.low).all():
        unbounded = [
            n for n, low, high in zip(passes.names, passes.low, passes.high, strict=True) if np.isinf(high - low)
        ]
        msg = f"{name!r} looks for parameters within bounds: give (low, high) for {', '.join(map(repr, unbounded))}"
        raise ParameterError(msg)
    size = passes.high - passes.low
    box: Asking = BOXES[name]((passes.begin - passes.low) / size)
    worst = WORST * max(1.0, abs(float(passes.look("start", passes.begin[None])[0])))
    try:
        while True:
            values = passes.look("search", passes.low + box.ask() * size)
            box.tell(np.minimum(values, worst).tolist())
    except EnoughError:
        return passes.result(f"all {run.steps} passes made", {})


def package(name: str) -> ModuleType:
    """An optional package.

    Raises:
        MissingPackageError: if it is not there.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"this optimizer is that of the package {name!r}, which is not there ({error}): pip install 'diffea[blackbox]'"
        raise MissingPackageError(msg) from error
