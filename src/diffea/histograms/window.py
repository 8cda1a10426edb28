"""Which bins an event touches, and by which fractions: one axis of a histogram."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import HistogramError
from diffea.histograms.adding import Shares
from diffea.histograms.bandwidth import per_edge
from diffea.histograms.kernels import Kernel
from diffea.histograms.lookup import count_reached
from diffea.soft.transition import step
from diffea.types import AnyArray

__all__ = ["Reflect", "Window", "checked_edges", "dense", "hard_window", "in_one_bin", "soft_window"]

Reflect: TypeAlias = bool | Literal["lower", "upper"]
"""Whether an observable ends at both edges of an axis, at neither, or at one of them."""


class Spread(NamedTuple):
    """The fractions of an event in neighbouring bins, as a function of columns; ``touched`` bins."""

    fractions: Shares
    columns: tuple[jax.Array, ...]
    touched: int


@dataclasses.dataclass(frozen=True)
class Window:
    """The bins that each event touches, counted with the underflow bin as 0.

    Attributes:
        first: the first bin, shape (events,); ``None`` when every event touches every bin.
        fractions: of the event in that bin and those after it, an elementwise function of the columns;
            their sum is 1. Where every event touches every bin, an array of shape (events, bins).
        extent: number of bins with flow.
        columns: what the fractions are computed of, shape (events,) each.
        touched: how many bins each event touches at most.
        period: number of bins after which those within the flow bins are the same again; ``None`` if they are all different.
    """

    first: jax.Array | None
    fractions: jax.Array | Shares
    extent: int
    columns: tuple[jax.Array, ...] = ()
    touched: int = 1
    period: int | None = None

    def elementwise(self) -> Spread:
        """With fractions that are a function of columns, also where every event touches every bin."""
        if callable(self.fractions):
            return Spread(self.fractions, self.columns, self.touched)
        return Spread(_themselves, tuple(self.fractions.T), self.extent)


@overload
def checked_edges(edges: np.ndarray) -> np.ndarray: ...
@overload
def checked_edges(edges: AnyArray) -> AnyArray: ...
def checked_edges(edges: AnyArray) -> AnyArray:
    """The edges as an array; NaN where they are not known before compilation and turn out not to be finite or not to ascend.

    Raises:
        HistogramError: when they are not at least two ascending numbers.
    """
    known = not isinstance(edges, jax.core.Tracer)
    array = np.asarray(edges, dtype=float) if known else edges
    if array.ndim != 1 or array.shape[0] < 2:
        msg = f"expected bin edges of shape (bins + 1,), got shape {array.shape}"
        raise HistogramError(msg)
    if not known:
        return jnp.where(jnp.all(jnp.diff(array) > 0) & jnp.all(jnp.isfinite(array)), array, jnp.nan)
    if not (np.all(np.isfinite(array)) and np.all(np.diff(array) > 0)):
        msg = f"expected finite bin edges in ascending order, got {array}"
        raise HistogramError(msg)
    return array


def dense(window: Window) -> jax.Array:
    """The fraction of each event in every bin, shape (events, extent)."""
    if window.first is None or not callable(window.fractions):
        return jnp.asarray(window.fractions)
    bins, fractions = jnp.arange(window.extent), jnp.stack(window.fractions(*window.columns), axis=1)
    places = window.first[:, None] + jnp.arange(fractions.shape[1])
    return jnp.sum(jnp.where(bins == places[:, :, None], fractions[:, :, None], 0.0), axis=1)


def hard_window(x: jax.Array, edges: AnyArray, *, reflect: Reflect = False) -> Window:
    """The one bin that holds each event: its lower edge is in it, its upper edge is in the next; a NaN overflows.

    The last edge is in the last bin where observables end there, as on an axis of boost-histogram without overflow.
    """
    first = jnp.searchsorted(jnp.asarray(edges), x, side="right", method="compare_all").astype(jnp.int32)
    if reflect in (True, "upper"):
        first = jnp.where(x == edges[-1], edges.shape[0] - 1, first)
    return Window(jnp.where(jnp.isnan(x), edges.shape[0], first), in_one_bin, edges.shape[0] + 1)


def in_one_bin() -> tuple[jax.Array]:
    """The fraction of an event in the only bin that it touches."""
    return (jnp.ones(()),)


def _themselves(*fractions: jax.Array) -> tuple[jax.Array, ...]:
    """Fractions that are columns."""
    return fractions


def soft_window(
    x: jax.Array, edges: AnyArray, bandwidth: ArrayLike, kernel: Kernel, *, reflect: Reflect = False
) -> Window:
    """The bins within a kernel's reach of each event.

    An edge with its bandwidth is a smooth step: how much of the event is above it. The fraction in a bin is what is
    above its lower edge and not above its upper one. Edges and bandwidth that are known before compilation fix how many
    edges an event can reach, so that only those are looked at; if either is traced, every edge is.

    Args:
        x: shape (events,).
        edges: shape (bins + 1,).
        bandwidth: scalar, one a bin, or one an edge.
        kernel: the kernel.
        reflect: let nothing leak through the first and the last edge, or one of them: what would is mirrored back.

    Raises:
        HistogramError: when a bandwidth is not positive, or grows faster than its edges.
    """
    bins = edges.shape[0] - 1
    half = per_edge(bandwidth, bins) * kernel.reach
    if isinstance(edges, jax.core.Tracer) or isinstance(half, jax.core.Tracer):
        return _every_bin(x, edges, half, kernel, reflect=reflect)
    half = np.broadcast_to(half, edges.shape)
    place, touched = _first_edge(x, edges, half)
    first = place.astype(jnp.int32)
    if touched == edges.size:
        return _every_bin(x, edges, half, kernel, reflect=reflect)
    ends = _ends(edges, reflect)
    edge, reach = _entry(edges, x.dtype), _entry(half, x.dtype)
    spacing = _spacing(edges) or 0.0

    def evenly(u: jax.Array) -> tuple[jax.Array, ...]:
        return _between([step(u, k * spacing / half[0], 1.0, kernel.profile) for k in range(touched)])

    def anywhere(first: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
        return _between([_above(x, edge(first + k), reach(first + k), kernel, ends) for k in range(touched)])

    if not kernel.polynomial:
        return Window(first, _themselves, bins + 2, anywhere(first, x), touched + 1)
    if spacing and _spacing(half) == 0.0 and not reflect:
        return Window(first, evenly, bins + 2, ((x - edge(place)) * (1.0 / half[0]),), touched + 1)
    return Window(first, anywhere, bins + 2, (first, x), touched + 1)


def _between(above: list[jax.Array]) -> tuple[jax.Array, ...]:
    """Fractions between neighbouring edges, from those above each."""
    return (1.0 - above[0], *(low - high for low, high in itertools.pairwise(above)), above[-1])


def _spacing(table: AnyArray) -> float | None:
    """The step from entry to entry, where they are evenly spaced; 0 where they are all the same.

    All the same to 1e-12, as reaches are that were made of differences of edges; evenly spaced to 1e-14, some roundings of
    the largest one, so that arithmetic gives the edges that were asked for.
    """
    scale = float(np.max(np.abs(table)))
    if np.ptp(table) <= 1e-12 * scale:
        return 0.0
    spacing = float(table[-1] - table[0]) / (table.size - 1)
    even = np.max(np.abs(table - (table[0] + spacing * np.arange(table.size)))) <= 1e-14 * scale
    return spacing if even else None


def _entry(table: AnyArray, dtype: np.dtype) -> Callable[[jax.Array], ArrayLike]:
    """Entries of a known table: by arithmetic, which is vectorised, where they are evenly spaced or all the same."""
    start, spacing = float(table[0]), _spacing(table)
    if spacing is None:
        return lambda place: jnp.asarray(table, dtype)[place]
    return lambda place: start + spacing * place.astype(dtype) if spacing else start


def _every_bin(x: jax.Array, edges: AnyArray, half: AnyArray, kernel: Kernel, *, reflect: Reflect) -> Window:
    edges, column = jnp.asarray(edges, x.dtype), x[:, None]
    above = _above(column, edges, jnp.asarray(half, x.dtype), kernel, _ends(edges, reflect))
    padded = jnp.concatenate([jnp.ones_like(column), above, jnp.zeros_like(column)], axis=1)
    return Window(None, padded[:, :-1] - padded[:, 1:], edges.shape[0] + 1)


def _ends(edges: AnyArray, reflect: Reflect) -> tuple[ArrayLike | None, ArrayLike | None]:
    """The first and the last edge, where observables end there."""
    return edges[0] if reflect in (True, "lower") else None, edges[-1] if reflect in (True, "upper") else None


def _above(
    x: jax.Array,
    edge: ArrayLike,
    half: ArrayLike,
    kernel: Kernel,
    ends: tuple[ArrayLike | None, ArrayLike | None],
) -> jax.Array:
    """How much of each event is above an edge; nothing passes the ends, if there are some, and what lies on them is within."""
    above, (first, last) = step(x, edge, half, kernel.profile), ends
    if first is not None:
        above = above + step(2 * first - x, edge, half, kernel.profile)
    if last is not None:
        above = above + step(2 * last - x, edge, half, kernel.profile) - 1.0
    if first is not None:
        above = jnp.where(x < first, 0.0, above)
    return above if last is None else jnp.where(x > last, 1.0, above)


def _first_edge(x: jax.Array, edges: AnyArray, half: np.ndarray) -> tuple[jax.Array, int]:
    """The first edge that each event does not lie above for certain, and how many edges an event can reach."""
    low, high = edges - half, edges + half
    if np.any(np.diff(low) < 0) or np.any(np.diff(high) < 0):
        msg = f"expected a bandwidth that changes from edge to edge by less than the bins' widths, got reaches {half} at the edges {edges}"
        raise HistogramError(msg)
    tolerance = 1e-9 * np.min(np.diff(edges))
    reached = np.arange(1, edges.size + 1) - np.searchsorted(high - tolerance, low, side="right")
    touched = max(1, int(np.max(reached)))
    # anywhere between the end of one edge's reach and the start of that of the edge `touched` places on
    turns = 0.5 * (high[: edges.size - touched] + low[touched:])
    return count_reached(x, turns), touched
