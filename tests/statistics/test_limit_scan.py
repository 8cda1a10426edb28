"""CLs against the parameter of interest: against pyhf at each point, and the crossings against the limits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffea.errors import MethodError, ParameterError, SpecError
from diffea.statistics import BoundModel, HistFactory, limit_scan, upper_limit
from tests.statistics.models import modifier

Pair = tuple[BoundModel, pyhf.Model, np.ndarray]


@pytest.fixture(scope="module")
def pair() -> Pair:
    judge = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    return HistFactory(judge.spec)(), judge, np.array([51.0, 48.0, *judge.config.auxdata])


@pytest.mark.usefixtures("precise_pyhf")
def test_every_point_is_pyhfs_test(pair: Pair) -> None:
    bound, judge, data = pair
    pois = np.linspace(0.2, 2.2, 5)
    found = limit_scan(bound, pois, data)
    for poi, seen, band in zip(pois, found.observed, found.band, strict=True):
        cls, expected = pyhf.infer.hypotest(poi, data, judge, return_expected_set=True)
        np.testing.assert_allclose(seen, cls, atol=1e-5)
        np.testing.assert_allclose(band, expected, atol=1e-5)
    np.testing.assert_allclose(found.expected, found.band[:, 2])
    assert (found.poi, found.cl) == ("mu", 0.95)


def test_the_limits_are_where_the_curves_cross(pair: Pair) -> None:
    bound, _, data = pair
    limits = upper_limit(bound, data=data, band=True)
    pois = np.array([*np.asarray(limits.band), float(limits.observed), 1.0])
    found = limit_scan(bound, pois, data)
    np.testing.assert_allclose(np.diag(np.asarray(found.band)), 0.05, rtol=1e-6)
    np.testing.assert_allclose(found.observed[5], 0.05, rtol=1e-6)
    assert float(found.limit.observed) == float(limits.observed)
    np.testing.assert_array_equal(found.limit.band, limits.band)


def test_blinded_without_data(pair: Pair) -> None:
    bound = pair[0]
    limits = upper_limit(bound, 0.9, band=True)
    found = limit_scan(bound, limits.band, cl=0.9)
    assert found.observed is None
    assert found.limit.observed is None
    np.testing.assert_allclose(np.diag(np.asarray(found.band)), 0.1, rtol=1e-6)


def test_derivatives_against_differences_of_refits(pair: Pair) -> None:
    bound, _, data = pair
    pois = np.array([0.5, 1.4])

    def curves(scale: float | jax.Array) -> jax.Array:
        yields = dataclasses.replace(bound.yields, nominal=bound.yields.nominal * scale)
        found = limit_scan(bound.with_yields(yields), pois, data)
        assert found.observed is not None
        return jnp.concatenate([found.observed, found.band.ravel(), jnp.atleast_1d(found.limit.expected)])

    step = 1e-4
    differences = (curves(1.0 + step) - curves(1.0 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jacfwd(curves)(1.0), differences, rtol=1e-5, atol=1e-7)


def test_what_makes_no_sense(pair: Pair) -> None:
    bound = pair[0]
    for pois in ([], [1.0, np.inf], 1.0):
        with pytest.raises(ParameterError, match="list of finite values"):
            limit_scan(bound, pois)
    with pytest.raises(MethodError, match="0 < cl < 1"):
        limit_scan(bound, [1.0], cl=95.0)
    sample = {"name": "s", "data": [1.0], "modifiers": [modifier("k", "normfactor")]}
    with pytest.raises(SpecError, match="no parameter of interest"):
        limit_scan(HistFactory({"channels": [{"name": "c", "samples": [sample]}]})(), [1.0])
