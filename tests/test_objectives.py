"""Values of the objectives against formulae, numerical Hessians of pyhf's likelihood, and refits."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy import special, stats

from diffea import objectives
from diffea.errors import DataError, ParameterError
from diffea.statistics import HistFactory

SPEC = pyhf.simplemodels.uncorrelated_background([5.0, 8.0], [50.0, 40.0], [3.0, 4.0]).spec
SIGNAL, BACKGROUND = np.array([5.0, 8.0]), np.array([50.0, 40.0])
SHIFTED = {
    "channels": [
        {
            "name": "c",
            "samples": [
                {"name": "s", "data": [5.0, 8.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
                {
                    "name": "b",
                    "data": [50.0, 40.0],
                    "modifiers": [
                        {"name": "shape", "type": "histosys", "data": {"hi_data": [52.0, 39.0], "lo_data": [47.0, 42.0]}},
                        {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
                        {"name": "stat", "type": "staterror", "data": [3.0, 4.0]},
                    ],
                },
            ],
        }
    ]
}  # fmt: skip


@pytest.fixture(scope="module")
def shifted() -> tuple[HistFactory, pyhf.Model]:
    return HistFactory(SHIFTED), pyhf.Model(SHIFTED)


def numerical_covariance(judge: pyhf.Model, poi: float) -> np.ndarray:
    """Inverse of the Hessian of pyhf's negative log-likelihood on its own Asimov data, by differences."""
    pars = np.array(judge.config.suggested_init())
    pars[judge.config.poi_index] = poi
    data, n, step = judge.expected_data(pars), len(pars), 1e-4
    eye = step * np.eye(n)

    def value(shift: np.ndarray) -> float:
        return -float(judge.logpdf(pars + shift, data)[0])

    hessian = [
        [
            (value(eye[i] + eye[j]) - value(eye[i] - eye[j]) - value(eye[j] - eye[i]) + value(-eye[i] - eye[j]))
            / (4 * step**2)
            for j in range(n)
        ]
        for i in range(n)
    ]
    return np.linalg.inv(hessian)


@pytest.mark.parametrize("poi", [0.0, 1.0])
def test_fisher_objectives_are_those_of_pyhfs_hessian(shifted: tuple[HistFactory, pyhf.Model], poi: float) -> None:
    model, judge = shifted
    cov = numerical_covariance(judge, poi)
    index, names = judge.config.poi_index, judge.config.par_names
    np.testing.assert_allclose(objectives.poi_uncertainty(model(), poi_true=poi), np.sqrt(cov[index, index]), rtol=1e-4)
    scalar = [names.index("shape"), names.index("norm")]
    penalty = sum((1 - np.sqrt(cov[i, i])) ** 2 for i in scalar)
    np.testing.assert_allclose(objectives.nuisance_penalty(model(), poi_true=poi), penalty, rtol=1e-3)
    np.testing.assert_allclose(objectives.generalised_variance(model(), poi_true=poi), np.linalg.det(cov), rtol=1e-3)
    pair = np.ix_([index, scalar[0]], [index, scalar[0]])
    found = objectives.generalised_variance(model(), ["mu", "shape"], poi_true=poi)
    np.testing.assert_allclose(found, np.linalg.det(cov[pair]), rtol=1e-3)


def test_an_unmeasured_parameter_makes_the_generalised_variance_infinite() -> None:
    spec: Any = copy.deepcopy(SHIFTED)
    spec["channels"][0]["samples"][1]["modifiers"] = spec["channels"][0]["samples"][1]["modifiers"][1:2]
    measured = objectives.generalised_variance(HistFactory(spec)())
    free = {"name": "free", "type": "normfactor", "data": None}
    spec["channels"][0]["samples"].append({"name": "none", "data": [0.0, 0.0], "modifiers": [free]})
    bound = HistFactory(spec)()
    assert np.isposinf(objectives.generalised_variance(bound))
    assert np.isposinf(objectives.generalised_variance(bound, ["free", "mu"]))
    np.testing.assert_allclose(objectives.generalised_variance(bound, ["mu", "norm"]), measured, rtol=1e-10)


def test_counting_significance() -> None:
    bound = HistFactory(SPEC)()
    n = SIGNAL + BACKGROUND
    z2 = 2 * (n * np.log(n / BACKGROUND) - SIGNAL)
    np.testing.assert_allclose(objectives.counting_significance(bound), np.sqrt(z2.sum()), rtol=1e-12)
    tiny = objectives.counting_significance(bound, 1e-4)
    np.testing.assert_allclose(tiny, np.sqrt(z2.sum()), rtol=1e-4)
    large = objectives.counting_significance(bound, 10.0)
    assert float(large) < 0.1 * float(tiny)


