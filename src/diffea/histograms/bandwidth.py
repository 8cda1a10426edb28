"""Bandwidths: how far a kernel smears an event, by bin widths or by the data."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import HistogramError
from diffea.types import AnyArray

__all__ = ["default_bandwidth", "per_edge", "scott", "silverman"]

_DEFAULT_SHARE = 0.5 / math.sqrt(7)


def default_bandwidth(edges: ArrayLike) -> AnyArray:
    """The bandwidth with which a biweight kernel reaches half of the narrower bin beside each edge.

    Every event then touches two bins at most, and every event contributes to the gradient.

    >>> np.round(histograms.default_bandwidth(np.array([0.0, 1.0, 3.0])), 3).tolist()
    [0.189, 0.189, 0.378]

    Args:
        edges: shape (bins + 1,), ascending.

    Returns:
        Standard deviation of the kernel at each edge, shape (bins + 1,), in the unit of the edges.
    """
    xp: Any = jnp if isinstance(edges, jax.core.Tracer) else np
    widths = xp.diff(xp.asarray(edges))
    return _DEFAULT_SHARE * xp.minimum(xp.append(widths[:1], widths), xp.append(widths, widths[-1:]))


def scott(x: ArrayLike, weights: ArrayLike | None = None) -> AnyArray:
    """Scott's rule: ``σ n^(-1/5)``, with the effective number of weighted events ``n = (Σw)² / Σw²``.

    Args:
        x: shape (events,).
        weights: shape (events,), not negative; ones by default.

    Returns:
        A bandwidth in the unit of ``x``, as ``scipy.stats.gaussian_kde`` has it.

    Raises:
        HistogramError: when a weight is known and negative, or the known events are too few, or too much alike, to have a spread.
    """
    deviation, number = _spread(x, weights)
    return deviation * number ** (-1 / 5)


def silverman(x: ArrayLike, weights: ArrayLike | None = None) -> AnyArray:
    """Silverman's rule: ``σ (3n/4)^(-1/5)``. Arguments as for ``scott``."""
    deviation, number = _spread(x, weights)
    return deviation * (0.75 * number) ** (-1 / 5)


def _spread(x: ArrayLike, weights: ArrayLike | None) -> tuple[AnyArray, AnyArray]:
    """Standard deviation (unbiased, for weights that say how reliable an event is) and effective number of events."""
    xp: Any = jnp if isinstance(x, jax.core.Tracer) or isinstance(weights, jax.core.Tracer) else np
    values = xp.asarray(x)
    w = xp.ones_like(values) if weights is None else xp.asarray(weights)
    if xp is np and np.any(w < 0):
        msg = f"expected weights that are not negative, got {w.min()}: take their absolute values, or give a bandwidth"
        raise HistogramError(msg)
    with np.errstate(divide="ignore", invalid="ignore"):
        w = w / xp.sum(w)
        number = 1.0 / xp.sum(w * w)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = xp.sum(w * (values - xp.sum(w * values)) ** 2) * number / (number - 1.0)
    if xp is np and not 0 < variance < np.inf:
        msg = f"expected at least two events that are not alike, with finite numbers and weights, got {values.size} with a variance of {variance}"
        raise HistogramError(msg)
    return xp.sqrt(variance), number


def per_edge(bandwidth: ArrayLike, bins: int) -> AnyArray:
    """A bandwidth as one number or one for each edge.

    Args:
        bandwidth: scalar, one for each bin (an edge then has the smaller of the two bins beside it), or one for each edge.
        bins: number of bins.

    Returns:
        Scalar, or shape (bins + 1,); NaN where it is not known before compilation and turns out not to be a positive number.

    Raises:
        HistogramError: when it has another shape, or is known and not positive.
    """
    known = not isinstance(bandwidth, jax.core.Tracer)
    xp: Any = np if known else jnp
    try:
        h = xp.asarray(bandwidth, dtype=float)
    except (TypeError, ValueError) as error:
        msg = f"expected a bandwidth that is a number, or an array of numbers, got {bandwidth!r:.200}"
        raise HistogramError(msg) from error
    if h.shape not in ((), (bins,), (bins + 1,)):
        msg = f"expected a bandwidth that is one number, one a bin ({bins}) or one an edge ({bins + 1}), got shape {h.shape}"
        raise HistogramError(msg)
    if known and not np.all(np.isfinite(h) & (h > 0)):
        msg = f"expected a positive bandwidth in the unit of the observable, got {bandwidth}: for an exact histogram use soft.hard()"
        raise HistogramError(msg)
    if not known:
        h = jnp.where((h > 0) & (h < jnp.inf), h, jnp.nan)
    if h.shape == (bins,):
        return xp.minimum(xp.append(h[:1], h), xp.append(h, h[-1:]))
    return h
