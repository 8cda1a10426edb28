"""A likelihood of one's own: HistFactory written by hand gives HistFactory's numbers, an unbinned one its closed form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.scipy.special import gammaln

from diffea import objectives
from diffea.errors import FitError, MethodError, ParameterError, SpecError
from diffea.statistics import HistFactory, Likelihood, Solver
from tests.statistics.models import modifier

SIGNAL, BACKGROUND, SEEN = [5.0, 9.0, 3.0], [50.0, 40.0, 22.0], [54.0, 50.0, 23.0]
SPEC = {
    "channels": [
        {"name": "c", "samples": [
            {"name": "s", "data": SIGNAL, "modifiers": [modifier("mu", "normfactor")]},
            {"name": "b", "data": BACKGROUND, "modifiers": [
                modifier("shape", "histosys", {"hi_data": [54.0, 41.0, 20.0], "lo_data": [46.0, 39.0, 24.0]}),
            ]},
        ]}
    ]
}  # fmt: skip
SHIFT = jnp.array([4.0, 1.0, -2.0])


def rates(p: Any, t: Any) -> Array:
    return p["mu"] * t["s"] + t["b"] + p["shape"] * SHIFT


def by_hand(p: Any, t: Any) -> Array:
    """The same in the same numbers: Poisson bins, a normal constraint with its own auxiliary datum."""
    nu = rates(p, t)
    return jnp.sum(nu - t["n"] * jnp.log(nu) + gammaln(t["n"] + 1)) + 0.5 * (t["aux"] - p["shape"]) ** 2


def expected(p: Any, t: Any) -> Any:
    return {**t, "n": rates(p, t), "aux": p["shape"]}


OWN = Likelihood(by_hand, {"mu": 1.0, "shape": 0.0}, {"mu": (0, None), "shape": (-5, 5)}, "mu", expected)
TEMPLATES = {"s": jnp.array(SIGNAL), "b": jnp.array(BACKGROUND), "n": jnp.array(SEEN), "aux": jnp.array(0.0)}


@pytest.fixture(scope="module")
def model() -> HistFactory:
    """Code 0 is linear in the shape, as the one by hand."""
    return HistFactory(
        SPEC, modifier_settings={"histosys": {"interpcode": "code0"}, "normsys": {"interpcode": "code4"}}
    )


@pytest.mark.slow
def test_values_and_gradients_are_those_of_histfactory(model: HistFactory) -> None:
    """Blinded and observed; the gradient in the signal's yields is that in the first entries of `nominal`."""
    yields = model.yields
    data = model().data(SEEN)
    signal = [i for i, place in enumerate(model.places["nominal"]) if "samples[0]" in place]

    def both(of: Any, seen: Any) -> Array:
        numbers = [
            objectives.log_cls(of, 1.2),
            objectives.cls(of, 1.2, seen),
            objectives.upper_limit(of),
            objectives.upper_limit(of, 0.9, seen),
            objectives.discovery_significance(of),
            objectives.discovery(of, seen),
            objectives.poi_uncertainty(of),
            objectives.poi_uncertainty(of, seen),
            objectives.generalised_variance(of, ["mu", "shape"], seen),
        ]
        return jnp.stack(numbers)

    def mine(s: Array) -> tuple[Array, Array]:
        templates = {**TEMPLATES, "s": s}
        numbers = both(OWN(templates), templates)
        return numbers, numbers

    def theirs(s: Array) -> Array:
        # the shifts of a histosys are absolute, so only the signal moves here
        return both(
            model(yields.__class__(**{**vars(yields), "nominal": yields.nominal.at[jnp.array(signal)].set(s)})), data
        )

    step = jax.jit(theirs)
    slopes, values = jax.jit(jax.jacrev(mine, has_aux=True))(jnp.array(SIGNAL))
    np.testing.assert_allclose(values, step(jnp.array(SIGNAL)), rtol=1e-6)
    direction = jnp.array([0.3, -0.2, 0.1])
    ends = [step(jnp.array(SIGNAL) + by * 1e-3 * direction) for by in (1, -1, 2, -2)]
    differences = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / 12e-3
    np.testing.assert_allclose(slopes @ direction, differences, rtol=2e-5, atol=1e-8)


def exponential(p: Any, t: Any) -> Array:
    return -jnp.sum(t["weight"] * (jnp.log(p["rate"]) - p["rate"] * t["time"]))


