"""pyhf as the judge: CLs and expected upper limits of a workspace, from pyhf's own fits."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import scipy

from diffea.errors import JudgementError
from diffea.types import JSONMapping, PyTree


def optimizers() -> tuple[Any, Any]:
    """pyhf's minimisers, in the order in which they are asked; each remembers its fits, which tests of several strengths have in common."""
    import pyhf

    scipy, minuit = map(remembering, (pyhf.optimize.scipy_optimizer, pyhf.optimize.minuit_optimizer))
    return scipy(), minuit(tolerance=1e-3)


@functools.cache
def remembering(kind: PyTree) -> PyTree:
    """One of pyhf's minimisers, which makes a fit once."""

    class Remembering(kind):
        def __init__(self, **options: float) -> None:
            super().__init__(**options)
            self.known: dict[object, object] = {}

        def minimize(self, objective: object, data: PyTree, model: object, *where: PyTree, **options: object) -> object:
            numbers = (np.asarray(given, float).tobytes() for given in (data, *where))
            key = objective, model, *numbers, *sorted(options.items())
            if key not in self.known:
                self.known[key] = super().minimize(objective, data, model, *where, **options)
            return self.known[key]

    return Remembering


class Judge:
    """A workspace under pyhf; numbers are those of ``pyhf.infer`` with the statistic ``qtilde``.

    pyhf's minimiser can fail on models with small or negative bins, so the second of two is asked where the first fails.

    Args:
        workspace: a valid pyhf workspace; its first measurement names the parameter of interest.
        modifier_settings: interpolation codes, which a workspace does not hold; pyhf's own by default.

    Raises:
        JudgementError: if the workspace has no parameter of interest.
    """

    def __init__(
        self, workspace: JSONMapping, modifier_settings: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        import pyhf

        self._optimizers = optimizers()
        with _backend(self._optimizers[0]):
            read = pyhf.Workspace(workspace)
            settings = {"modifier_settings": modifier_settings} if modifier_settings else {}
            self._model = read.model(**settings)
            self._data = read.data(self._model)
        if self._model.config.poi_index is None:
            msg = "the workspace names no parameter of interest, so that there is nothing to exclude: give its measurement a `poi`"
            raise JudgementError(msg)
        # where the fit to background-only data ends: from μ = 1, far above the limit of a strong signal, SciPy does not move
        self._start = self._model.config.suggested_init()
        low, high = self._model.config.suggested_bounds()[self._model.config.poi_index]
        self._start[self._model.config.poi_index] = float(np.clip(0.0, low, high))

    def cls(self, poi_test: float = 1.0) -> float:
        """Expected CLs of the background-only hypothesis's median experiment.

        Raises:
            JudgementError: if none of pyhf's minimisers succeeds, or ``poi_test`` is no number.
        """
        return self._tested(poi_test)[1]

    def observed_cls(self, poi_test: float = 1.0) -> float:
        """CLs of the workspace's observations.

        Raises:
            JudgementError: if none of pyhf's minimisers succeeds, or ``poi_test`` is no number.
        """
        return self._tested(poi_test)[0]

    def _tested(self, poi_test: float) -> tuple[float, float]:
        """Observed and expected CLs."""
        if not np.isfinite(poi_test):
            msg = f"{self._model.config.poi_name} is tested at a finite number, got {poi_test}"
            raise JudgementError(msg)
        import pyhf

        failures = []
        for optimizer in self._optimizers:
            with _backend(optimizer), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    found = pyhf.infer.hypotest(
                        poi_test, self._data, self._model, test_stat="qtilde", return_expected=True,
                        init_pars=self._start, par_bounds=self._bounds(poi_test),
                    )  # fmt: skip
                except (pyhf.exceptions.FailedMinimization, ValueError, AssertionError) as error:
                    failures.append(f"{optimizer.name}: {error}")
                    continue
                observed, expected = map(float, found)
                if np.isfinite([observed, expected]).all():
                    return observed, expected
                failures.append(f"{optimizer.name}: CLs = {observed}, expected {expected}")
        msg = (
            f"pyhf could not compute CLs at {self._model.config.poi_name} = {poi_test} ({'; '.join(failures)}); "
            "look for bins without background in the workspace"
        )
        raise JudgementError(msg)

    def limit(self, guess: float = 1.0, cl: float = 0.95, tolerance: float = 1e-3) -> float:
        """Expected upper limit on the parameter of interest.

        Args:
            guess: where to look first; a good one saves fits.
            cl: confidence level.
            tolerance: relative.

        Raises:
            JudgementError: if CLs does not reach 1 − cl, or pyhf's minimisers fail; if an argument is no such number.
        """
        if not (0 < guess < np.inf and 0 < cl < 1 and tolerance > 0):
            msg = f"a limit is looked for from a positive guess, at a level between 0 and 1, got guess = {guess}, cl = {cl}, tolerance = {tolerance}"
            raise JudgementError(msg)
        low, high = 0.98 * guess, 1.02 * guess

        @functools.cache
        def above(poi_test: float) -> float:
            return float(np.log(max(self.cls(poi_test), 1e-300) / (1 - cl)))

        at_low, at_high = above(low), above(high)
        while at_high > 0:
            low, at_low, high = high, at_high, 2 * high
            if high > 1e6 * guess:
                msg = f"the expected CLs stays above {1 - cl:.3g} up to {high:.3g}: this analysis excludes nothing"
                raise JudgementError(msg)
            at_high = above(high)
        while at_low < 0:
            high, at_high, low = low, at_low, low / 2
            if low < 1e-9 * guess:
                msg = f"the expected CLs stays below {1 - cl:.3g} down to {low:.3g}: the workspace has next to no background"
                raise JudgementError(msg)
            at_low = above(low)
        return float(scipy.optimize.brentq(above, low, high, rtol=tolerance, xtol=tolerance * low))

    def _bounds(self, poi_test: float) -> list[tuple[float, float]]:
        bounds = list(self._model.config.suggested_bounds())
        index = self._model.config.poi_index
        low, high = bounds[index]
        bounds[index] = (low, max(high, 10 * poi_test))
        return bounds


@contextlib.contextmanager
def _backend(optimizer: object) -> Iterator[None]:
    import pyhf

    before = pyhf.get_backend()
    pyhf.set_backend("numpy", optimizer, precision="64b")
    try:
        yield
    finally:
        pyhf.set_backend(*before)
