"""Program: all that is compiled of a processor, soft and hard alike, for one ``distribute``."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from numpy.typing import DTypeLike

from diffea import compilations
from diffea.errors import FillError
from diffea.events.blocks import Blocks
from diffea.histograms.adding import unrolled
from diffea.portable import Portable
from diffea.processor.base import DifferentiableProcessor, axes_of, check_axes
from diffea.processor.fill import Fill
from diffea.program import kernels
from diffea.program.structure import Structure
from diffea.program.traced import Edges, Traced, of_sample, trace
from diffea.runtime import accelerator, on_accelerator, on_cpu, soft_passes
from diffea.soft.context import exactly
from diffea.templates import Key, Layout
from diffea.types import Params, PyTree, Scalar

T = TypeVar("T")
Mode = Literal["values", "vjp", "jacobian", "by-bin"]
COMPILER = {
    "xla_cpu_prefer_vector_width": 512,
    "xla_disable_hlo_passes": "cpu-parallel-task-assigner",  # shards run side by side, each in one thread, whatever the machine
    **compilations.THOROUGH,
}
SOUND = {**COMPILER, "xla_cpu_prefer_vector_width": 256}
"""With an arc tangent: in wider registers XLA makes another number of it (jaxlib 0.10.2 on AVX-512, ``arctan`` and ``arctan2(x, 1)``)."""

OPERATION_BY_OPERATION = {"xla_disable_hlo_passes": "algsimp,fusion,cpu-parallel-task-assigner"}


class Program(Portable[DifferentiableProcessor]):
    """A processor as it was when the program was made, and what is compiled of it in this process.

    It lasts as long as somebody holds it: the templates on the driver, the shards on a worker. Nothing of it is shared with
    another program, so that none ever runs code that is older than itself.

    Args:
        processor: whose ``fill`` is run; a copy is taken, what is done to it later is for its next use.
        dtype: in which floating-point columns and parameters enter ``fill``; sums are float64.

    Raises:
        HistogramError: if a channel has an axis whose templates would not add up.
        FillError: if the processor cannot be copied to workers.
    """

    def __init__(self, processor: DifferentiableProcessor, dtype: DTypeLike = np.float64) -> None:
        check_axes(processor)
        try:
            super().__init__(copy.deepcopy(processor))
        except Exception as error:
            msg = (
                f"{type(processor).__name__} cannot be copied to workers: {type(error).__name__}: {error}; make files, locks and the like "
                "in `columns`, not in the processor"
            )
            raise FillError(msg) from error
        self._begin(dtype)

    def _begin(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._traced: dict[Hashable, tuple[Traced, Traced]] = {}
        self._compiled: dict[Hashable, Any] = {}
        self._operations: dict[Hashable, float] = {}
        self._layouts: dict[str, Portable[Layout]] = {}
        self._remembered: dict[Hashable, PyTree] = {}
        self._spent = threading.local()
        self._tracing = threading.RLock()

    def _state(self) -> dict[str, object]:
        return {**super()._state(), "dtype": self.dtype}

    @classmethod
    def _of(cls, token: str, state: dict[str, Any]) -> Program:
        made = super()._of(token, state)
        made._begin(state["dtype"])
        return made

    @property
    def processor(self) -> DifferentiableProcessor:
        """The copy."""
        return self.value

    @property
    def name(self) -> str:
        """Of the processor's class, for messages."""
        return type(self.processor).__name__

    def traced(self, structure: Structure, params: Params, *, hard: bool = False) -> Traced:
        """The reading of ``fill`` for a structure and parameters of these shapes; soft and hard are read together.

        Raises:
            FillError: for what ``fill`` or ``edges`` return that does not fit, or if hard cuts fill other templates than soft ones.
        """
        cached = structure, _shapes(params)
        with self._tracing:
            if cached not in self._traced:
                shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), self.dtype), params)
                read = functools.partial(trace, self.processor, structure, shapes, self.dtype)
                with soft_passes():
                    soft = read(hard=False)
                both = soft, read(hard=True)
                if set(both[0].keys) != set(both[1].keys):
                    unlike = sorted("/".join(key[::2]) for key in {*both[0].keys} ^ {*both[1].keys})
                    msg = f"{self.name}.fill makes other templates with hard cuts than with soft ones: {', '.join(unlike)} differ"
                    raise FillError(msg)
                self._traced[cached] = both
            return self._traced[cached][hard]

    def layout(self, structure: Structure, sample: str, params: Params) -> Layout:
        """The templates that this structure fills, in the order of the fills; nothing is computed."""
        keys = of_sample(self.traced(structure, params).keys, sample)
        return Layout(axes_of(self.processor), tuple(dict.fromkeys(keys)))

    def keep(self, layout: Portable[Layout]) -> Layout:
        """A layout that arrived with a step; the next step finds it here."""
        return self._layouts.setdefault(layout.token, layout).value

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under this key, or is made now."""
        with self._tracing:
            if key not in self._remembered:
                self._remembered[key] = make()
            found: T = self._remembered[key]
            return found

    def operations(self, structure: Structure, params: Params) -> float:
        """How many operations XLA counts in the fills of one event; nothing is computed.

        Args:
            structure: of the blocks.
            params: pytree of shapes.
        """
        cached = structure, _shapes(params)
        if cached not in self._operations:
            traced = self.traced(structure, params)
            flops = self._counted(dataclasses.replace(traced, varied=None), structure, params)
            if traced.varied:  # a loop, which XLA counts once
                flops += len(traced.varied.names) * (self._counted(traced, structure, params) - flops)
            self._operations[cached] = max(flops / structure.rows, 1.0)
        return self._operations[cached]

    def _counted(self, traced: Traced, structure: Structure, params: Params) -> float:
        block = kernels.block(traced, self.processor, self.dtype)
        valid = jax.ShapeDtypeStruct((structure.rows,), bool)
        with exactly(False), unrolled():
            lowered = jax.jit(lambda params, *of: block(1.0, params, 1.0, *of)).lower(params, structure.shapes, valid)
        return float((lowered.cost_analysis() or {}).get("flops", 0.0))

    def run(
        self,
        mode: Mode,
        structure: Structure,
        sample: str,
        whole: Layout,
        params: Params,
        blocks: Blocks,
        *more: PyTree,
        widths: Scalar = 1.0,
    ) -> tuple[int, PyTree]:
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
            widths: scale of all widths of soft cuts.

        Returns:
            the number of rows that were summed, counted where they are summed; and for ``values`` the sums of weights and of
            their squares, shape ``(2, whole.size)``; for ``vjp`` a pytree like params; for ``jacobian`` and ``by-bin`` the sums, and
            their derivative of shape ``(2, whole.size, number of parameters)``.
        """
        traced = self.traced(structure, params)
        positions = _positions(traced.keys, sample, whole)
        cached = mode, structure, _shapes(params)
        if cached not in self._compiled:
            program = kernels.MODES[mode](kernels.block(traced, self.processor, self.dtype))
            options = None if accelerator() else SOUND if traced.arcs else COMPILER
            self._compiled.setdefault(cached, jax.jit(program, compiler_options=options))  # one, that threads share
        kernel = self._compiled[cached]
        scale, *cotangents = more
        parts = (part[:, positions] for part in cotangents)
        with soft_passes():
            columns = on_accelerator(blocks.columns)
            sums = self._timed(kernel, params, np.asarray(widths, float), columns, scale, *parts)
        count, found = jax.tree.map(np.asarray, sums)
        if mode != "vjp":
            found = jax.tree.map(lambda part: _spread(part, positions, whole.size), found)
        return int(count), found

    def fills(self, structure: Structure, params: Params, blocks: Blocks) -> tuple[Iterator[Fill], Edges]:
        """The fills of a batch with exact cuts, compiled so that each operation rounds as it would by itself.

        Those of one variation are computed when it is its turn.
        """
        traced, rows = self.traced(structure, params, hard=True), int(blocks.rows)
        arrays = on_cpu(blocks.arrays)
        known = jax.tree.map(lambda leaf: np.asarray(leaf, self.dtype), params)

        def run(name: str, function: Callable[..., list[jax.Array]], *arguments: PyTree) -> list[jax.Array]:
            cached = name, structure, _shapes(params)
            if cached not in self._compiled:
                self._compiled.setdefault(cached, jax.jit(function, compiler_options=OPERATION_BY_OPERATION))
            return self._timed(self._compiled[cached], *arguments)

        def variations() -> Iterator[Fill]:
            if traced.varied:
                for number in range(len(traced.varied.names)):
                    found = run("hard variation", traced.variation_of_blocks, number, known, arrays)
                    yield from traced.varied.nominal.rows(found, rows)[0]

        fills, edges = traced.own.rows(run("hard", traced.blocks, known, arrays), rows)
        return itertools.chain(fills, variations()), edges

    def _timed(self, kernel: Any, *arguments: PyTree) -> PyTree:
        known, began = kernel._cache_size(), time.perf_counter()
        found = kernel(*arguments)
        if kernel._cache_size() > known:
            self._spent.seconds = self.compile_seconds + time.perf_counter() - began
        return found

    @property
    def compile_seconds(self) -> float:
        """Spent by this thread on calls that compiled."""
        return getattr(self._spent, "seconds", 0.0)

    @property
    def compilations(self) -> int:
        """How many programs were compiled so far."""
        return sum(kernel._cache_size() for kernel in self._compiled.values())


def _positions(keys: Sequence[Key], sample: str, whole: Layout) -> np.ndarray:
    """Where in the whole layout lie the bins of each of the distinct keys, one after the other."""
    bins = np.arange(whole.size)
    spans = [bins[whole.spans[key]] for key in of_sample(tuple(dict.fromkeys(keys)), sample)]
    return np.concatenate(spans) if spans else np.empty(0, dtype=np.intp)


def _spread(sums: np.ndarray, positions: np.ndarray, size: int) -> np.ndarray:
    """Sums in their places of the whole layout; two that have one place add up."""
    spread = np.zeros((2, size, *sums.shape[2:]))
    np.add.at(spread.swapaxes(0, 1), positions, sums.swapaxes(0, 1))
    return spread


def _shapes(params: Params) -> Hashable:
    leaves, tree = jax.tree.flatten(params)
    return tuple(np.shape(leaf) for leaf in leaves), tree
