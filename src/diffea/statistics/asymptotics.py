r"""p-values from profile likelihood ratios in the asymptotic limit (Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727).

All in logarithms of the normal distribution's tail, so that any number of σ has all digits and a gradient.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr, ndtri

SIGMAS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
_FAR = -20.0
_HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))


def root(q: Array) -> Array:
    r"""$\sqrt{q}$ with gradient 0 where $q \le 0$ (instead of an infinite one); NaN of a NaN."""
    positive = q > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, q, 1.0)), jnp.where(jnp.isnan(q), q, 0.0))


def log_tail(x: Array) -> Array:
    r"""$\ln\Phi(x)$ with all digits of its derivatives.

    Below −20 by the asymptotic series (Abramowitz and Stegun 26.2.12), good to 1e-12 there: the derivative of
    `log_ndtr` is a difference of squares, which loses a digit for every factor of three in x.
    """
    far = x < _FAR
    z = jnp.where(far, x, _FAR)
    series = jnp.zeros_like(z)
    for k in (13, 11, 9, 7, 5, 3, 1):
        series = -k / z**2 * (1.0 + series)
    return jnp.where(
        far, -0.5 * z**2 - jnp.log(-z) - _HALF_LOG_2PI + jnp.log1p(series), log_ndtr(jnp.where(far, 0.0, x))
    )


def statistic(root_q: Array, root_asimov: Array, test_stat: str) -> Array:
    r"""$-(\hat\mu - \mu)/\sigma$-like statistic that is standard normal under background, minus its Asimov value.

    Eqs. 57 and 65: $\sqrt{q} - \sqrt{q_A}$; for q̃ above $q_A$, $(q - q_A)/(2\sqrt{q_A})$.
    """
    plain = root_q - root_asimov
    if test_stat != "qtilde":
        return plain
    beyond = (root_q > root_asimov) & (root_asimov > 0)
    safe = jnp.where(beyond, root_asimov, 1.0)
    return jnp.where(beyond, (root_q**2 - root_asimov**2) / (2.0 * safe), plain)


def log_p_values(value: Array, root_asimov: Array) -> tuple[Array, Array, Array]:
    r"""Logarithms of $CL_{s+b} = \Phi(-(t + \sqrt{q_A}))$, $CL_b = \Phi(-t)$ and $CL_s$, their ratio."""
    signal, background = log_tail(-(value + root_asimov)), log_tail(-value)
    return signal, background, signal - background


def target(cl: float, sigmas: np.ndarray | float) -> Array:
    r"""$\sqrt{q_A}$ at which the expected CLs of a fluctuation of N sigmas is $\alpha = 1 - $ cl.

    From $\Phi(N - \sqrt{q_A}) = \alpha\,\Phi(N)$: $\sqrt{q_A} = N - \Phi^{-1}(\alpha\,\Phi(N))$ (eq. 89 with CLs).
    """
    n = jnp.asarray(sigmas, float)
    return n - ndtri((1.0 - cl) * jnp.exp(log_ndtr(n)))