def test_discovery_significance_with_known_background_is_the_counting_one() -> None:
    spec = pyhf.simplemodels.uncorrelated_background([5.0, 8.0], [50.0, 40.0], [1e-4, 1e-4]).spec
    bound = HistFactory(spec)()
    counting = objectives.counting_significance(bound)
    np.testing.assert_allclose(objectives.discovery_significance(bound), counting, rtol=1e-5)
    np.testing.assert_allclose(objectives.discovery(bound), stats.norm.sf(counting), rtol=1e-4)


def test_cross_entropies(shifted: tuple[HistFactory, pyhf.Model]) -> None:
    model, judge = shifted
    s, b = SIGNAL / SIGNAL.sum(), BACKGROUND / BACKGROUND.sum()
    expected = -0.5 * np.sum(s * np.log(s / (s + b)) + b * np.log(b / (s + b)))
    np.testing.assert_allclose(objectives.cross_entropy(model()), expected, rtol=1e-12)
    pars = np.array(judge.config.suggested_init())
    pars[judge.config.poi_index] = 0.0
    mixed = [judge.expected_data(pars, include_auxdata=False)]
    for name in ("shape", "norm"):
        for shift in (1.0, -1.0):
            moved = pars.copy()
            moved[judge.config.par_slice(name)] = shift
            mixed.append(judge.expected_data(moved, include_auxdata=False))
    b = np.mean(mixed, axis=0) / np.sum(np.mean(mixed, axis=0))
    expected = -0.5 * np.sum(s * np.log(s / (s + b)) + b * np.log(b / (s + b)))
    np.testing.assert_allclose(objectives.cross_entropy_with_variations(model()), expected, rtol=1e-12)


def test_cross_entropy_takes_a_negative_bin_for_an_empty_one() -> None:
    def entropy(model: HistFactory, nominal: Any) -> jax.Array:
        return objectives.cross_entropy(model(dataclasses.replace(model.yields, nominal=jnp.asarray(nominal))))

    spec = copy.deepcopy(SHIFTED)
    spec["channels"][0]["samples"][1]["modifiers"] = []  # type: ignore[index]
    model = HistFactory(spec)
    for negative, empty in (
        ([0.2, 8.0, -0.9, 40.0], [0.2, 8.0, 0.0, 40.0]),
        ([-1.0, 8.0, 0.5, 9.0], [0.0, 8.0, 0.5, 9.0]),
        ([-1.0, 0.0, 5.0, 9.0], [0.0, 0.0, 5.0, 9.0]),
    ):
        value, gradient = jax.value_and_grad(lambda n: entropy(model, n))(jnp.asarray(negative))
        assert value == entropy(model, empty)
        assert 0 <= value <= np.log(2)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("nothing", ["signal", "background"])
def test_nothing_is_told_from_no_events(nothing: str) -> None:
    """A selection that cuts one of the two away is as good as a guess, ln 2, not a NaN and not perfect."""
    spec = copy.deepcopy(SPEC)
    spec["channels"][0]["samples"][["signal", "background"].index(nothing)]["data"] = [0.0, 0.0]
    spec["channels"][0]["samples"][1]["modifiers"] = []
    model = HistFactory(spec)
    value, gradient = jax.value_and_grad(lambda yields: objectives.cross_entropy(model(yields)))(model.yields)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-15)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_cross_entropy_of_events() -> None:
    score, label, weight = jnp.array([0.9, 0.2, 1.0]), jnp.array([1.0, 0.0, 1.0]), jnp.array([1.0, 2.0, 1.0])
    expected = -(np.log(0.9) + 2 * np.log(0.8)) / 4
    np.testing.assert_allclose(objectives.binary_cross_entropy(score, label, weight), expected, rtol=1e-12)
    assert np.isfinite(jax.grad(objectives.binary_cross_entropy)(jnp.array([0.0]), jnp.array([1.0]))).all()


