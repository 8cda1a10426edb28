r"""p-values from profile likelihood ratios in the asymptotic limit (Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727).

All in logarithms of the normal distribution's tail, so that 30σ still has all digits and a gradient.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import log_ndtr, ndtri

SIGMAS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


def root(q: Array) -> Array:
    r"""$\sqrt{q}$ with gradient 0 where $q \le 0$ (instead of an infinite one)."""
    positive = q > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, q, 1.0)), 0.0)


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
    signal, background = log_ndtr(-(value + root_asimov)), log_ndtr(-value)
    return signal, background, signal - background


def target(cl: float, sigmas: np.ndarray | float) -> Array:
    r"""$\sqrt{q_A}$ at which the expected CLs of a fluctuation of N sigmas is $\alpha = 1 - $ cl.

    From $\Phi(N - \sqrt{q_A}) = \alpha\,\Phi(N)$: $\sqrt{q_A} = N - \Phi^{-1}(\alpha\,\Phi(N))$ (eq. 89 with CLs).
    """
    n = jnp.asarray(sigmas, float)
    return n - ndtri((1.0 - cl) * jnp.exp(log_ndtr(n)))
