r"""HistFactory's interpolation codes, as pyhf numbers them (CERN-OPEN-2012-016, section 4.1; pyhf 0.7 `interpolators`).

Additive codes (0, 2, 4p) are linear in the two shifts $\Delta^+ = I^+ - I^0$ and $\Delta^- = I^0 - I^-$:
$\Delta(\alpha) = u(\alpha)\,\Delta^+ + d(\alpha)\,\Delta^-$. So one function gives $(u, d)$ for every modifier, and the
shifts of all samples and bins follow by two matrix products. Multiplicative codes (1, 4) give the factor itself.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

_SYSTEM = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [-1, 1, -1, 1, -1, 1],
        [1, 2, 3, 4, 5, 6],
        [1, -2, 3, -4, 5, -6],
        [0, 2, 6, 12, 20, 30],
        [0, 2, -6, 12, -20, 30],
    ],
    dtype=float,
)
_INVERSE = np.round(np.linalg.inv(_SYSTEM) * 16) / 16


def code0(alpha: Array) -> tuple[Array, Array]:
    """Piecewise linear (u, d), a kink at 0."""
    return jnp.maximum(alpha, 0.0), jnp.minimum(alpha, 0.0)


def code2(alpha: Array) -> tuple[Array, Array]:
    r"""Quadratic inside of [-1, 1], linear outside.

    With $a = (\Delta^+ - \Delta^-)/2$ and $b = (\Delta^+ + \Delta^-)/2$: $a\alpha^2 + b\alpha$ inside. Outside it is what
    `pyhf.Model` computes, $(b + 2a)(\alpha - 1)$ above and $(b - 2a)\alpha$ below, which jumps at ±1 (ROOT's does not).
    """
    a = jnp.where(alpha > 1, 2 * (alpha - 1), jnp.where(alpha < -1, -2 * alpha, alpha**2))
    b = jnp.where(alpha > 1, alpha - 1, alpha)
    return 0.5 * (b + a), 0.5 * (b - a)


def code4p(alpha: Array) -> tuple[Array, Array]:
    """Sixth-order polynomial inside of [-1, 1] (twice differentiable everywhere), linear outside."""
    square = jnp.clip(alpha, -1.0, 1.0) ** 2
    even = 0.0625 * square * (15.0 + square * (3.0 * square - 10.0))
    inside = jnp.abs(alpha) <= 1
    up = jnp.where(inside, 0.5 * alpha + even, jnp.maximum(alpha, 0.0))
    down = jnp.where(inside, 0.5 * alpha - even, jnp.minimum(alpha, 0.0))
    return up, down


def code1(alpha: Array, log_high: Array, log_low: Array, _: Array) -> Array:
    """Exponential: ``high**alpha`` above 0, ``low**-alpha`` below; a kink at 0."""
    return jnp.exp(jnp.where(alpha > 0, alpha * log_high, -alpha * log_low))


def code4(alpha: Array, log_high: Array, log_low: Array, polynomial: Array) -> Array:
    """Sixth-order polynomial inside of (-1, 1), exponential outside."""
    inside = jnp.abs(alpha) < 1
    x = jnp.where(inside, alpha, 0.0)
    inner = 1.0 + x * _horner(polynomial, x)
    return jnp.where(inside, inner, code1(alpha, log_high, log_low, polynomial))


def code4_polynomial(log_high: Array, log_low: Array) -> Array:
    """The six coefficients of code 4 from value, slope and curvature at ±1; shape (6, *log_high.shape)."""
    high, low = jnp.exp(log_high), jnp.exp(log_low)
    conditions = jnp.stack([high - 1, low - 1, log_high * high, -log_low * low, log_high**2 * high, log_low**2 * low])
    return jnp.tensordot(jnp.asarray(_INVERSE), conditions, axes=1)


def _horner(coefficients: Array, x: Array) -> Array:
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = coefficient + x * total
    return total


ADDITIVE_CODES: dict[str, Callable[[Array], tuple[Array, Array]]] = {"code0": code0, "code2": code2, "code4p": code4p}
MULTIPLICATIVE_CODES: dict[str, Callable[[Array, Array, Array, Array], Array]] = {"code1": code1, "code4": code4}
