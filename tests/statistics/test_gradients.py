"""Derivatives in every yield: against rebuilt pyhf models, and against finite differences to second order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax import Array
from jax.flatten_util import ravel_pytree

from diffea import objectives
from diffea.statistics import BoundModel, HistFactory, Yields, goodness_of_fit, nuisances
from diffea.statistics.layout import FIELDS
from tests.statistics.models import EVERYTHING, FITTED, modifier, rebuilt, shifted

Models = tuple[HistFactory, BoundModel, pyhf.Model]


def test_gradient_in_every_yield_is_that_of_rebuilt_pyhf_models() -> None:
    model = HistFactory(EVERYTHING)
    yields, places = model.yields, model.places
    random = np.random.default_rng(3)
    judge = pyhf.Model(EVERYTHING)
    init = np.array(judge.config.suggested_init())
    pars = init + 0.2 * random.uniform(-1, 1, size=init.shape)
    data = np.asarray(judge.expected_data(init)) * random.uniform(
        0.9, 1.1, judge.config.nmaindata + judge.config.nauxdata
    )
    gradient = jax.jit(jax.grad(lambda y: model(y).logpdf(pars, data)))(yields)
    for field in FIELDS:
        for index, value in enumerate(np.asarray(getattr(yields, field))):
            step = 1e-4 * value
            values = [
                rebuilt(EVERYTHING, places, shifted(yields, field, index, factor * step)).logpdf(pars, data)[0]
                for factor in (-2, -1, 1, 2)
            ]
            expected = (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * step)
            found = float(getattr(gradient, field)[index])
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=places[field][index])


def assert_derivatives(function: Callable[[Yields], dict[str, Array]], yields: Yields) -> None:
    """First and second derivative of each number along a random direction against fourth-order central differences.

    Both in forward mode, which compiles fastest; the gradient in reverse mode must agree with the first.
    """
    flat, unravel = ravel_pytree(yields)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape) * 0.1 * np.abs(flat))
    step = 1e-3

    def numbers(x: Array) -> Array:
        return jnp.stack([*function(unravel(x)).values()])

    def slope(t: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda t: numbers(flat + t * direction), (t,), (1.0,))

    along = jax.jit(lambda t: jax.jvp(slope, (t,), (1.0,)))
    _, (slopes, bends) = along(0.0)
    around = [along(by * step)[0] for by in (1, -1, 2, -2)]
    expected = [(8 * (a - b) - (c - d)) / (12 * step) for a, b, c, d in zip(*around, strict=True)]
    gradients = jax.jit(jax.jacrev(numbers))(flat)
    for i, name in enumerate(jax.eval_shape(function, yields)):
        np.testing.assert_allclose(slopes[i], expected[0][i], rtol=1e-7, err_msg=name)
        np.testing.assert_allclose(bends[i], expected[1][i], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(gradients[i] @ direction, slopes[i], rtol=1e-9, err_msg=name)


@pytest.mark.slow
def test_hessian_of_the_expected_cls(fitted: Models) -> None:
    """`jax.hessian` itself, forward over reverse mode, against differences of gradients, and these against those of values."""
    model = fitted[0]
    flat, unravel = ravel_pytree(model.yields)
    some = np.array(
        [5, 9, 14, 17, len(flat) - 1]
    )  # signal, background, fakes, a histosys and a staterror in one channel

    def function(x: Array) -> Array:
        return objectives.cls(model(unravel(flat.at[some].set(x))), 0.9)

    at, both = flat[some], jax.jit(jax.value_and_grad(function))
    hessian, gradient = jax.jit(jax.hessian(function))(at), both(at)[1]
    for i, row in enumerate(np.diag(1e-3 * at)):
        around = zip(*(both(at + by * row) for by in (1, -1, 2, -2)), strict=True)
        slope, bends = ((8 * (a - b) - (c - d)) / (12 * row[i]) for a, b, c, d in around)
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-6, atol=1e-7 * float(jnp.max(jnp.abs(gradient))))
        np.testing.assert_allclose(hessian[i], bends, rtol=1e-6, atol=1e-7 * float(jnp.max(jnp.abs(hessian))))


def test_objectives_without_fits(fitted: Models) -> None:
    model = fitted[0]

    def numbers(y: Yields) -> dict[str, Array]:
        bound = model(y)
        return {
            "uncertainty": objectives.poi_uncertainty(bound),
            "penalty": objectives.nuisance_penalty(bound),
            "log determinant": jnp.log(objectives.generalised_variance(bound)),
            "counting": objectives.counting_significance(bound),
            "counting with uncertainty": objectives.counting_significance(bound, 0.2),
            "entropy": objectives.cross_entropy(bound),
            "entropy with variations": objectives.cross_entropy_with_variations(bound),
            "simulation": objectives.mc_statistical_error(bound),
        }

    assert_derivatives(numbers, model.yields)


@pytest.mark.slow
def test_objectives_on_asimov_data(fitted: Models) -> None:
    """To second order for the significance, a function of the p-value, and the limit, which goes through CLs, whose own Hessian is above."""
    model = fitted[0]

    def numbers(y: Yields) -> dict[str, Array]:
        bound = model(y)
        return {
            "limit": objectives.upper_limit(bound),
            "significance": objectives.discovery_significance(bound),
        }

    assert_derivatives(numbers, model.yields)


def assert_gradient(function: Callable[[Yields], Array], yields: Yields) -> None:
    """The gradient along a random direction against fourth-order central differences, both of one program."""
    flat, unravel = ravel_pytree(yields)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape) * 0.1 * np.abs(flat))
    both = jax.jit(jax.value_and_grad(lambda x: function(unravel(x))))
    above, below, far_above, far_below = (both(flat + by * 1e-3 * direction)[0] for by in (1, -1, 2, -2))
    expected = (8 * (above - below) - (far_above - far_below)) / 12e-3
    np.testing.assert_allclose(both(flat)[1] @ direction, expected, rtol=1e-7)


def test_gradients_of_cls_and_discovery_in_all_yields(fitted: Models) -> None:
    model = fitted[0]
    assert_gradient(lambda y: objectives.cls(model(y), 0.9), model.yields)
    assert_gradient(lambda y: objectives.discovery(model(y)), model.yields)


@pytest.fixture(scope="module")
def signal_region() -> tuple[HistFactory, np.ndarray]:
    """One channel, without the sample of fakes, and its data."""
    signal, background, _ = FITTED["channels"][0]["samples"]
    channel = {"name": "signal", "samples": [signal, background]}
    model = HistFactory({"channels": [channel], "parameters": FITTED["parameters"]})
    return model, np.asarray(model().data([55.0, 43.0, 39.0, 23.0]))


@pytest.mark.slow
def test_objectives_on_data(signal_region: tuple[HistFactory, np.ndarray]) -> None:
    """What depends on best-fit values: implicit differentiation; to second order but for CLs, through which the limit goes."""
    model, observed = signal_region

    def numbers(y: Yields) -> dict[str, Array]:
        bound = model(y)
        return {
            "limit": objectives.upper_limit(bound, data=observed),
            "discovery": objectives.discovery(bound, observed),
            "uncertainty": objectives.poi_uncertainty(bound, observed),
        }

    assert_derivatives(numbers, model.yields)
    assert_gradient(lambda y: objectives.cls(model(y), 1.0, observed), model.yields)


@pytest.mark.slow
def test_gradients_of_diagnostics_and_the_observed_limit(signal_region: tuple[HistFactory, np.ndarray]) -> None:
    model, observed = signal_region
    flat, unravel = ravel_pytree(model.yields)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape) * 0.1 * np.abs(flat))

    def numbers(x: Array) -> Array:
        bound = model(unravel(x))
        after = nuisances(bound, observed)
        limit = objectives.upper_limit(bound, data=observed)
        return jnp.array([*after.pulls[:3], *after.impacts[:3], goodness_of_fit(bound, observed).statistic, limit])

    @jax.jit
    def both(t: Array) -> tuple[Array, Array]:
        values, back = jax.vjp(numbers, flat + t * direction)
        return values, jax.vmap(back)(jnp.eye(len(values)))[0] @ direction

    above, below, far_above, far_below = (both(1e-3 * by)[0] for by in (1, -1, 2, -2))
    expected = (8 * (above - below) - (far_above - far_below)) / 12e-3
    np.testing.assert_allclose(both(0.0)[1], expected, rtol=1e-6, atol=1e-9)


def test_gradient_of_a_bound_model_is_one(fitted: Models) -> None:
    model, bound, _ = fitted
    gradient = jax.grad(objectives.poi_uncertainty)(bound)
    assert isinstance(gradient, BoundModel)
    in_yields = jax.grad(lambda y: objectives.poi_uncertainty(model(y)))(model.yields)
    jax.tree.map(np.testing.assert_allclose, gradient.yields, in_yields)


def test_no_signal_has_a_finite_gradient_and_cls_1(fitted: Models) -> None:
    model, _, _ = fitted
    nominal = np.array(model.yields.nominal)
    signal = [i for i, place in enumerate(model.places["nominal"]) if place.startswith("channels[0]/samples[0]")]
    nominal[signal] = 0.0
    yields = dataclasses.replace(model.yields, nominal=jnp.asarray(nominal))
    value, gradient = jax.value_and_grad(lambda y: objectives.cls(model(y), 0.9))(yields)
    assert float(value) == 1.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_signal_that_a_free_parameter_imitates_has_no_gradient() -> None:
    """The rounding of a fit is all that its test statistic is; the root of that has any slope."""
    signal, background = np.array([8.0, 11.0, 5.0]), np.array([39.0, 55.0, 20.0])
    spec = {"channels": [{"name": "c", "samples": [
        {"name": "s", "data": signal.tolist(), "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": background.tolist(), "modifiers": [
            modifier("free", "shapefactor"), modifier("stat", "staterror", [5.0, 4.0, 3.0])]},
    ]}]}  # fmt: skip
    model = HistFactory(spec)
    data = model().data(background + 0.3 * signal)

    def numbers(yields: Yields, data: Array) -> Array:
        bound = model(yields)
        return jnp.stack([
            objectives.log_cls(bound), objectives.discovery_significance(bound), objectives.log_cls(bound, 1.0, data),
        ])  # fmt: skip

    found = jax.jit(numbers)(model.yields, data)
    np.testing.assert_allclose(found, 0.0, atol=1e-7)
    for slope in jax.tree.leaves(jax.jit(jax.jacrev(numbers, argnums=(0, 1)))(model.yields, data)):
        np.testing.assert_array_equal(slope, 0.0)


def test_empty_bin_and_unmeasured_nuisance_have_finite_gradients() -> None:
    spec: dict[str, Any] = {
        "channels": [
            {
                "name": "c",
                "samples": [
                    {
                        "name": "s",
                        "data": [0.0, 5.0],
                        "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                    },
                    {
                        "name": "b",
                        "data": [0.0, 50.0],
                        "modifiers": [{"name": "st", "type": "staterror", "data": [0.0, 5.0]}],
                    },
                    {
                        "name": "none",
                        "data": [0.0, 0.0],
                        "modifiers": [{"name": "k", "type": "normfactor", "data": None}],
                    },
                ],
            }
        ]
    }
    model = HistFactory(spec)

    def both(y: Yields) -> Array:
        return objectives.cls(model(y), 1.5) + objectives.poi_uncertainty(model(y), model(y).data([0.0, 56.0]))

    value, gradient = jax.jit(jax.value_and_grad(both))(model.yields)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_composed_objectives_cost_one_fit(fitted: Models) -> None:
    """Counted in the compiled program: the loops of two equal fits become one, and Fisher terms have none."""
    model, _, _ = fitted

    def loops(objective: Callable[[BoundModel], Array]) -> int:
        return jax.jit(lambda y: objective(model(y))).lower(model.yields).compile().as_text().count(" while(")

    def mixed(m: BoundModel) -> Array:
        return 0.7 * objectives.cls(m) + 0.2 * objectives.poi_uncertainty(m) + 0.1 * objectives.cls(m) ** 2

    assert loops(mixed) == loops(objectives.cls) > 0


def test_templates_and_numbers_give_the_same() -> None:
    spec = {"channels": [dict(FITTED["channels"][0])], "parameters": FITTED["parameters"]}
    numbers = HistFactory(spec)()
    samples = [dict(sample) for sample in spec["channels"][0]["samples"]]
    bkg = dict(samples[1], data="bkg", modifiers=[dict(m) for m in samples[1]["modifiers"]])
    bkg["modifiers"][2]["data"] = {"hi_data": "bkg:up", "lo_data": "bkg:down"}
    bkg["modifiers"][3]["data"] = "bkg"
    model = HistFactory({**spec, "channels": [{"name": "signal", "samples": [samples[0], bkg, samples[2]]}]})
    nominal, shifts = samples[1]["data"], samples[1]["modifiers"][2]["data"]
    templates = {
        ("signal", "bkg", "nominal"): _Template(nominal, np.square(samples[1]["modifiers"][3]["data"])),
        ("signal", "bkg", "up"): _Template(shifts["hi_data"], None),
        ("signal", "bkg", "down"): _Template(shifts["lo_data"], None),
    }
    assert set(model.template_keys) == set(templates)
    with_templates = model(templates)
    jax.tree.map(np.testing.assert_allclose, with_templates.yields, numbers.yields)
    workspace = pyhf.Workspace(model.workspace(templates))
    judge = workspace.model()
    assert judge.config.par_names == with_templates.config.par_names
    pars = np.array(judge.config.suggested_init())
    np.testing.assert_allclose(
        with_templates.logpdf(pars, workspace.data(judge)), judge.logpdf(pars, workspace.data(judge))[0]
    )
    pars[judge.config.poi_index] = 0.0
    np.testing.assert_allclose(
        workspace.data(judge, include_auxdata=False), judge.expected_data(pars, include_auxdata=False)
    )


@dataclasses.dataclass
class _Template:
    values: Any
    variances: Any
