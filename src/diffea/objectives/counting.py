"""The significance of counting events in bins, without a fit."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from diffea.errors import ParameterError
from diffea.statistics import asymptotics, diagnostics
from diffea.statistics.bound import BoundModel
from diffea.statistics.given import numbers as real
from diffea.statistics.yields import is_concrete
from diffea.types import PyTree


def counting_significance(bound: BoundModel, relative_uncertainty: float | Array = 0.0) -> Array:
    r"""Significance of independent counting experiments, one in each bin; larger is better. No fit.

    Without uncertainty $Z_b^2 = 2[(s+b)\ln(1 + s/b) - s]$ (arXiv:1007.1727, eq. 97); with background uncertainty σ
    $$Z_b^2 = 2\Big[(s+b)\ln\frac{(s+b)(b+\sigma^2)}{b^2+(s+b)\sigma^2}
      - \frac{b^2}{\sigma^2}\ln\Big(1 + \frac{\sigma^2 s}{b(b+\sigma^2)}\Big)\Big]$$
    (Cowan, "Discovery sensitivity for a counting experiment with background uncertainty", 2012, eq. 20);
    $Z = \sqrt{\sum_b Z_b^2}$, with the expectations s and b at initial nuisance parameters. Bins without background do
    not count.

    >>> round(float(objectives.counting_significance(bound)), 3)
    1.437
    >>> round(float(objectives.counting_significance(bound, relative_uncertainty=0.1)), 3)
    1.135

    Args:
        relative_uncertainty: σ/b, scalar or shape (bins,).

    Raises:
        ParameterError: for one of another shape, or negative or NaN.
    """
    background, signal = diagnostics.background_and_signal(bound)
    relative = _relative(relative_uncertainty, background)
    usable = (background > 0) & (signal > 0)
    b, s = jnp.where(usable, background, 1.0), jnp.where(usable, signal, 0.0)
    known = relative != 0
    variance = (jnp.where(known, relative, 1.0) * b) ** 2
    n = s + b
    plain = n * jnp.log1p(s / b) - s
    first = n * jnp.log(n * (b + variance) / (b**2 + n * variance))
    uncertain = first - b**2 / variance * jnp.log1p(variance * s / (b * (b + variance)))
    return asymptotics.root(2.0 * jnp.sum(jnp.where(usable, jnp.where(known, uncertain, plain), 0.0)))


def _relative(given: PyTree, background: Array) -> Array:
    """A relative uncertainty for each bin, NaN where it is none."""
    relative = real(given, "relative_uncertainty", ParameterError)
    some = relative >= 0
    if relative.shape not in ((), background.shape) or (is_concrete(some) and not some.all()):
        msg = f"relative_uncertainty: expected numbers of 0 or more, one or one a bin ({background.size}), got {given!r:.200}"
        raise ParameterError(msg)
    return jnp.broadcast_to(jnp.where(some, relative, jnp.nan), background.shape)
