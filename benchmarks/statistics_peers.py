"""A likelihood of evermore with CLs of everwillow, beside diffea's on the same model; used by statistics_speed.py.

The model has one channel of 40 bins, a signal, a background, and 12 nuisance parameters: six that move the shape (the polynomial of
code 4p, which is evermore's vertical morphing) and six that scale it by a power (code 1).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CODES = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code4p"}}
MISSING = "everwillow and evermore are not installed (pip install everwillow evermore): no comparison"


def medium(shapes: int = 6, norms: int = 6, bins: int = 40) -> dict[str, Any]:
    """The numbers: signal, background, its variations (shapes, bins), and factors at one sigma (norms,)."""
    random, x = np.random.default_rng(1), np.linspace(0, 1, bins)
    background = 300 * np.exp(-3 * x) + 10
    tilts = 1 + 0.04 * random.normal(size=(shapes, 1)) + 0.06 * random.normal(size=(shapes, 1)) * (x - 0.5)
    return {
        "signal": 15 * np.exp(-(((x - 0.5) / 0.1) ** 2)),
        "background": background,
        "up": background * tilts,
        "down": background / tilts**0.9,
        "kappa": 1 + 0.1 * random.uniform(size=norms),
    }


def specification(numbers: dict[str, Any]) -> dict[str, Any]:
    """The same as pyhf's specification, for `CODES`."""
    shapes = [
        {"name": f"shape{i}", "type": "histosys", "data": {"hi_data": up.tolist(), "lo_data": down.tolist()}}
        for i, (up, down) in enumerate(zip(numbers["up"], numbers["down"], strict=True))
    ]
    norms = [
        {"name": f"norm{i}", "type": "normsys", "data": {"hi": kappa, "lo": 1 / kappa}}
        for i, kappa in enumerate(numbers["kappa"].tolist())
    ]
    mu = [{"name": "mu", "type": "normfactor", "data": None}]
    samples = [
        {"name": "signal", "data": numbers["signal"].tolist(), "modifiers": mu},
        {"name": "background", "data": numbers["background"].tolist(), "modifiers": [*shapes, *norms]},
    ]
    return {"channels": [{"name": "c", "samples": samples}]}


def is_there() -> bool:
    """Whether both packages are installed."""
    return all(importlib.util.find_spec(name) for name in ("everwillow", "evermore"))


def peer_cls() -> Callable[[dict[str, Any]], Any]:
    """Expected CLs at μ = 1 as a function of the numbers, by everwillow's fits of evermore's likelihood.

    evermore's effects are put together here, since its `Compose` cannot take templates that are traced.
    """
    import evermore as evm
    import everwillow.statelib as sl
    import optimistix
    from everwillow.hypotest.calculators import AsymptoticCalculator
    from everwillow.hypotest.distributions import QTildeAsymptotic
    from everwillow.hypotest.test_statistics import QTilde

    def cls(numbers: dict[str, Any]) -> Any:
        def shift(up: Any, down: Any, value: Any) -> Any:
            return evm.effect.VerticalTemplateMorphing(up, down)(value=value, hist=numbers["background"]).offset

        def scale(kappa: Any, value: Any) -> Any:
            return evm.effect.SymmetricExponential(kappa)(value=value, hist=numbers["background"]).scale

        def expected(pars: Any) -> Any:
            shifts = jax.vmap(shift)(numbers["up"], numbers["down"], pars["shape"]).sum(axis=0)
            scales = jax.vmap(scale)(numbers["kappa"], pars["norm"]).prod(axis=0)
            return pars["mu"] * numbers["signal"] + (numbers["background"] + shifts) * scales

        def nll(pars: Any, data: Any) -> Any:
            pulls = jnp.sum(pars["shape"] ** 2) + jnp.sum(pars["norm"] ** 2)
            return -jnp.sum(evm.pdf.PoissonContinuous(lamb=expected(pars)).log_prob(data)) + 0.5 * pulls

        start = {"mu": 1.0, "shape": jnp.zeros(len(numbers["up"])), "norm": jnp.zeros(len(numbers["kappa"]))}
        calculator = AsymptoticCalculator(
            nll_fn=nll,
            params=sl.State.from_pytree(start),
            observation=numbers["background"],
            poi_key="mu",
            asimov_observation=numbers["background"],
            test_statistic=QTilde(),
            distribution=QTildeAsymptotic(),
        )
        return calculator.cls(calculator.test(1.0, solver=optimistix.BFGS(rtol=1e-7, atol=1e-7), max_steps=2000))

    return cls


def peer_function() -> Callable[[Any], Any]:
    """Its value and gradient in all numbers, compiled."""
    return jax.jit(jax.value_and_grad(peer_cls()))
