"""Kernels: sums of templates, vector–Jacobian products and Jacobians over the blocks of a batch.

Value and derivative are taken *inside* the loop over blocks, so that reverse mode holds one block, whatever the events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea import histograms
from diffea.events.blocks import Blocks
from diffea.processor.base import DifferentiableProcessor, axes_of
from diffea.processor.fill import Fill, named
from diffea.processor.variations import with_variations
from diffea.program.structure import Structure
from diffea.runtime import Portable
from diffea.templates.layout import Key, Layout

Mode = Literal["values", "vjp", "jacobian", "by-bin"]
MOST_UNROLLED = 16  # fills into one channel: more than these would compile for longer than a loop over them costs
COMPILER = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_disable_hlo_passes": "cpu-parallel-task-assigner",  # shards run side by side, each in one thread, whatever the machine
}
ANY = "\0"  # stands for the dataset's sample in compiled code, which serves all samples of one structure


class Kernels:
    """The compiled halves of a processor, one for each mode and structure.

    Args:
        processor: whose ``fill`` is run.
        dtype: in which floating-point columns and parameters enter ``fill``; sums are float64.
    """

    def __init__(self, processor: DifferentiableProcessor, dtype: Any = np.float64) -> None:
        self.processor = processor
        self.dtype = np.dtype(dtype)
        self._compiled: dict[tuple[Mode, Structure], Any] = {}
        self._spent = threading.local()
        self._keys: dict[Any, tuple[Key, ...]] = {}
        self._operations: dict[Any, float] = {}

    def fills(self, structure: Structure, sample: str, params: Any, arrays: Any) -> list[tuple[Key, Fill]]:
        """Run ``fill`` on columns of this structure, from a dataset of this sample."""
        columns: Mapping[str, Any] = {**arrays, **dict(structure.static)}
        where = f"{type(self.processor).__name__}.fill"
        return named(with_variations(self.processor, params, columns), axes_of(self.processor), sample, where)

    def layout(self, structure: Structure, sample: str, params: Any) -> Layout:
        """The templates that this structure fills, in the order of the fills; nothing is computed."""
        keys: list[Key] = []

        def trace(params: Any, arrays: Any) -> None:
            keys.extend(key for key, _ in self.fills(structure, ANY, params, arrays))

        cached = structure, *_identity(params)
        if cached not in self._keys:
            jax.eval_shape(trace, params, structure.shapes)
            self._keys[cached] = tuple(dict.fromkeys(keys))
        named_keys = (
            (channel, sample if of == ANY else of, variation) for channel, of, variation in self._keys[cached]
        )
        return Layout(axes_of(self.processor), tuple(named_keys))

    def operations(self, structure: Structure, params: Any) -> float:
        """How many operations XLA counts in the fills of one event; nothing is computed.

        Args:
            structure: of the blocks.
            params: pytree of shapes.
        """
        cached = structure, *_identity(params)
        if cached not in self._operations:
            rows = jax.tree.leaves(structure.shapes)[0].shape[0]
            valid = jax.ShapeDtypeStruct((rows,), bool)
            block = jax.jit(lambda *of: self._block(structure, 1.0, *of)).lower(params, structure.shapes, valid)
            self._operations[cached] = max((block.cost_analysis() or {}).get("flops", 0.0) / rows, 1.0)
        return self._operations[cached]

    def run(
        self, mode: Mode, structure: Structure, sample: str, whole: Layout, params: Any, blocks: Blocks, *more: Any
    ) -> Any:
        """Sum over the rows of a batch.

        Args:
            mode: ``values``: templates; ``vjp``: gradient, given cotangents; ``jacobian``: templates and derivatives, in
                forward mode; ``by-bin``: the same in reverse mode, bin by bin.
            structure: of the blocks.
            sample: of the dataset.
            whole: the layout of the analysis, of which this structure fills a part.
            params: pytree of float64 arrays.
            blocks: the batch.
            *more: scale of the weights; for ``vjp`` then the cotangents, shape ``(2, whole.size)``.

        Returns:
            ``values``: sums of weights and of their squares, shape ``(2, whole.size)``; ``vjp``: a pytree like params;
            ``jacobian`` and ``by-bin``: the sums, and their derivative of shape ``(2, whole.size, number of parameters)``.
        """
        if (mode, structure) not in self._compiled:
            program = getattr(self, f"_{mode.replace('-', '_')}")(structure)
            self._compiled[mode, structure] = jax.jit(program, compiler_options=COMPILER)
        kernel = self._compiled[mode, structure]
        positions = self.layout(structure, sample, params).within(whole)
        scale, *cotangents = more
        known, began = kernel._cache_size(), time.perf_counter()
        sums = jax.tree.map(np.asarray, kernel(params, blocks, scale, *(part[:, positions] for part in cotangents)))
        if kernel._cache_size() > known:
            self._spent.seconds = self.compile_seconds + time.perf_counter() - began
        return sums if mode == "vjp" else jax.tree.map(lambda part: _spread(part, positions, whole.size), sums)

    @property
    def compile_seconds(self) -> float:
        """Spent by this thread on calls that compiled."""
        return getattr(self._spent, "seconds", 0.0)

    @property
    def compilations(self) -> int:
        """How many programs were compiled so far."""
        return sum(kernel._cache_size() for kernel in self._compiled.values())

    def _values(self, structure: Structure) -> Callable[..., Any]:
        def values(params: Any, blocks: Blocks, scale: Any) -> Any:
            return _over_blocks(lambda *rows: self._block(structure, scale, params, *rows), blocks)

        return values

    def _vjp(self, structure: Structure) -> Callable[..., Any]:
        def vjp(params: Any, blocks: Blocks, scale: Any, cotangents: Any) -> Any:
            def block(*rows: Any) -> Any:
                return jax.grad(lambda params: jnp.vdot(cotangents, self._block(structure, scale, params, *rows)))(
                    params
                )

            return _over_blocks(block, blocks)

        return vjp

    def _jacobian(self, structure: Structure) -> Callable[..., Any]:
        def jacobian(params: Any, blocks: Blocks, scale: Any) -> Any:
            flat, unravel = ravel_pytree(params)

            def block(*rows: Any) -> Any:
                def push(tangent: Any) -> Any:
                    return jax.jvp(
                        lambda flat: self._block(structure, scale, unravel(flat), *rows), (flat,), (tangent,)
                    )

                return jax.vmap(push, out_axes=(None, -1))(jnp.eye(flat.size))

            return _over_blocks(block, blocks)

        return jacobian

    def _by_bin(self, structure: Structure) -> Callable[..., Any]:
        def by_bin(params: Any, blocks: Blocks, scale: Any) -> Any:
            flat, unravel = ravel_pytree(params)

            def block(*rows: Any) -> Any:
                sums, pull = jax.vjp(lambda flat: self._block(structure, scale, unravel(flat), *rows), flat)
                (derivative,) = jax.vmap(pull)(jnp.eye(sums.size).reshape(-1, *sums.shape))
                return sums, derivative.reshape(*sums.shape, flat.size)

            return _over_blocks(block, blocks)

        return by_bin

    def _block(self, structure: Structure, scale: Any, params: Any, arrays: Any, valid: Any) -> Any:
        params = jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)
        edges = bin_edges(self.processor, params)
        scale = jnp.where(valid, scale, 0.0).astype(self.dtype)
        alike: dict[Any, list[tuple[Key, Fill]]] = {}
        fills = self.fills(structure, ANY, params, arrays)
        for key, fill in fills:
            alike.setdefault((fill.channel, fill.kernel, id(fill.bandwidth)), []).append((key, fill))
        parts: dict[Key, Any] = dict.fromkeys((key for key, _ in fills), 0.0)
        for group in alike.values():
            alike_fills = [fill for _, fill in group]
            reflect = all(map(_ends, axes_of(self.processor)[alike_fills[0].channel]))
            for (key, _), part in zip(group, _sums(alike_fills, edges, scale, reflect=reflect), strict=True):
                parts[key] = parts[key] + part
        return jnp.concatenate(list(parts.values()), axis=1)


def _identity(params: Any) -> tuple[Any, ...]:
    return tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(params)), jax.tree.structure(params)


def bin_edges(processor: DifferentiableProcessor, params: Any) -> dict[str, tuple[Any, ...]]:
    """Edges of every channel's axes: constant arrays, or what ``processor.edges`` makes of the parameters."""
    edges = {name: tuple(histograms.binning(axis) for axis in axes) for name, axes in axes_of(processor).items()}
    return {**edges, **{name: (learned,) for name, learned in processor.edges(params).items()}}


