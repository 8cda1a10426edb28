"""Toys against pyhf's toys and against the asymptotic formulae, within the error of their number."""

from __future__ import annotations

import numpy as np
import pyhf
import pytest
from scipy import stats

from diffea.errors import FitError
from diffea.statistics import BoundModel, HistFactory, ToyTest, hypotest

Pair = tuple[BoundModel, pyhf.Model, np.ndarray]
TOYS = 1000


@pytest.fixture(scope="module")
def pair() -> Pair:
    """The model of pyhf's documentation of toys."""
    judge = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    return HistFactory(judge.spec)(), judge, np.array([51.0, 48.0, *judge.config.auxdata])


@pytest.fixture(scope="module")
def toys(pair: Pair) -> ToyTest:
    bound, _, data = pair
    return hypotest(bound, 1.0, data, calculator="toys", toys=TOYS)


def test_test_statistics_are_distributed_as_pyhfs(pair: Pair, toys: ToyTest) -> None:
    _, judge, data = pair
    pyhf.set_backend("numpy")
    np.random.seed(0)  # noqa: NPY002 (pyhf draws from NumPy's global generator)
    calculator = pyhf.infer.calculators.ToyCalculator(data, judge, ntoys=150, track_progress=False)
    distributions = calculator.distributions(1.0)
    assert int(toys.failed) == 0
    np.testing.assert_allclose(toys.q, calculator.teststatistic(1.0), rtol=1e-5)
    for mine, theirs in zip((toys.signal, toys.background), distributions, strict=True):
        # where the data fit best above the tested value the statistic is 0: for pyhf up to rounding
        rounded = [np.maximum(np.asarray(sample), 1e-4) for sample in (mine, theirs.samples)]
        assert stats.ks_2samp(*rounded).pvalue > 0.01
    clsb, clb, _ = calculator.pvalues(toys.q, *distributions)
    errors = [np.sqrt(p * (1 - p) * (1 / TOYS + 1 / 150)) for p in (float(clsb), float(clb))]
    assert abs(float(toys.clsb) - clsb) < 3 * errors[0]
    assert abs(float(toys.clb) - clb) < 3 * errors[1]


def test_asymptotic_formulae_hold(pair: Pair, toys: ToyTest) -> None:
    bound, _, data = pair
    formula = hypotest(bound, 1.0, data)
    np.testing.assert_allclose(toys.q, formula.q, atol=1e-9)
    for found, expected in ((toys.clsb, formula.clsb), (toys.clb, formula.clb)):
        error = float(np.sqrt(expected * (1 - expected) / TOYS))
        assert abs(float(found - expected)) < 4 * error + 0.01  # the formulae themselves are good to about 0.01 here
    np.testing.assert_allclose(toys.band[1:4], formula.band[1:4], atol=0.05)
    np.testing.assert_allclose(toys.cls, toys.clsb / toys.clb)
    assert toys.expected == toys.band[2]


def test_without_data_toys_are_drawn_for_the_asimov_data(pair: Pair) -> None:
    bound, _, _ = pair
    blind = hypotest(bound, 1.0, calculator="toys", toys=TOYS)
    np.testing.assert_allclose(blind.q, hypotest(bound, 1.0).q, atol=1e-9)
    np.testing.assert_allclose(blind.cls, hypotest(bound, 1.0).cls, atol=0.05)


def test_unknown_calculator(pair: Pair) -> None:
    with pytest.raises(ValueError, match="calculator: expected 'asymptotics' or 'toys', got 'bootstrap'"):
        hypotest(pair[0], calculator="bootstrap")  # type: ignore[call-overload]


def test_a_quotient_of_no_toys_is_no_result(pair: Pair, toys: ToyTest) -> None:
    """So far below the background that no toy comes near: both tails are 0, and CLs would be 0/0."""
    bound, judge, _ = pair
    assert float(toys.clb) > 0.0
    with pytest.raises(FitError, match="no toy without signal"):
        hypotest(bound, 1.0, [2.0, 1.0, *judge.config.auxdata], calculator="toys", toys=TOYS)
