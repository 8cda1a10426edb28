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
from diffea.statistics import BoundModel, HistFactory, Yields, goodness_of_fit, nuisances, upper_limit
from diffea.statistics.layout import FIELDS
from tests.statistics.models import EVERYTHING, FITTED, rebuilt, shifted

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


def assert_derivatives(function: Callable[[Yields], Array], yields: Yields) -> None:
    """Gradient and Hessian along a random direction against fourth-order central differences."""
    flat, unravel = ravel_pytree(yields)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape) * 0.1 * np.abs(flat))
    step = 1e-3

    def value_and_grad(x: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(lambda z: function(unravel(z)))(x)

    both = jax.jit(value_and_grad)
    above, below, far_above, far_below = (both(flat + by * step * direction) for by in (1, -1, 2, -2))
    slope, bend = (
        (8 * (a - b) - (c - d)) / (12 * step) for a, b, c, d in zip(above, below, far_above, far_below, strict=True)
    )
    gradient, product = jax.jit(lambda x: jax.jvp(lambda z: value_and_grad(z)[1], (x,), (direction,)))(flat)
    np.testing.assert_allclose(gradient @ direction, slope, rtol=1e-7)
    np.testing.assert_allclose(product, bend, rtol=1e-6, atol=1e-7 * float(jnp.max(jnp.abs(bend))))


WITHOUT_FIT = (
    objectives.poi_uncertainty,
    objectives.nuisance_penalty,
    objectives.counting_significance,
    objectives.cross_entropy,
    objectives.cross_entropy_with_variations,
    objectives.mc_statistical_error,
    lambda bound: jnp.log(objectives.generalised_variance(bound)),
)


def test_objectives_without_fits(fitted: Models) -> None:
    model = fitted[0]
    assert_derivatives(lambda y: sum(f(model(y)) for f in WITHOUT_FIT), model.yields)


def test_expected_cls(fitted: Models) -> None:
    model = fitted[0]
    assert_derivatives(lambda y: objectives.cls(model(y), 0.9), model.yields)


@pytest.mark.slow
def test_expected_limit_and_discovery(fitted: Models) -> None:
    model = fitted[0]
    assert_derivatives(lambda y: objectives.upper_limit(model(y)) + objectives.discovery(model(y)), model.yields)


@pytest.mark.slow
def test_on_data(fitted: Models, observed: np.ndarray) -> None:
    """Best-fit values, their uncertainties and what is made of them: implicit differentiation."""
    model = fitted[0]

    def everything(y: Yields) -> Array:
        bound = model(y)
        after = nuisances(bound, observed)
        return (
            objectives.cls(bound, 1.0, observed)
            + after.impacts[0]
            + after.pulls[0]
            + after.uncertainties[1]
            + 0.1 * goodness_of_fit(bound, observed).statistic
        )

    assert_derivatives(everything, model.yields)


@pytest.mark.slow
def test_observed_limit(fitted: Models, observed: np.ndarray) -> None:
    model = fitted[0]
    flat, unravel = ravel_pytree(model.yields)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape) * 0.1 * np.abs(flat))

    @jax.jit
    def along(t: Array) -> tuple[Array, Array]:
        def limit(t: Array) -> Array:
            return upper_limit(model(unravel(flat + t * direction)), data=observed).observed

        return jax.value_and_grad(limit)(t)

    values = [along(jnp.asarray(t))[0] for t in (-2e-3, -1e-3, 1e-3, 2e-3)]
    slope = (8 * (values[2] - values[1]) - (values[3] - values[0])) / 12e-3
    np.testing.assert_allclose(along(jnp.asarray(0.0))[1], slope, rtol=1e-6)


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

    alone = loops(objectives.cls)
    assert alone == 1
    mixed = loops(
        lambda m: 0.7 * objectives.cls(m) + 0.2 * objectives.poi_uncertainty(m) + 0.1 * objectives.cls(m) ** 2
    )
    assert mixed == alone


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
