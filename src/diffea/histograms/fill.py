"""Histograms as smooth functions of their events: kernel density estimates, integrated over bins."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from diffea.errors import HistogramError
from diffea.events.ragged import Column, Ragged
from diffea.histograms.adding import add_up
from diffea.histograms.bandwidth import default_bandwidth
from diffea.histograms.binnings import Circular, Transformed
from diffea.histograms.categories import Categories
from diffea.histograms.kernels import Kernel, kernel_named
from diffea.histograms.window import Reflect, Window, checked_edges, hard_window, soft_window
from diffea.soft.context import is_hard
from diffea.types import AnyArray

__all__ = ["covariance", "fill", "histogram"]

T = TypeVar("T")
Several: TypeAlias = T | tuple[T, ...]
"""For one axis, or a tuple of one for each."""

Edges: TypeAlias = AnyArray | Categories | Circular | Transformed
"""Bin edges of shape (bins + 1,), or what ``binning`` makes of an axis."""


def histogram(
    x: Several[Column],
    edges: Several[Edges],
    weights: Column | None = None,
    *,
    bandwidth: Several[ArrayLike | None] = None,
    kernel: str = "biweight",
    flow: bool = False,
    reflect: Several[Reflect] = False,
) -> jax.Array:
    """Sum of weights in each bin, differentiable in the events, the weights, the edges and the bandwidth.

    >>> edges = np.array([0.0, 1.0, 2.0, 3.0])
    >>> np.round(histograms.histogram(np.array([0.5, 1.9]), edges, bandwidth=0.2), 3).tolist()
    [1.0, 0.673, 0.327]
    >>> with soft.hard():
    ...     print(histograms.histogram(np.array([0.5, 1.9]), edges).tolist())
    [1.0, 1.0, 0.0]

    Args:
        x: observable, shape (events,), or one value an object (``Ragged``); a tuple of them for several axes.
        edges: shape (bins + 1,), ascending, or what ``binning`` makes of an axis of ``hist``; a tuple of them for several axes.
        weights: shape (events,) (or ``Ragged``), or a scalar; ones by default.
        bandwidth: the kernel's standard deviation in the unit of ``x``: one number, one a bin or one an edge; by default
            ``default_bandwidth(edges)``; a tuple of them for several axes.
        kernel: ``biweight``, ``triweight``, ``epanechnikov`` or ``gaussian``.
        flow: also return the underflow and overflow bin, with which the total weight is conserved.
        reflect: mirror at the first and last edge what would leak through them, for an observable that ends there (the last edge is then in the
            last bin), or at the "lower" or the "upper" one alone; a tuple of them for several axes.

    Returns:
        Shape (bins,), or (bins + 2,) with flow; one dimension for each axis. float64.

    Raises:
        HistogramError: when shapes do not fit, or edges or bandwidth make no sense.
    """
    (values,) = _sums(*_windows(x, edges, weights, bandwidth, kernel, reflect=reflect))
    return values if flow else values[(slice(1, -1),) * values.ndim]


def fill(
    x: Several[Column],
    edges: Several[Edges],
    weights: Column | None = None,
    *,
    bandwidth: Several[ArrayLike | None] = None,
    kernel: str = "biweight",
    reflect: Several[Reflect] = False,
) -> tuple[jax.Array, jax.Array]:
    """Sums of weights and of squared weights, with flow bins; under ``soft.hard()`` those of an exact histogram.

    The event i has the fraction f_ib in bin b: the integral over the bin of a kernel around x_i. What lies or leaks
    outside of the edges goes to the flow bins. Arguments as for ``histogram``.

    Returns:
        values ``sum_i w_i f_ib`` and variances ``sum_i (w_i f_ib)^2``, each of shape (bins + 2,), one dimension for
        each axis; float64.

    Raises:
        HistogramError: when shapes do not fit, or edges or bandwidth make no sense.
    """
    values, variances = _sums(*_windows(x, edges, weights, bandwidth, kernel, reflect=reflect), (1, 2))
    return values, variances


def covariance(
    x: Column,
    edges: Edges,
    weights: Column | None = None,
    *,
    bandwidth: ArrayLike | None = None,
    kernel: str = "biweight",
    flow: bool = False,
) -> jax.Array:
    """Statistical covariance of the bins of a kernel histogram of one axis: ``Σ_i w_i² f_ib f_ic``.

    An event that is shared between bins correlates them; the diagonal is the variances of ``fill``, and an exact
    histogram has nothing else. Arguments as for ``histogram``.

    Returns:
        Shape (bins, bins), or (bins + 2, bins + 2) with flow; float64.
    """
    (window,), w = _windows(x, edges, weights, bandwidth, kernel, reflect=False)
    wide = w.astype(float)
    (matrix,) = _sums([window, window], wide * wide)
    return matrix if flow else matrix[1:-1, 1:-1]


def _windows(
    x: Several[Column],
    edges: Several[Edges],
    weights: Column | None,
    bandwidth: Several[ArrayLike | None],
    kernel: str,
    *,
    reflect: Several[Reflect],
) -> tuple[list[Window], jax.Array]:
    """What every event touches on each axis, and its weight."""
    xs = x if isinstance(x, tuple) else (x,)
    all_edges: Any = edges if isinstance(x, tuple) else (edges,)
    bandwidths = bandwidth if isinstance(bandwidth, tuple) else (bandwidth,) * len(xs)
    reflects = reflect if isinstance(reflect, tuple) else (reflect,) * len(xs)
    if not isinstance(all_edges, tuple) or {len(all_edges), len(bandwidths), len(reflects)} != {len(xs)}:
        msg = f"expected one array of edges (and one bandwidth, or none) for each of {len(xs)} observables"
        raise HistogramError(msg)
    if unknown := [ends for ends in reflects if ends not in (True, False, "lower", "upper")]:
        msg = (
            f"""reflect is True, False, "lower" or "upper", or a tuple of these for several axes, got {unknown[0]!r}"""
        )
        raise HistogramError(msg)
    arrays, w = _rows(xs, all_edges, weights)
    chosen = kernel_named(kernel)
    axes = zip(arrays, all_edges, bandwidths, reflects, strict=True)
    windows = [_window(x, edges, bandwidth, chosen, ends) for x, edges, bandwidth, ends in axes]
    return windows, w


def _window(x: jax.Array, edges: Edges, bandwidth: ArrayLike | None, kernel: Kernel, reflect: Reflect) -> Window:
    if isinstance(edges, Categories):
        return edges.window(x)
    if x.ndim != 1:
        msg = f"expected an observable of shape (events,) for an axis with edges, got shape {x.shape}"
        raise HistogramError(msg)
    if isinstance(edges, Circular):
        return edges.window(x, bandwidth, kernel, hard=is_hard())
    if isinstance(edges, Transformed):
        x, edges = edges.unfolded(x), edges.edges
    edges = checked_edges(edges)
    if is_hard():
        return hard_window(x, edges, reflect=reflect)
    bandwidth = default_bandwidth(edges) if bandwidth is None else bandwidth
    return soft_window(x, edges, bandwidth, kernel, reflect=reflect)


def _rows(
    xs: tuple[Column, ...], edges: tuple[Edges, ...], weights: Column | None
) -> tuple[list[jax.Array], jax.Array]:
    """Observables and weights, one row an event (or an object) each."""
    columns: list[Any] = [*xs, 1.0 if weights is None else weights]
    ragged = [c for c in columns if isinstance(c, Ragged)]
    if ragged:
        if len(shapes := {c.shape for c in ragged}) > 1:
            msg = f"expected observables and weights of the same objects, got shapes {sorted(shapes)}"
            raise HistogramError(msg)
        mask = functools.reduce(operator.and_, (jnp.asarray(c.mask) for c in ragged))
        kinds = [isinstance(of, Categories) for of in edges]
        columns = [_of_objects(c, mask.shape, categories=of) for c, of in zip(columns, [*kinds, False], strict=True)]
        columns[-1] = jnp.where(mask.ravel(), columns[-1], 0)
    arrays = [_floating(c) for c in columns]
    rows = arrays[0].shape[:1]
    if not rows or any(a.shape[:1] != rows for a in arrays[:-1]) or arrays[-1].shape not in ((), rows):
        msg = f"expected observables and weights of shape (events,), got {', '.join(str(a.shape) for a in arrays)}"
        raise HistogramError(msg)
    return arrays[:-1], jnp.broadcast_to(arrays[-1], rows)


def _of_objects(x: Column, shape: tuple[int, ...], *, categories: bool) -> jax.Array:
    """A column, one row an object, in the order of the slots; probabilities of categories, one an event, are those of its objects."""
    if isinstance(x, Ragged):
        return jnp.ravel(x.values)
    x = jnp.asarray(x)
    if categories and x.ndim == 2:
        return jnp.repeat(x, shape[1], axis=0)
    return jnp.broadcast_to(x[:, None] if x.ndim == 1 else x, shape).ravel()


def _floating(x: ArrayLike) -> jax.Array:
    try:
        x = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        msg = f"expected an array of numbers, or diffea.Ragged, got {type(x).__name__}: {error!s:.200}"
        raise HistogramError(msg) from error
    if jnp.iscomplexobj(x):
        msg = f"expected real numbers, got {x.dtype}"
        raise HistogramError(msg)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)


def _every_bin(windows: list[Window], weights: jax.Array, power: int) -> jax.Array:
    """Sum over events that touch every bin of every axis: a product of matrices."""
    fractions = [jnp.asarray(w.fractions, float) ** power for w in windows]
    axes = "abcdefgh"[: len(windows)]
    subscripts = ",".join(["n", *("n" + axis for axis in axes)]) + "->" + axes
    return jnp.einsum(subscripts, weights.astype(float) ** power, *fractions)


def _sums(windows: list[Window], weights: jax.Array, powers: tuple[int, ...] = (1,)) -> list[jax.Array]:
    """Sums over events of each power of their shares in the bins."""
    if all(w.first is None for w in windows):
        return [_every_bin(windows, weights, power) for power in powers]
    parts = [window.elementwise() for window in windows]
    strides = [math.prod(w.extent for w in windows[axis + 1 :]) for axis in range(len(windows))]
    firsts = [w.first * stride for w, stride in zip(windows, strides, strict=True) if w.first is not None]
    first = functools.reduce(operator.add, firsts)
    touched = itertools.product(*(range(part.touched) for part in parts))
    places = [sum(place * stride for place, stride in zip(each, strides, strict=True)) for each in touched]
    ends = [0, *itertools.accumulate(len(part.columns) for part in parts)]

    def shares(weight: jax.Array, *columns: jax.Array) -> list[jax.Array]:
        """In each touched bin, row-major over the axes, to each power."""
        own = [part.fractions(*columns[a:b]) for part, (a, b) in zip(parts, itertools.pairwise(ends), strict=True)]
        linear = [(weight * functools.reduce(operator.mul, each)).astype(float) for each in itertools.product(*own)]
        return [share**power for share in linear for power in powers]

    columns = [weights, *(column for part in parts for column in part.columns)]
    totals = add_up(shares, first, columns, places, math.prod(w.extent for w in windows), len(powers))
    return [_whole(total, windows) for total in totals]


def _whole(total: jax.Array, windows: list[Window]) -> jax.Array:
    """Sums in one row as a histogram, periodic axes folded."""
    total = total.reshape([window.extent for window in windows])
    for axis, window in enumerate(windows):
        if window.period is not None:
            total = _folded(total, axis, window.period)
    return total


def _folded(total: jax.Array, axis: int, period: int) -> jax.Array:
    """Add up the bins of one axis that are the same; its flow bins are empty."""
    total = jnp.moveaxis(total, axis, -1)
    inner = total[..., 1:-1].reshape(*total.shape[:-1], -1, period).sum(axis=-2)
    none = jnp.zeros_like(inner[..., :1])
    return jnp.moveaxis(jnp.concatenate([none, inner, none], axis=-1), -1, axis)