def _ends(axis: Any) -> bool:
    """Whether an axis has no flow bins: nothing lies beyond its edges, so nothing may leak through them."""
    return not axis.traits.underflow and not axis.traits.overflow


def _sums(fills: list[Fill], edges: Mapping[str, tuple[Any, ...]], scale: Any, *, reflect: bool) -> Any:
    """Values and variances of fills into one channel with one kernel.

    A few are written out one after the other, so that XLA shares what they have in common; many run in one loop, so that the
    kernel compiles once.

    Args:
        fills: alike but for their observables and weights.
        edges: of each channel's axes.
        scale: of the weights, shape (events,).
        reflect: whether the observables end at the first and last edge.

    Returns:
        shape ``(fills, 2, bins)``, flow bins included.
    """
    first = fills[0]
    several = len(first.observables) > 1

    def sums(filled: Any) -> Any:
        observables, weight = filled
        values, variances = histograms.fill(
            observables if several else observables[0],
            edges[first.channel] if several else edges[first.channel][0],
            weight,
            bandwidth=first.bandwidth,
            kernel=first.kernel,
            reflect=reflect,
        )
        return jnp.stack([values.ravel(), variances.ravel()]).astype(float)

    rows = [(fill.observables, scale if fill.weight is None else fill.weight * scale) for fill in fills]
    if len({jax.tree.structure(row) for row in rows}) > 1 or len(rows) <= MOST_UNROLLED:
        return [sums(row) for row in rows]
    return jax.lax.map(sums, jax.tree.map(lambda *columns: jnp.stack(columns), *rows))


def _spread(sums: np.ndarray, positions: np.ndarray, size: int) -> np.ndarray:
    spread = np.zeros((2, size, *sums.shape[2:]))
    np.add.at(spread.swapaxes(0, 1), positions, sums.swapaxes(0, 1))
    return spread


def _over_blocks(block: Callable[[Any, Any], Any], blocks: Blocks) -> Any:
    """Sum ``block(arrays, valid)`` over as many blocks as hold events, in order."""
    size = jax.tree.leaves(blocks.arrays)[0].shape[1]

    def body(index: Any, total: Any) -> Any:
        arrays = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), blocks.arrays)
        valid = index * size + jnp.arange(size) < blocks.rows
        return jax.tree.map(jnp.add, total, block(arrays, valid))

    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), blocks.arrays)
    shapes = jax.eval_shape(block, first, jax.ShapeDtypeStruct((size,), bool))
    zero = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return jax.lax.fori_loop(0, -(-blocks.rows // size), body, zero)


_kernels: dict[tuple[str, str], Kernels] = {}


def kernels_of(processor: Portable, dtype: Any = np.float64) -> Kernels:
    """The kernels of a processor, the same object in a process however often the processor arrives."""
    return _kernels.setdefault((processor.digest, str(np.dtype(dtype))), Kernels(processor.value, dtype))
