"""The saturated-model test by toys: against sums over all outcomes, and the χ² distribution where it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from diffea.errors import FitError, MethodError
from diffea.statistics import HistFactory, Solver, goodness_of_fit
from tests.statistics.models import modifier

TOYS = 2000


def test_few_events_against_all_outcomes() -> None:
    """Two bins of one rate: $2\\sum n\\ln(n/\\bar n)$, summed over all pairs of Poisson counts at the best fit."""
    sample = {"name": "s", "data": [1.0, 1.0], "modifiers": [modifier("mu", "normfactor")]}
    bound = HistFactory({"channels": [{"name": "c", "samples": [sample]}]})()

    def statistic(n: np.ndarray) -> np.ndarray:
        mean = n.mean(axis=-1, keepdims=True)
        return 2.0 * np.where(n > 0, n * np.log(np.maximum(n, 1) / np.maximum(mean, 0.5)), 0.0).sum(axis=-1)

    counts = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), axis=-1)
    for seen in ([4.0, 0.0], [3.0, 1.0]):
        probability = stats.poisson.pmf(counts, np.mean(seen)).prod(axis=-1)
        exact = probability[statistic(counts) >= statistic(np.array(seen)) - 1e-9].sum()
        found = goodness_of_fit(bound, bound.data(seen), toys=TOYS, seed=1)
        np.testing.assert_allclose(found.statistic, statistic(np.array(seen)), atol=1e-6)
        assert found.error is not None
        assert found.toys is not None
        np.testing.assert_allclose(found.error, np.sqrt(found.p_value * (1 - found.p_value) / TOYS))
        assert abs(float(found.p_value) - exact) < 4 * np.sqrt(exact * (1 - exact) / TOYS)
        assert found.toys.shape == (TOYS,)
        np.testing.assert_allclose(found.p_value, np.mean(np.asarray(found.toys) > float(found.statistic) - 1e-6))


def test_many_events_against_the_formula(fitted: tuple, observed: np.ndarray) -> None:
    bound = fitted[1]
    formula, found = goodness_of_fit(bound, observed), goodness_of_fit(bound, observed, toys=500, seed=3)
    assert formula.toys is None
    assert formula.error is None
    assert float(found.statistic) == float(formula.statistic)
    assert abs(float(found.p_value - formula.p_value)) < 4 * float(found.error) + 0.01
    again = goodness_of_fit(bound, observed, toys=500, seed=3)
    np.testing.assert_array_equal(again.toys, found.toys)
    assert stats.kstest(np.asarray(found.toys), stats.chi2(4).cdf).pvalue > 0.001


def test_what_makes_no_sense(fitted: tuple, observed: np.ndarray) -> None:
    with pytest.raises(MethodError, match="toys: expected at least one, got 0"):
        goodness_of_fit(fitted[1], observed, toys=0)
    with pytest.raises(FitError, match="iterations ran out"):
        goodness_of_fit(fitted[1], observed, toys=20, solver=Solver(max_iterations=2))


def test_what_says_nothing_does_not_count() -> None:
    """Empty bins, a luminosity that is held and a factor that does what another does: as in the model without them."""
    nominal, errors, seen = [40.0, 60.0, 50.0], [2.0, 3.0, 2.0], [44.0, 55.0, 50.0]

    def tested(sample: dict[str, Any], seen: list[float], parameters: tuple = ()) -> Any:
        spec = {"channels": [{"name": "c", "samples": [sample]}], "parameters": list(parameters)}
        bound = HistFactory(spec)()
        return goodness_of_fit(bound, bound.data(seen), toys=400)

    error, factor = modifier("stat", "staterror", errors), modifier("k", "normfactor")
    plain = tested({"name": "b", "data": nominal, "modifiers": [factor, error]}, seen)
    assert int(plain.degrees) == 2
    np.testing.assert_allclose(plain.p_value, stats.chi2(2).sf(float(plain.statistic)), atol=4 * float(plain.error))

    errors_with_empty = modifier("stat", "staterror", [*errors, 0.0, 0.0])
    empty = tested({"name": "b", "data": [*nominal, 0.0, 0.0], "modifiers": [factor, errors_with_empty]}, [*seen, 0, 0])
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.04], "bounds": [[0.5, 1.5]], "fixed": True}
    held = tested({"name": "b", "data": nominal, "modifiers": [factor, error, modifier("lumi", "lumi")]}, seen, (lumi,))
    twice = tested({"name": "b", "data": nominal, "modifiers": [factor, error, modifier("q", "normfactor")]}, seen)
    for same in (empty, held, twice):
        assert int(same.degrees) == 2
        np.testing.assert_allclose(same.statistic, plain.statistic, rtol=1e-9)
        assert abs(float(same.p_value - plain.p_value)) < 5 * float(plain.error)
