"""Kernels: sums of templates, vector–Jacobian products and Jacobians over the blocks of a batch.

Value and derivative are taken *inside* the loop over blocks, so that reverse mode holds one block, whatever the events.
Each kernel also counts the rows that it summed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea import histograms
from diffea.events.blocks import Blocks
from diffea.events.ragged import Column
from diffea.histograms import Binning
from diffea.histograms.window import Reflect
from diffea.processor.base import DifferentiableProcessor, axes_of
from diffea.processor.fill import Fill
from diffea.program.traced import Edges, Reading, Traced
from diffea.runtime import for_cpu
from diffea.templates import Key
from diffea.types import Axis, Params, PyTree, Scalar

MOST_UNROLLED = 16  # fills into one channel: more than these would compile for longer than a loop over them costs
Counted: TypeAlias = tuple[jax.Array, PyTree]
"""The number of rows that are events, and sums over them."""

Block = Callable[[Scalar, Params, Scalar, PyTree, jax.Array], jax.Array]
"""Of the weights' scale, parameters, the widths' scale, columns and validity of the rows of a block: sums of shape ``(2, bins of all templates)``."""

OfBlock = Callable[[PyTree, PyTree, jax.Array], PyTree]
"""Of all that is the same for every block, columns and validity of the rows of one."""


def block(traced: Traced, processor: DifferentiableProcessor, dtype: np.dtype) -> Block:
    """The sums over a block: of weights and of their squares, the templates one after the other.

    Args:
        traced: the fills.
        processor: whose axes they are.
        dtype: in which parameters and weights are computed; the sums are float64.
    """
    axes = axes_of(processor)

    def templates(reading: Reading, fills: list[Fill], edges: Edges, scale: jax.Array) -> jax.Array:
        alike: dict[int, list[tuple[Key, Fill]]] = {}
        for group, key, fill in zip(reading.groups, reading.keys, fills, strict=True):
            alike.setdefault(group, []).append((key, fill))
        parts: dict[Key, jax.Array | float] = dict.fromkeys(reading.keys, 0.0)
        for group_fills in alike.values():
            found = [fill for _, fill in group_fills]
            reflect = tuple(map(_ends, axes[found[0].channel]))
            for (key, _), part in zip(group_fills, _sums(found, edges, scale, reflect=reflect), strict=True):
                parts[key] = parts[key] + part
        return jnp.concatenate(list(parts.values()), axis=1)

    def sums(scale: Scalar, params: Params, widths: Scalar, arrays: PyTree, valid: jax.Array) -> jax.Array:
        params, widths = jax.tree.map(lambda leaf: leaf.astype(dtype), params), jnp.asarray(widths, dtype)
        scale = jnp.where(valid, scale, 0.0).astype(dtype)
        written = templates(traced.own, *traced.block(params, widths, arrays), scale)
        if (varied := traced.varied) is None:
            return written
        shared = traced.prepared(params, widths, arrays)

        @jax.checkpoint  # so that reverse mode holds what one variation computes, however many there are
        def variation(number: jax.Array) -> jax.Array:
            return templates(varied.nominal, *traced.variation(number, shared), scale)

        each = jax.lax.map(variation, jnp.arange(len(varied.names)))
        return jnp.concatenate([written, *each], axis=1)

    return sums


def values(block: Block) -> Callable[..., Counted]:
    """Templates."""

    def sums(given: PyTree, arrays: PyTree, valid: jax.Array) -> jax.Array:
        scale, params, widths = given
        return block(scale, params, widths, arrays, valid)

    counted = _counted(sums)

    def run(params: Params, widths: Scalar, blocks: Blocks, scale: Scalar) -> Counted:
        return _over_blocks(counted, (scale, params, widths), blocks)

    return run


def vjp(block: Block) -> Callable[..., Counted]:
    """The gradient, given cotangents."""

    def gradient(given: PyTree, arrays: PyTree, valid: jax.Array) -> Params:
        scale, params, widths, cotangents = given
        return jax.grad(lambda params: jnp.vdot(cotangents, block(scale, params, widths, arrays, valid)))(params)

    counted = _counted(gradient)

    def run(params: Params, widths: Scalar, blocks: Blocks, scale: Scalar, cotangents: jax.Array) -> Counted:
        return _over_blocks(counted, (scale, params, widths, cotangents), blocks)

    return run


def jacobian(block: Block) -> Callable[..., Counted]:
    """Templates and their derivative by every parameter, in forward mode."""

    def both(given: PyTree, arrays: PyTree, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        scale, params, widths = given
        flat, unravel = ravel_pytree(params)

        def push(tangent: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.jvp(lambda flat: block(scale, unravel(flat), widths, arrays, valid), (flat,), (tangent,))

        return jax.vmap(push, out_axes=(None, -1))(jnp.eye(flat.size))

    counted = _counted(both)

    def run(params: Params, widths: Scalar, blocks: Blocks, scale: Scalar) -> Counted:
        return _over_blocks(counted, (scale, params, widths), blocks)

    return run


def by_bin(block: Block) -> Callable[..., Counted]:
    """Templates and their derivative by every parameter, in reverse mode, bin by bin."""

    def both(given: PyTree, arrays: PyTree, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
        scale, params, widths = given
        flat, unravel = ravel_pytree(params)
        sums, pull = jax.vjp(lambda flat: block(scale, unravel(flat), widths, arrays, valid), flat)
        (derivative,) = jax.vmap(pull)(jnp.eye(sums.size).reshape(-1, *sums.shape))
        return sums, derivative.reshape(*sums.shape, flat.size)

    counted = _counted(both)

    def run(params: Params, widths: Scalar, blocks: Blocks, scale: Scalar) -> Counted:
        return _over_blocks(counted, (scale, params, widths), blocks)

    return run


MODES: Mapping[str, Callable[[Block], Callable[..., Counted]]] = {
    "values": values, "vjp": vjp, "jacobian": jacobian, "by-bin": by_bin,
}  # fmt: skip


def fill_sums(
    fill: Fill, binnings: tuple[Binning, ...], weight: Column | None, *, reflect: tuple[Reflect, ...]
) -> jax.Array:
    """Values and variances of a fill, shape ``(2, bins)``, flow bins included.

    Args:
        fill: whose observables, bandwidth and kernel it is.
        binnings: of the channel's axes.
        weight: of each event.
        reflect: of each axis, at which of its edges the observable ends.
    """
    several = len(fill.observables) > 1
    sums, squares = histograms.fill(
        fill.observables if several else fill.observables[0],
        binnings if several else binnings[0],
        weight,
        bandwidth=fill.bandwidth,
        kernel=fill.kernel,
        reflect=reflect if several else reflect[0],
    )
    return jnp.stack([sums.ravel(), squares.ravel()]).astype(float)


def _ends(axis: Axis) -> Reflect:
    """At which edges an axis has no flow bins: nothing lies beyond them, so nothing may leak through them."""
    lower, upper = not axis.traits.underflow, not axis.traits.overflow
    return upper if lower == upper else "lower" if lower else "upper"


def _sums(
    fills: list[Fill], edges: Mapping[str, tuple[Binning, ...]], scale: jax.Array, *, reflect: tuple[Reflect, ...]
) -> jax.Array | list[jax.Array]:
    """Values and variances of fills into one channel with one kernel.

    A few are written out one after the other, so that XLA shares what they have in common; many run in one loop, so that the
    kernel compiles once.

    Args:
        fills: alike but for their observables and weights.
        edges: of each channel's axes.
        scale: of the weights, shape (events,).
        reflect: of each axis, at which of its edges the observable ends.

    Returns:
        shape ``(fills, 2, bins)``, flow bins included.
    """
    first = fills[0]

    def sums(filled: tuple[tuple[Column, ...], Column]) -> jax.Array:
        observables, weight = filled
        like = Fill(first.channel, observables, kernel=first.kernel, bandwidth=first.bandwidth)
        return fill_sums(like, edges[first.channel], weight, reflect=reflect)

    rows = [(fill.observables, scale if fill.weight is None else fill.weight * scale) for fill in fills]
    forms = {(jax.tree.structure(row), *(jnp.shape(leaf) for leaf in jax.tree.leaves(row))) for row in rows}
    if len(forms) > 1 or len(rows) <= MOST_UNROLLED:
        return [sums(row) for row in rows]
    return jax.lax.map(sums, jax.tree.map(lambda *columns: jnp.stack(columns), *rows))


def _counted(sums: OfBlock) -> OfBlock:
    """The number of rows that count, and their sums; traced once for all batches, however many blocks they have."""

    def counted(given: PyTree, arrays: PyTree, valid: jax.Array) -> Counted:
        return jnp.sum(valid), sums(given, arrays, valid)

    return jax.jit(counted, inline=True)


def _over_blocks(counted: OfBlock, given: PyTree, blocks: Blocks) -> Counted:
    """The number of rows that count, and the sums over as many blocks as hold them, in order."""
    shape = jax.tree.leaves(blocks.arrays)[0].shape
    rows, size = shape[0] * shape[1], shape[1]
    flat = jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[2:]), blocks.arrays)

    def of(index: int | jax.Array) -> Counted:
        begin = blocks.first + index * size
        start = jnp.minimum(begin, rows - size)  # a last block that begins within another one
        arrays = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), flat)
        row = start + jnp.arange(size)
        return counted(given, arrays, (begin <= row) & (row < blocks.rows))

    if (
        shape[0] == 1 and not for_cpu()
    ):  # an accelerator would have to be asked after each turn of a loop whether there is another
        return of(0)
    of_block = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), blocks.arrays)
    shapes = jax.eval_shape(counted, given, of_block, jax.ShapeDtypeStruct((size,), bool))
    zero = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    turns = -(-(blocks.rows - blocks.first) // size)
    return jax.lax.fori_loop(0, turns, lambda index, total: jax.tree.map(jnp.add, total, of(index)), zero)
