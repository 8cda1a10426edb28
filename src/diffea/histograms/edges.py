"""Learnable bin edges: parameters without bounds that become edges in ascending order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import HistogramError

__all__ = ["edge_logits", "ordered_edges"]


def ordered_edges(logits: ArrayLike, low: float, high: float, *, smallest: float = 0.0) -> jax.Array:
    """Bin edges from ``low`` to ``high`` whose widths are ``smallest`` and a softmax share of what is left.

    >>> np.round(histograms.ordered_edges(jnp.zeros(4), 0.0, 1.0), 3).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]

    Args:
        logits: parameters, shape (bins,); a constant added to all of them changes nothing.
        low: first edge.
        high: last edge.
        smallest: width that every bin has at least; more than 0 if the logits may run apart.

    Returns:
        Shape (bins + 1,), strictly ascending if ``smallest`` is more than 0; without it, a bin whose logit is some 36 below
        another one (in 64 bits) has no width left.

    Raises:
        HistogramError: when bins of that width do not fit between ``low`` and ``high``, or there is not a row of logits, finite where they are known.
    """
    logits = jnp.asarray(logits, float)
    if logits.ndim != 1 or not logits.size or not (isinstance(logits, jax.core.Tracer) or np.isfinite(logits).all()):
        msg = f"expected finite logits of shape (bins,), got {logits}"
        raise HistogramError(msg)
    bins = logits.shape[0]
    spare = high - low - bins * smallest
    if smallest < 0 or not spare > 0:
        msg = f"expected room for {bins} bins of width {smallest} or more between {low} and {high}"
        raise HistogramError(msg)
    widths = smallest + spare * jax.nn.softmax(logits)
    inner = low + jnp.cumsum(widths)[:-1]
    return jnp.concatenate([jnp.full(1, low, inner.dtype), inner, jnp.full(1, high, inner.dtype)])


def edge_logits(edges: ArrayLike, *, smallest: float = 0.0) -> np.ndarray:
    """The parameters for which ``ordered_edges`` gives these edges: where to start from.

    Args:
        edges: shape (bins + 1,), ascending.
        smallest: as for ``ordered_edges``.

    Raises:
        HistogramError: when a bin is not wider than ``smallest``.
    """
    widths = np.diff(np.asarray(edges, dtype=float)) - smallest
    if not (widths.ndim == 1 and widths.size and np.all(widths > 0) and np.isfinite(widths).all()):
        msg = f"expected bins wider than {smallest} in ascending order, got the edges {edges}"
        raise HistogramError(msg)
    return np.log(widths / np.sum(widths))
