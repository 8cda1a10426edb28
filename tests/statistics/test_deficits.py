"""Fewer events than the background: q̃ against the closed form of a counting experiment, where the best signal is negative."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from diffea import objectives
from diffea.statistics import HistFactory, hypotest, likelihood_ratio

SIGNAL, BACKGROUND, OBSERVED = 10.0, 50.0, 30.0  # the best signal strength is -2


@pytest.fixture(scope="module")
def counting():
    strength = [{"name": "mu", "type": "normfactor", "data": None}]
    samples = [
        {"name": "signal", "data": [SIGNAL], "modifiers": strength},
        {"name": "background", "data": [BACKGROUND], "modifiers": []},
    ]
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": []}}
    return HistFactory({"channels": [{"name": "c", "samples": samples}], "measurements": [measurement]})()


def ratio(mu, best, events):
    """−2 ln L(mu)/L(best) of a Poisson count."""
    twice_nll = [2 * (rate - events * np.log(rate)) for rate in (mu * SIGNAL + BACKGROUND, best * SIGNAL + BACKGROUND)]
    return twice_nll[0] - twice_nll[1]


def cls(mu, test_stat):
    """Asymptotic CLs (arXiv:1007.1727, eqs. 57, 65 and 66)."""
    q, of_asimov = ratio(mu, 0.0 if test_stat == "qtilde" else -2.0, OBSERVED), ratio(mu, 0.0, BACKGROUND)
    root = np.sqrt(of_asimov)
    t = (q - of_asimov) / (2 * root) if test_stat == "qtilde" and q > of_asimov else np.sqrt(q) - root
    return norm.sf(t + root) / norm.sf(t)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_a_deficit_is_compared_with_no_signal(counting, mu) -> None:
    expected = {"qtilde": ratio(mu, 0.0, OBSERVED), "q": ratio(mu, -2.0, OBSERVED)}
    assert expected["q"] > expected["qtilde"] + 5.0
    for test_stat, value in expected.items():
        assert float(likelihood_ratio(counting, mu, [OBSERVED], test_stat=test_stat)) == pytest.approx(value, rel=1e-8)
        found = hypotest(counting, mu, [OBSERVED], test_stat=test_stat)
        assert float(found.cls) == pytest.approx(cls(mu, test_stat), rel=1e-8)
    assert float(objectives.cls(counting, poi_test=mu, data=[OBSERVED])) == pytest.approx(cls(mu, "qtilde"), rel=1e-8)


def test_the_limit_of_a_deficit_is_that_of_q_tilde(counting) -> None:
    expected = brentq(lambda mu: cls(mu, "qtilde") - 0.05, 0.1, 3.0, xtol=1e-12)
    assert float(objectives.upper_limit(counting, data=[OBSERVED])) == pytest.approx(expected, rel=1e-6)
