"""Several parameters of interest at once, against the curvature of pyhf's likelihood and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from diffea import objectives
from diffea.errors import SpecError
from diffea.statistics import BoundModel, HistFactory, estimates
from tests.statistics.models import modifier

SPEC = {
    "channels": [
        {"name": name, "samples": [
            {"name": "ggf", "data": ggf, "modifiers": [modifier("mu_ggf", "normfactor"), modifier("theory", "normsys", {"hi": 1.1, "lo": 0.9})]},
            {"name": "vbf", "data": vbf, "modifiers": [modifier("mu_vbf", "normfactor")]},
            {"name": "bkg", "data": bkg, "modifiers": [modifier(f"stat_{name}", "staterror", [0.1 * b for b in bkg])]},
        ]}
        for name, ggf, vbf, bkg in (("inclusive", [30.0, 20.0], [4.0, 3.0], [90.0, 60.0]), ("two_jets", [4.0, 3.0], [6.0, 9.0], [12.0, 8.0]))
    ]
}  # fmt: skip
BOTH = ["mu_ggf", "mu_vbf"]
Pair = tuple[HistFactory, BoundModel, pyhf.Model, np.ndarray]


@pytest.fixture(scope="module")
def pair() -> Pair:
    model = HistFactory(SPEC)
    bound = model()
    return model, bound, pyhf.Model(SPEC, poi_name=None), np.asarray(bound.data([130.0, 80.0, 27.0, 16.0]))


def covariance_by_pyhf(judge: pyhf.Model, pars: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Inverse of the Hessian of pyhf's likelihood, by central differences."""
    pyhf.set_backend("numpy")
    eye = 1e-4 * np.eye(len(pars))

    def value(shift: np.ndarray) -> float:
        return -float(judge.logpdf(pars + shift, data)[0])

    rows = [[value(a + b) - value(a - b) - value(b - a) + value(-a - b) for b in eye] for a in eye]
    return np.linalg.inv(np.array(rows) / 4e-8)


def test_both_strengths_after_a_fit(pair: Pair) -> None:
    _, bound, judge, data = pair
    found = estimates(bound, data, BOTH)
    assert found.parameters == ("mu_ggf", "mu_vbf")
    assert found.fit is not None
    places = [judge.config.par_names.index(name) for name in BOTH]
    expected = covariance_by_pyhf(judge, np.asarray(found.fit.pars), data)[np.ix_(places, places)]
    np.testing.assert_allclose(found.values, pyhf.infer.mle.fit(data, judge)[places], atol=1e-3)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-5)
    sigma = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(found.uncertainties, sigma, rtol=1e-5)
    np.testing.assert_allclose(found.correlation, expected / np.outer(sigma, sigma), rtol=1e-5)
    assert -1 < float(found.correlation[0, 1]) < 0
    np.testing.assert_allclose(objectives.generalised_variance(bound, BOTH, data), np.linalg.det(expected), rtol=1e-4)


def test_without_data_the_asimov_data_of_the_initial_values(pair: Pair) -> None:
    _, bound, judge, _ = pair
    found = estimates(bound, parameters=[*BOTH, "stat_two_jets[1]"])
    assert found.fit is None
    init = np.array(judge.config.suggested_init())
    places = [judge.config.par_names.index(name) for name in found.parameters]
    expected = covariance_by_pyhf(judge, init, np.asarray(judge.expected_data(init)))[np.ix_(places, places)]
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.values, 1.0)
    np.testing.assert_allclose(objectives.generalised_variance(bound, BOTH), np.linalg.det(expected[:2, :2]), rtol=1e-4)
    whole = estimates(bound, parameters=["stat_two_jets"])
    assert whole.parameters == ("stat_two_jets[0]", "stat_two_jets[1]")


def test_a_measurement_names_one_of_them_of_interest() -> None:
    """The other one stays at its initial value in the Asimov data; its own uncertainty is `poi_uncertainty`."""
    bound = HistFactory(SPEC, poi_name="mu_vbf")()
    found = estimates(bound, parameters=BOTH, poi_true=1.0)
    np.testing.assert_allclose(found.uncertainties[1], objectives.poi_uncertainty(bound, poi_true=1.0))
    np.testing.assert_allclose(estimates(bound, parameters=BOTH).values, [1.0, 0.0])


def test_fixed_and_unmeasured_parameters(pair: Pair) -> None:
    spec = {**SPEC, "parameters": [{"name": "mu_ggf", "fixed": True}]}
    spec["channels"] = [
        {
            **c,
            "samples": [
                *c["samples"],
                {"name": "none", "data": [0.0, 0.0], "modifiers": [modifier("k", "normfactor")]},
            ],
        }  # type: ignore[dict-item]
        for c in SPEC["channels"]
    ]
    bound = HistFactory(spec)()
    found = estimates(bound, parameters=["mu_ggf", "mu_vbf", "k"])
    assert float(found.uncertainties[0]) == float(found.correlation[0, 1]) == 0.0
    assert np.isinf(found.uncertainties[2])
    assert np.isnan(found.correlation[1, 2])
    alone = objectives.generalised_variance(bound, ["mu_ggf", "mu_vbf"])
    np.testing.assert_allclose(alone, found.covariance[1, 1])
    assert np.isinf(objectives.generalised_variance(bound, ["mu_vbf", "k"]))
    for names, message in ((["mu"], "no parameter 'mu'"), (["mu_ggf", "mu_ggf"], "each once"), ([], "each once")):
        with pytest.raises(SpecError, match=message):
            objectives.generalised_variance(bound, names)


def test_gradient_of_the_joint_objective(pair: Pair) -> None:
    """In all yields, on Asimov data and on data."""
    model, _, _, data = pair
    flat, unravel = ravel_pytree(model.yields)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape) * 0.1 * np.abs(flat))

    def numbers(t: Array) -> Array:
        bound = model(unravel(flat + t * direction))
        joint = [objectives.generalised_variance(bound, BOTH), objectives.generalised_variance(bound, BOTH, data)]
        return jnp.concatenate([1e3 * jnp.stack(joint), estimates(bound, data, BOTH).correlation[0, 1:]])

    values = jax.jit(numbers)
    above, below, far_above, far_below = (values(1e-3 * by) for by in (1, -1, 2, -2))
    expected = (8 * (above - below) - (far_above - far_below)) / 12e-3
    np.testing.assert_allclose(jax.jit(jax.jacrev(numbers))(0.0), expected, rtol=1e-6)
