"""Adding up what events give to bins: primitives of JAX, with derivatives of their own.

JAX would write every event's share in every bin to memory, for the sum and again for its derivatives. Here they are computed where they are
used: in the loop that adds them up, and in the one pass over events that pulls a gradient back to each column. A tangent is a sum of the same
kind; only many tangents under ``jax.vmap`` are added up side by side, with shares in memory that they have in common.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from diffea.runtime import for_cpu

__all__ = ["Shares", "add_up", "unrolled"]

Shares: TypeAlias = Callable[..., Sequence[jax.Array]]
"""Of the columns of an event, or of all events: the share in each bin that it touches."""

_AT_ONCE = 4  # events in one turn of the loop
_SHARES_AT_ONCE = 16  # in one turn: with more, a turn takes XLA ten times as long


_unrolled: ContextVar[bool] = ContextVar("unrolled", default=False)


@dataclasses.dataclass(frozen=True)
class Sums:
    """What is added up.

    Attributes:
        shares: an elementwise function of the columns: in each touched bin, the share in each of the sums.
        places: how many bins after the first the touched ones are, ascending.
        size: number of bins.
        number: how many sums there are.
    """

    shares: Shares
    places: tuple[int, ...]
    size: int
    number: int


def add_up(
    shares: Shares, first: jax.Array, columns: Sequence[jax.Array], places: Sequence[int], size: int, sums: int = 1
) -> jax.Array:
    """The sums of every event's shares in each bin.

    The shares are computed where they are added up, and in derivatives where they are needed: none is kept in memory.

    Args:
        shares: an elementwise function of the columns: in each touched bin, the share in each of the sums.
        first: the first bin of each event, shape (events,).
        columns: what the shares are computed of, shape (events,) each.
        places: how many bins after the first the touched ones are, ascending; no event reaches beyond the last bin.
        size: number of bins.
        sums: how many sums there are.

    Returns:
        Shape (sums, size), in 64 bits.
    """
    of = Sums(shares, tuple(places), size, sums)
    return _at_once(first, *columns, of=of) if _unrolled.get() else _add.bind(first, *columns, of=of)


@contextlib.contextmanager
def unrolled() -> Iterator[None]:
    """Without loops over events, of which XLA counts the operations of one turn."""
    token = _unrolled.set(True)
    try:
        yield
    finally:
        _unrolled.reset(token)


def _in_turn(first: jax.Array, *columns: jax.Array, of: Sums) -> jax.Array:
    """One event after the other, for CPUs."""
    cells = [place * of.number + number for place in of.places for number in range(of.number)]
    neighbours = [[*run] for _, run in itertools.groupby(range(len(cells)), lambda number: cells[number] - number)]

    def add(total: jax.Array, event: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        bin_, *own = event
        parts = [jnp.asarray(part, float) for part in of.shares(*own)]
        for run in neighbours:
            start, part = bin_ * of.number + cells[run[0]], jnp.stack([parts[number] for number in run])
            total = lax.dynamic_update_slice(total, lax.dynamic_slice(total, (start,), part.shape) + part, (start,))
        return total, None

    unroll = max(1, min(_AT_ONCE // len(neighbours), _SHARES_AT_ONCE // len(cells)))
    total = lax.scan(add, jnp.zeros(of.size * of.number), (first, *columns), unroll=unroll)[0]
    return total.reshape(of.size, of.number).T


def _at_once(first: jax.Array, *columns: jax.Array, of: Sums) -> jax.Array:
    """All events side by side; two sums as one of complex numbers, which costs little more."""
    parts = [jnp.asarray(part, float) for part in of.shares(*columns)]
    if not for_cpu():
        return _by_bin(first, parts, of)
    if of.number == 2:
        parts = [lax.complex(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    total = jnp.zeros(of.size, parts[0].dtype)
    for place, part in zip(of.places, parts, strict=True):
        total = total.at[first + place].add(part, mode="promise_in_bounds")
    return jnp.stack([total.real, total.imag]) if of.number == 2 else total[None]


def _by_bin(first: jax.Array, parts: list[jax.Array], of: Sums) -> jax.Array:
    """For many cores, which would wait for each other where they add to one bin, and do so in another order each time."""
    bins, total = jnp.arange(of.size)[:, None], jnp.zeros((of.number, of.size))
    for number, place in enumerate(of.places):
        own = parts[number * of.number : (number + 1) * of.number]
        total = total + jnp.stack([jnp.sum(jnp.where(first + place == bins, part, 0.0), axis=1) for part in own])
    return total


def _looked_up(table: jax.Array, first: jax.Array) -> jax.Array:
    """The entry for each event, without asking whether numbers of bins are negative."""
    numbers = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
    return lax.gather(table, first[:, None], numbers, (1,), mode="promise_in_bounds")


def _jvp(
    primitive: Primitive, primals: Sequence[jax.Array], tangents: Sequence[jax.Array | ad.Zero], *, of: Sums
) -> tuple[jax.Array, jax.Array]:
    moving = [number for number, tangent in enumerate(tangents[1:]) if not isinstance(tangent, ad.Zero)]
    columns = len(primals) - 1

    def changes(*both: jax.Array) -> Sequence[jax.Array]:
        own, change = [*both[:columns]], [*both[columns:]]

        def along(*moved: jax.Array) -> Sequence[jax.Array]:
            for number, column in zip(moving, moved, strict=True):
                own[number] = column
            return of.shares(*own)

        return jax.jvp(along, [own[number] for number in moving], change)[1]

    moved = [tangents[1 + number] for number in moving]
    return primitive.bind(*primals, of=of), _change.bind(*primals, *moved, of=dataclasses.replace(of, shares=changes))


def _transpose(
    cotangent: jax.Array | ad.Zero, first: jax.Array, *columns: jax.Array | ad.UndefinedPrimal, of: Sums
) -> list[jax.Array | None]:
    """Cotangents of the columns in which the sums are linear.

    Each looks up a table of its own, multiplied by a power of two: XLA would keep in memory what two of them have in common.
    """
    pulled: list[jax.Array | None] = [None] * (1 + len(columns))
    if isinstance(cotangent, ad.Zero):
        return pulled
    linear = [number for number, column in enumerate(columns) if ad.is_undefined_primal(column)]
    known = [jnp.zeros(c.aval.shape, c.aval.dtype) if ad.is_undefined_primal(c) else c for c in columns]
    for turn, number in enumerate(linear):

        def along(column: jax.Array, number: int = number) -> Sequence[jax.Array]:
            return of.shares(*known[:number], column, *known[number + 1 :])

        own = columns[number].aval
        table = jnp.pad(cotangent * 2.0**turn, ((0, 0), (0, of.places[-1])))
        cells = [(sums, place) for place in of.places for sums in range(of.number)]
        rows = [_looked_up(table[sums, place : place + of.size], first) for sums, place in cells]
        kinds = jax.eval_shape(along, own)
        rows = [row.astype(kind.dtype) for row, kind in zip(rows, kinds, strict=True)]
        (result,) = jax.linear_transpose(along, own)(type(kinds)(rows))
        pulled[1 + number] = result * 0.5**turn
    return pulled


def _batched(arguments: Sequence[jax.Array], axes: Sequence[int | None], *, of: Sums) -> tuple[jax.Array, int]:
    """Many histograms are one, in which each has bins of its own."""
    pairs = list(zip(arguments, axes, strict=True))
    many = next(array.shape[axis] for array, axis in pairs if axis is not None)
    rows = [batching.bdim_at_front(array, axis, many) for array, axis in pairs]
    rows[0] = rows[0] + of.size * jnp.arange(many, dtype=rows[0].dtype)[:, None]
    total = _add.bind(*(row.ravel() for row in rows), of=dataclasses.replace(of, size=many * of.size))
    return total.reshape(-1, many, of.size), 1


def _changes_batched(arguments: Sequence[jax.Array], axes: Sequence[int | None], *, of: Sums) -> tuple[jax.Array, int]:
    """Many tangents of one histogram share its fractions."""
    return jax.vmap(functools.partial(_at_once, of=of), in_axes=tuple(axes))(*arguments), 0


def _shape(*_: object, of: Sums) -> jax.core.ShapedArray:
    return jax.core.ShapedArray((of.number, of.size), jnp.dtype(float))


def _primitive(name: str, batched: Callable[..., tuple[jax.Array, int]]) -> Primitive:
    def called(*arguments: jax.Array, of: Sums) -> jax.Array:
        with jax.disable_jit(False):  # which would call this function again
            return jax.jit(lambda *arguments: primitive.bind(*arguments, of=of))(*arguments)

    primitive = Primitive(name)
    primitive.def_impl(called)
    primitive.def_abstract_eval(_shape)
    ad.primitive_jvps[primitive] = functools.partial(_jvp, primitive)
    ad.primitive_transposes[primitive] = _transpose
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(_in_turn, multiple_results=False), platform="cpu")
    mlir.register_lowering(primitive, mlir.lower_fun(_at_once, multiple_results=False))
    return primitive


_add = _primitive("add_up", _batched)
_change = _primitive("change_of_sums", _changes_batched)
