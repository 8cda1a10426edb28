"""Which bins an event touches, and by which fractions: one axis of a histogram."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import HistogramError
from diffea.histograms.bandwidth import per_edge
from diffea.histograms.kernels import Kernel
from diffea.histograms.lookup import count_reached
from diffea.soft.transition import step

__all__ = ["Window", "checked_edges", "hard_window", "soft_window"]


@dataclasses.dataclass(frozen=True)
class Window:
    """The bins that each event touches, counted with the underflow bin as 0.

    Attributes:
        first: the first bin, shape (events,); ``None`` when every event touches every bin.
        fractions: of the event in that bin and those after it, each of shape (events,); their sum is 1.
        extent: number of bins with flow.
    """

    first: jax.Array | None
    fractions: tuple[jax.Array, ...]
    extent: int


def checked_edges(edges: Any) -> Any:
    """The edges as an array.

    Raises:
        HistogramError: when they are not at least two ascending numbers.
    """
    known = not isinstance(edges, jax.core.Tracer)
    array = np.asarray(edges, dtype=float) if known else edges
    if array.ndim != 1 or array.shape[0] < 2:
        msg = f"expected bin edges of shape (bins + 1,), got shape {array.shape}"
        raise HistogramError(msg)
    if known and not (np.all(np.isfinite(array)) and np.all(np.diff(array) > 0)):
        msg = f"expected finite bin edges in ascending order, got {array}"
        raise HistogramError(msg)
    return array


def hard_window(x: jax.Array, edges: Any) -> Window:
    """The one bin that holds each event: its lower edge is in it, its upper edge is in the next; a NaN overflows."""
    first = jnp.searchsorted(jnp.asarray(edges), x, side="right", method="compare_all").astype(jnp.int32)
    return Window(jnp.where(jnp.isnan(x), edges.shape[0], first), (jnp.ones(x.shape),), edges.shape[0] + 1)


def soft_window(x: jax.Array, edges: Any, bandwidth: Any, kernel: Kernel) -> Window:
    """The bins within a kernel's reach of each event.

    An edge with its bandwidth is a smooth step: how much of the event is above it. The fraction in a bin is what is
    above its lower edge and not above its upper one. Edges and bandwidth that are known before compilation fix how many
    edges an event can reach, so that only those are looked at; if either is traced, every edge is.

    Args:
        x: shape (events,).
        edges: shape (bins + 1,).
        bandwidth: scalar, one a bin, or one an edge.
        kernel: the kernel.

    Raises:
        HistogramError: when a bandwidth is not positive, or grows faster than its edges.
    """
    bins = edges.shape[0] - 1
    half = per_edge(bandwidth, bins) * kernel.reach
    if isinstance(edges, jax.core.Tracer) or isinstance(half, jax.core.Tracer):
        first, touched = None, bins + 1
    else:
        half = np.broadcast_to(half, edges.shape)
        first, touched = _first_edge(x, edges, half)
    above = [_above(x, edges, half, first, k, kernel) for k in range(touched)]
    inner = [low - high for low, high in itertools.pairwise(above)]
    return Window(first, (1.0 - above[0], *inner, above[-1]), bins + 2)


def _above(x: jax.Array, edges: Any, half: Any, first: jax.Array | None, k: int, kernel: Kernel) -> jax.Array:
    """How much of each event is above edge ``first + k``."""
    if first is None:
        edge, scale = edges[k], half if jnp.ndim(half) == 0 else half[k]
    elif np.ptp(half) <= 1e-12 * half[0]:
        edge, scale = jnp.asarray(edges, x.dtype)[first + k], half[0]
    else:
        edge, scale = jnp.asarray(edges, x.dtype)[first + k], jnp.asarray(half, x.dtype)[first + k]
    return step(x, edge, scale, kernel.profile)


def _first_edge(x: jax.Array, edges: np.ndarray, half: np.ndarray) -> tuple[jax.Array | None, int]:
    """The first edge that each event does not lie above for certain, and how many edges an event can reach."""
    low, high = edges - half, edges + half
    if np.any(np.diff(low) < 0) or np.any(np.diff(high) < 0):
        msg = f"expected a bandwidth that changes from edge to edge by less than the bins' widths, got reaches {half} at the edges {edges}"
        raise HistogramError(msg)
    tolerance = 1e-9 * np.min(np.diff(edges))
    reached = np.arange(1, edges.size + 1) - np.searchsorted(high - tolerance, low, side="right")
    touched = max(1, int(np.max(reached)))
    if touched == edges.size:
        return None, touched
    # anywhere between the end of one edge's reach and the start of that of the edge `touched` places on
    turns = 0.5 * (high[: edges.size - touched] + low[touched:])
    return count_reached(x, turns), touched
