"""Binnings: what an axis of ``hist`` is to a differentiable histogram, or why it cannot be one."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import HistogramError
from diffea.histograms.bandwidth import default_bandwidth, per_edge
from diffea.histograms.categories import Categories, categories_of
from diffea.histograms.kernels import Kernel
from diffea.histograms.window import Window, checked_edges, dense, hard_window, soft_window
from diffea.types import AnyArray, AnyAxis

__all__ = ["Binning", "Circular", "Transformed", "binning", "edges_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class Circular:
    """Bins of an angle: what leaves at one end comes in at the other.

    Attributes:
        edges: shape (bins + 1,), one period.
    """

    edges: np.ndarray

    def window(self, x: jax.Array, bandwidth: ArrayLike | None, kernel: Kernel, *, hard: bool) -> Window:
        """Which bins each event touches.

        Raises:
            HistogramError: when the kernel reaches further than one period.
        """
        edges = checked_edges(self.edges)
        bins, low, period = edges.size - 1, edges[0], edges[-1] - edges[0]
        lost = ~jnp.isfinite(x)  # which boost-histogram counts in the overflow, and only these
        x = x - period * jnp.floor((x - low) / period)
        x = jnp.where(x < edges[-1], x, low)  # of the rounding of a tiny negative number
        if hard:
            return hard_window(jnp.where(lost, jnp.inf, x), edges)
        x = jnp.where(lost, jnp.nan, x)  # of which no share of a bin is known: no template takes it
        thrice = np.concatenate([edges[:-1] - period, edges, edges[1:] + period])
        h = default_bandwidth(thrice) if bandwidth is None else self._thrice(bandwidth, bins)
        farthest = period / kernel.reach
        if isinstance(h, jax.core.Tracer):
            h = jnp.where(h <= farthest, h, jnp.nan)
        elif np.max(h) > farthest:
            msg = f"expected a bandwidth of at most {farthest:.4g}, with which a kernel reaches around the circular axis once, got {bandwidth}"
            raise HistogramError(msg)
        window = soft_window(x, thrice, h, kernel)
        if callable(window.fractions) and window.touched <= bins:
            return dataclasses.replace(window, period=bins)
        inner = dense(window)[:, 1:-1].reshape(-1, 3, bins).sum(axis=1)
        none = jnp.zeros_like(inner[:, :1])
        return Window(None, jnp.concatenate([none, inner, none], axis=1), bins + 2)

    @staticmethod
    def _thrice(bandwidth: ArrayLike, bins: int) -> AnyArray:
        """A given bandwidth at the edges of three periods; the first and the last edge of one are the same edge."""
        h = per_edge(bandwidth, bins)
        xp: Any = jnp if isinstance(h, jax.core.Tracer) else np
        h = xp.broadcast_to(h, (bins + 1,))
        inner, end = h[1:-1], xp.minimum(h[:1], h[-1:])
        return xp.concatenate([end, inner, end, inner, end, inner, end])


@dataclasses.dataclass(frozen=True, eq=False)
class Transformed:
    """Bins of a transformed axis, which also says where numbers outside of the transform's domain go.

    Attributes:
        edges: shape (bins + 1,), in the unit of the observable.
        even: whether the transform takes negative numbers for positive ones; they overflow otherwise, as in boost-histogram.
    """

    edges: np.ndarray
    even: bool

    def unfolded(self, x: jax.Array) -> jax.Array:
        """The observable, with negative numbers where boost-histogram counts them."""
        return jnp.abs(x) if self.even else jnp.where(x < 0, jnp.inf, x)


Binning = np.ndarray | Categories | Circular | Transformed


def binning(axis: AnyAxis) -> Binning:
    """What ``fill`` takes as the edges of a ``hist`` axis.

    Args:
        axis: of ``hist`` or boost-histogram. An axis of strings has the categories 0, 1, … in the order of its names.

    Raises:
        HistogramError: for what is no axis, has no bins, grows (templates of chunks that grew apart do not add up), has a
            transform of the user's own, or edges that are not finite.
    """
    traits = getattr(axis, "traits", None)
    if traits is None:
        msg = f"expected an axis of hist, such as hist.axis.Regular(12, 20, 200, name='m'), got {axis!r}"
        raise HistogramError(msg)
    if traits.growth:
        msg = f"{axis!r} grows, so that templates of different events would have different bins: fix its bins (growth=False)"
        raise HistogramError(msg)
    if not len(axis):
        msg = f"{axis!r} has no bins"
        raise HistogramError(msg)
    if traits.discrete:
        return categories_of(axis)
    edges = checked_edges(edges_of(axis))
    if traits.circular:
        return Circular(edges)
    transform = getattr(axis, "transform", None)
    return edges if transform is None else _transformed(axis, transform, edges)


def edges_of(axis: AnyAxis) -> np.ndarray:
    """The edges between which an axis of ``hist`` counts, shape (bins + 1,).

    ``axis.edges`` of a circular axis of variable bins goes on with the width of the first one (boost-histogram 1.8.1); where such an
    axis counts is asked of ``axis.index`` by bisection.
    """
    edges = np.array(axis.edges, dtype=float)
    if axis.traits.circular and not axis.traits.discrete:
        first = np.arange(1, len(axis))
        low, high = np.full(first.shape, edges[0]), np.full(first.shape, edges[-1])
        while np.any((low < (middle := low + (high - low) / 2)) & (middle < high)):
            above = axis.index(middle) >= first
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        edges[1:-1] = high
    return edges


def _transformed(axis: AnyAxis, transform: object, edges: np.ndarray) -> Binning:
    name = str(transform)
    power = getattr(transform, "power", None)
    if power is None and name not in ("log", "sqrt"):
        msg = f"{axis!r} has the transform {name}; those that diffea knows are log, sqrt and Pow: give the edges (hist.axis.Variable)"
        raise HistogramError(msg)
    if power is not None and power > 0 and math.fmod(power, 2.0) == 1.0:
        return edges
    return Transformed(edges, even=power is not None and math.fmod(power, 2.0) == 0.0)