def test_an_unbinned_fit_has_its_closed_form() -> None:
    """Decay times: rate = Σw / Σwt, σ = rate/√Σw, and both their derivatives in every time."""
    times = jnp.asarray(np.random.default_rng(5).exponential(0.5, 200))
    weight = jnp.ones(200)
    own = Likelihood(exponential, {"rate": 1.0}, {"rate": (1e-6, None)}, "rate")
    templates = {"time": times, "weight": weight}
    found = own(templates).fit()
    np.testing.assert_allclose(own.parameters(found.pars)["rate"], 1 / times.mean(), rtol=1e-9)
    sigma = objectives.poi_uncertainty(own(templates), templates)
    np.testing.assert_allclose(sigma, 1 / times.mean() / np.sqrt(200), rtol=1e-9)

    def rate(t: Any) -> Array:
        return own(t).fit().pars[0]

    def uncertainty(t: Any) -> Array:
        return objectives.poi_uncertainty(own(t), t)

    def least(t: Any) -> Array:
        return own(t).fit().deviance

    slope = jax.grad(rate)(templates)
    np.testing.assert_allclose(slope["time"], -1 / (200 * times.mean() ** 2), rtol=1e-8)
    np.testing.assert_allclose(
        slope["weight"], (1 - times / times.mean()) / (200 * times.mean()), rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(jax.grad(uncertainty)(templates)["time"], -1 / (200**1.5 * times.mean() ** 2), rtol=1e-7)
    np.testing.assert_allclose(
        jax.grad(least)(templates)["time"], 1 / times.mean(), rtol=1e-8
    )  # the envelope: ∂/∂t = rate
    q = 2 * (own(templates).fit(poi=2.5).deviance - found.deviance)
    by_formula = 2 * 200 * (2.5 * times.mean() - 1 - np.log(2.5 * times.mean()))
    np.testing.assert_allclose(q, by_formula, rtol=1e-7)


def test_second_derivatives_of_a_profiled_likelihood() -> None:
    """The least −ln L of a normal with both moments free: n/2 ln(Σ(x − x̄)²), differentiated twice."""

    def normal(p: Array, x: Array) -> Array:
        return jnp.sum(0.5 * ((x - p[0]) / jnp.exp(p[1])) ** 2 + p[1])

    own = Likelihood(normal, np.array([0.3, 0.1]))
    x = jnp.array([0.2, 1.1, -0.4, 2.0, 0.9])
    assert own.names == ["[0]", "[1]"]

    def closed(x: Array) -> Array:
        return 0.5 * len(x) * jnp.log(jnp.sum((x - x.mean()) ** 2) / len(x)) + 0.5 * len(x)

    least = jax.jit(lambda x: own(x).fit().deviance)
    np.testing.assert_allclose(least(x), closed(x), rtol=1e-10)
    np.testing.assert_allclose(jax.grad(least)(x), jax.grad(closed)(x), rtol=1e-8)
    np.testing.assert_allclose(jax.hessian(least)(x), jax.hessian(closed)(x), rtol=1e-7, atol=1e-9)


def test_nothing_seen_and_the_bound() -> None:
    """No event: −ln L is linear in the strength, the fit ends at its bound of 0, and CLs is that of counting."""

    def counting(p: Any, t: Any) -> Array:
        nu = p["mu"] * 3.0 + 1.5
        return nu - t * jnp.log(nu)

    own = Likelihood(counting, {"mu": 1.0}, {"mu": (0, None)}, "mu", lambda p, t: p["mu"] * 3.0 + 1.5)
    assert float(own(jnp.array(0.0)).fit().pars[0]) == 0.0
    judge = HistFactory({"channels": [{"name": "c", "samples": [
        {"name": "s", "data": [3.0], "modifiers": [modifier("mu", "normfactor")]},
        {"name": "b", "data": [1.5], "modifiers": []},
    ]}]})()  # fmt: skip
    for n in (0.0, 4.0):
        found = objectives.cls(own(jnp.array(n)), 1.0, jnp.array(n))
        np.testing.assert_allclose(found, objectives.cls(judge, 1.0, judge.data([n])), rtol=1e-6)


def test_what_makes_no_sense() -> None:
    with pytest.raises(SpecError, match=r"no parameter 'nu', the likelihood has \['mu', 'shape'\]"):
        Likelihood(by_hand, {"mu": 1.0, "shape": 0.0}, poi="nu")
    with pytest.raises(SpecError, match="'a' is a set of 2 parameters"):
        Likelihood(by_hand, {"a": np.ones(2)}, poi="a")
    with pytest.raises(ParameterError, match=r"'mu' starts at -1.0, which is not inside of its bounds \(0.0, inf\)"):
        Likelihood(by_hand, {"mu": -1.0}, {"mu": (0, None)})
    with pytest.raises(SpecError, match="no parameter"):
        Likelihood(by_hand, {})
    blind = Likelihood(by_hand, {"mu": 1.0, "shape": 0.0}, poi="mu")
    with pytest.raises(MethodError, match="which data it expects: give Likelihood"):
        objectives.cls(blind(TEMPLATES))
    with pytest.raises(SpecError, match="no parameter of interest"):
        objectives.cls(Likelihood(by_hand, {"mu": 1.0, "shape": 0.0})(TEMPLATES), 1.0, TEMPLATES)
    with pytest.raises(MethodError, match="made of 'q' or 'qtilde', got 'q0'"):
        objectives.cls(OWN(TEMPLATES), 1.0, test_stat="q0")  # type: ignore[arg-type]
    with pytest.raises(FitError, match=r"of one's own likelihood.* failed: the iterations ran out"):
        OWN(TEMPLATES).fit(solver=Solver(max_iterations=2))
    with pytest.raises(FitError, match="not finite at the initial values"):
        OWN({**TEMPLATES, "n": jnp.full(3, jnp.nan)}).fit()
