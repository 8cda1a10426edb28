"""Interpolation codes against pyhf's own reference implementations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffea.statistics import interpolation

ALPHAS = np.array([-3.0, -1.0, -0.999, -0.4, 0.0, 0.3, 1.0, 1.7])
LOW, NOMINAL, HIGH = np.array([0.85, 1.3, 0.6]), np.ones(3), np.array([1.2, 0.9, 1.7])


def _pyhf(code: str) -> np.ndarray:
    histograms = [[[LOW.tolist(), NOMINAL.tolist(), HIGH.tolist()]]]
    return np.asarray(getattr(pyhf.interpolators, code)(histograms, subscribe=False)(np.array([ALPHAS])))[0, 0]


@pytest.mark.parametrize("code", interpolation.ADDITIVE_CODES)
def test_additive_codes(code: str) -> None:
    up, down = interpolation.ADDITIVE_CODES[code](jnp.asarray(ALPHAS))
    shifts = np.outer(up, HIGH - NOMINAL) + np.outer(down, NOMINAL - LOW)
    np.testing.assert_allclose(shifts, _pyhf(code), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("code", interpolation.MULTIPLICATIVE_CODES)
def test_multiplicative_codes(code: str) -> None:
    log_high, log_low = jnp.log(HIGH), jnp.log(LOW)
    polynomial = interpolation.code4_polynomial(log_high, log_low)
    factors = interpolation.MULTIPLICATIVE_CODES[code](
        jnp.asarray(ALPHAS)[:, None], log_high, log_low, polynomial[:, None]
    )
    np.testing.assert_allclose(factors, _pyhf(code), rtol=1e-13)


@pytest.mark.parametrize("at", [-1.0, 1.0])
def test_code4p_is_twice_differentiable_where_its_pieces_meet(at: float) -> None:
    def up(alpha: jax.Array) -> jax.Array:
        return interpolation.code4p(alpha)[0]

    for derivative in (up, jax.grad(up), jax.grad(jax.grad(up))):
        np.testing.assert_allclose(derivative(at - 1e-9), derivative(at + 1e-9), atol=1e-7)