@pytest.mark.parametrize(
    ("score", "label", "weight"),
    [
        (
            np.array([[0.2], [0.9]]),
            np.array([0.0, 1.0]),
            None,
        ),  # as a network gives it; all pairs of scores and labels otherwise
        (np.array([0.2, 0.9]), np.array([0.0, 1.0]), np.ones((2, 1))),
        (np.array([-3.0, 5.0]), np.array([0.0, 1.0]), None),  # logits
        (np.array([0.2, np.nan]), np.array([0.0, 1.0]), None),
        (np.array([0.2, 0.9]), np.array([0.0, 2.0]), None),
        (np.array([0.2, 0.9]), np.array([0.0, 1.0]), np.zeros(2)),
        ([], [], None),
        (["a"], [1.0], None),
    ],
)
def test_a_cross_entropy_of_what_are_no_scores(score: Any, label: Any, weight: Any) -> None:
    with pytest.raises(DataError, match="expected"):
        objectives.binary_cross_entropy(score, label, weight)


def test_scores_that_are_traced_and_no_probabilities_give_no_number() -> None:
    label = jnp.array([0.0, 1.0])
    assert np.isnan(jax.jit(objectives.binary_cross_entropy)(jnp.array([0.5, 3.0]), label))
    np.testing.assert_allclose(objectives.binary_cross_entropy([0, 1], [0, 1]), 0.0)


@pytest.mark.parametrize("relative", [-0.1, np.nan, [0.1, 0.1, 0.1], "a"])
def test_a_relative_uncertainty_that_is_none(relative: Any) -> None:
    bound = HistFactory(SPEC)()
    with pytest.raises(ParameterError, match="relative_uncertainty"):
        objectives.counting_significance(bound, relative)
    unknown = jax.jit(lambda value: objectives.counting_significance(bound, value))
    assert np.isnan(unknown(jnp.asarray(-0.1)))


def test_mc_statistical_error() -> None:
    expected = np.mean(np.array([9.0, 16.0]) / BACKGROUND)
    np.testing.assert_allclose(objectives.mc_statistical_error(HistFactory(SHIFTED)()), expected, rtol=1e-12)
    np.testing.assert_allclose(objectives.mc_statistical_error(HistFactory(SPEC)()), expected, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(objectives.__all__) - {"binary_cross_entropy"}))
def test_no_objective_opens_observed_data_by_itself(name: str) -> None:
    """Observations that fit no bin are an error for whoever takes them."""
    bound = dataclasses.replace(HistFactory(SHIFTED)(), observations=np.zeros(7919))
    with pytest.raises(DataError, match="7919"):
        jax.eval_shape(lambda bound: objectives.cls(bound, data=bound.observed_data()), bound)
    assert jax.eval_shape(getattr(objectives, name), bound).shape == ()


def test_data_enter_by_name() -> None:
    """A workspace with an excess gives what background-only Asimov data give, until its data are asked for."""
    bound = HistFactory.from_workspace(HistFactory(SPEC).workspace(observations=[90.0, 80.0]))()
    judge = pyhf.Model(SPEC)
    asimov = judge.expected_data([0.0, 1.0, 1.0])
    expected = pyhf.infer.hypotest(1.0, asimov, judge, return_expected=True)[1]
    np.testing.assert_allclose(objectives.cls(bound), expected, rtol=1e-5)
    excess = pyhf.infer.hypotest(1.0, bound.observed_data(), judge)
    np.testing.assert_allclose(objectives.cls(bound, data=bound.observed_data()), excess, rtol=1e-4)


@pytest.mark.parametrize("factor", [0.01, 1.0, 1e2, 1e4])
def test_log_cls_at_any_strength(factor: float) -> None:
    """One bin of known background: q_A and its slope in closed form; CLs itself is 0 and flat long before the end."""
    spec: Any = copy.deepcopy(SHIFTED)
    sample, other = spec["channels"][0]["samples"]
    sample["data"], other["data"], other["modifiers"] = [5.0], [50.0], []
    model = HistFactory(spec)

    def log_cls(signal: Any) -> jax.Array:
        nominal = jnp.stack([jnp.asarray(50.0), signal])[np.argsort(order)]
        return objectives.log_cls(model(dataclasses.replace(model.yields, nominal=nominal)))

    order = np.argsort([place.startswith("channels[0]/samples[0]") for place in model.places["nominal"]])
    signal, background = 5.0 * factor, 50.0
    root = np.sqrt(2 * (signal - background * np.log1p(signal / background)))
    slope = (1 - background / (signal + background)) / root
    hazard = np.sqrt(2 / np.pi) / special.erfcx(root / np.sqrt(2))
    value, gradient = jax.value_and_grad(log_cls)(signal)
    np.testing.assert_allclose(value, np.log(2) + special.log_ndtr(-root), rtol=1e-9)
    np.testing.assert_allclose(gradient, -hazard * slope, rtol=1e-9)
