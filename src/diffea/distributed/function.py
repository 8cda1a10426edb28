"""The JAX function: parameters in, templates out, with the gradient of all of the data behind it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea import soft
from diffea.distributed.lanes import Lane
from diffea.distributed.ledger import Ledger
from diffea.distributed.reduction import Partial
from diffea.distributed.steps import AnyMode
from diffea.errors import ClosedError, StrategyError
from diffea.parameters import as_arrays
from diffea.portable import Portable
from diffea.processor import axes_of
from diffea.program import Program
from diffea.program.strategy import ONE_PASS, STRATEGIES, Gradient, Strategy, cheapest, exchange
from diffea.runtime import keep_error, named_errors
from diffea.templates import Layout, TemplateJacobian, TemplateSet
from diffea.types import Params, PyTree


class Templates:
    """Templates of distributed events as an ordinary JAX function of a pytree of parameters.

    It works under ``jax.grad``, ``jax.value_and_grad`` and ``jax.jit``. With ``gradient="jacobian"`` or ``"by-bin"`` one pass over
    the data gives value and derivative (and ``jax.jvp`` works too); with ``"vjp"`` a second pass gives the gradient.

    Attributes:
        ledger: what is held, and what was left out.
        passes: how often the data were passed over so far.
        seconds: where the time went: ``read``, ``compile``, ``compute`` and ``reduce`` summed over the workers, ``wall`` of all
            passes.
        moved: bytes of parameters and sums that passes sent between processes so far, parameters counted once a shard.
        memory: bytes resident in the worker that had most of it in the last pass.
    """

    def __init__(self, program: Program, lane: Lane, ledger: Ledger, gradient: Gradient) -> None:
        self.processor = program.processor
        self.ledger = ledger
        self.passes = 0
        self.seconds = {"read": ledger.read_seconds, "compile": 0.0, "compute": 0.0, "reduce": 0.0, "wall": 0.0}
        self.moved = 0
        self.memory = 0
        self._lane = lane
        self._closed = False
        self._gradient = gradient
        self._structures = sorted(ledger.structures, key=lambda found: (-ledger.structures[found], repr(found)))
        self._program = program
        self._layouts: dict[Hashable, Portable[Layout]] = {}
        self._functions: dict[Hashable, Callable[..., PyTree]] = {}

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        return self._lane.workers

    @property
    def events(self) -> dict[str, int]:
        """Number of events held, by dataset."""
        return self.ledger.events

    @property
    def chunks(self) -> int:
        """Number of ranges of entries that were read."""
        return len(self.ledger.chunks)

    def __call__(self, params: Params) -> TemplateSet:
        """The templates at these parameters; under ``soft.hard()`` those of ``hard``.

        Raises:
            ParameterError: if a parameter is not a finite number.
            FillError: if ``fill`` does not fit the channels.
            NotFiniteError: if a template or gradient is not finite, naming dataset, file and entries.
            ClosedError: after the end of its ``with`` block.
            StrategyError: for a second derivative, and for any derivative under ``soft.hard()``.
            Under ``jax.jit`` and ``jax.grad`` XLA gives these as the text of a JaxRuntimeError; ``diffea.optimise`` names them.
        """
        return self.hard(params) if soft.is_hard() else self._templates(params, STRATEGIES)

    def forward(self, params: Params) -> TemplateSet:
        """As the call, but one pass gives value and Jacobian, whatever the number of parameters."""
        return self._templates(params, ONE_PASS)

    def jacobian(self, params: Params) -> TemplateJacobian:
        """∂T/∂φ in one pass over the data: by parameter or by bin, whichever is cheaper."""
        params = self._known(params)
        _, derivative = self._step(self._strategy(params, ONE_PASS), self._layout(params), params)
        return TemplateJacobian(self.layout(params), derivative, params)

    def hard(self, params: Params) -> TemplateSet:
        """The same events with exact cuts in plain histograms.

        Raises:
            StrategyError: where a derivative is asked for, or under ``jax.jit``: a step has none.
        """
        params = self._known(params)
        sums = self._step("hard", self._layout(params), params)
        edges = jax.tree.map(np.asarray, dict(self.processor.edges(params)))
        return TemplateSet(self.layout(params), sums[0], sums[1], edges)

    def layout(self, params: Params) -> Layout:
        """Which templates the fills make; nothing is computed."""
        return self._layout(params).value

    def close(self) -> None:
        """Let go of the columns on the workers."""
        self._closed = True
        self._lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _known(self, params: Params) -> Params:
        params = as_arrays(params)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params)):
            msg = (
                "Jacobians and templates of exact cuts are NumPy arrays of known parameters: call them outside of jax.jit, jax.grad and "
                "the like; there, templates(params) without soft.hard() has derivatives"
            )
            raise StrategyError(msg)
        return jax.tree.map(np.asarray, params)

    def _layout(self, params: Params) -> Portable[Layout]:
        leaves, tree = jax.tree.flatten(params)
        cached = tree, tuple(np.shape(leaf) for leaf in leaves)
        if cached not in self._layouts:
            layouts = (self._program.layout(structure, sample, params) for sample, structure in self._structures)
            keys = {key for layout in layouts for key in layout.keys}
            self._layouts[cached] = Portable(Layout(axes_of(self.processor), tuple(sorted(keys))))
        return self._layouts[cached]

    def _templates(self, params: Params, among: Sequence[Strategy]) -> TemplateSet:
        params = as_arrays(params)
        layout = self._layout(params)
        function = self._function(params, layout, self._strategy(params, among))
        with named_errors():
            sums = function(params)
            if not isinstance(sums, jax.core.Tracer):
                sums.block_until_ready()
        return TemplateSet(layout.value, sums[0], sums[1], dict(self.processor.edges(params)))

    def _strategy(self, params: Params, among: Sequence[Strategy]) -> Strategy:
        for strategy in among:
            if strategy == self._gradient:
                return strategy
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
        sizes = [self._program.layout(structure, sample, shapes).size for sample, structure in self._structures]
        bins = max(sizes)
        operations = self._program.operations(self._structures[sizes.index(bins)][1], shapes)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        return cheapest(size, bins, exchange(sum(self.events.values()), operations), among)

    def _function(self, params: Params, layout: Portable[Layout], strategy: Strategy) -> Callable[..., jax.Array]:
        key = strategy, layout.token
        if key not in self._functions:
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), params)
            self._functions[key] = (
                self._two_passes(layout, shapes) if strategy == "vjp" else self._one_pass(strategy, layout, shapes)
            )
        return self._functions[key]

    def _one_pass(self, strategy: Strategy, layout: Portable[Layout], params: Params) -> Callable[..., jax.Array]:
        bins, size = layout.value.size, sum(leaf.size for leaf in jax.tree.leaves(params))
        shape, derivative = (jax.ShapeDtypeStruct(of, jnp.float64) for of in ((2, bins), (2, bins, size)))
        sums = jax.custom_jvp(self._callback("values", layout, shape))
        with_derivative = _once(self._callback(strategy, layout, (shape, derivative)))

        @sums.defjvp
        def sums_jvp(primals: PyTree, tangents: PyTree) -> tuple[jax.Array, jax.Array]:
            value, derivative = with_derivative(*primals)
            return value, derivative @ ravel_pytree(tangents[0])[0]

        return sums

    def _two_passes(self, layout: Portable[Layout], params: Params) -> Callable[..., jax.Array]:
        values = _once(self._callback("values", layout, jax.ShapeDtypeStruct((2, layout.value.size), jnp.float64)))
        gradient = _once(self._callback("vjp", layout, params))
        sums = jax.custom_vjp(values)
        sums.defvjp(lambda params: (values(params), params), lambda params, cotangents: (gradient(params, cotangents),))
        return sums

    def _callback(self, mode: AnyMode, layout: Portable[Layout], shape: PyTree) -> Callable[..., PyTree]:
        """A step as a function of JAX arrays, of which a compiled function holds neither these templates nor their columns."""
        owner = weakref.ref(self)

        @keep_error
        def run(*arguments: PyTree) -> PyTree:
            if (templates := owner()) is None:
                raise _closed()
            return templates._step(mode, layout, *jax.tree.map(np.asarray, arguments))

        def call(*arguments: PyTree) -> PyTree:
            if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments)):
                return jax.pure_callback(run, shape, *arguments, vmap_method="sequential")
            return jax.tree.map(jnp.asarray, run(*arguments))

        return call

    def _step(self, mode: AnyMode, layout: Portable[Layout], *arguments: PyTree) -> PyTree:
        if self._closed:
            raise _closed()
        began = time.perf_counter()
        partial: Partial = self._lane.step(mode, layout, *arguments)
        self.passes += 1
        self.moved += self._lane.remote * sum(leaf.nbytes for leaf in jax.tree.leaves((arguments, partial.total)))
        self.memory = partial.memory
        self.ledger.check(partial.events)
        for name, spent in {**partial.seconds, "wall": time.perf_counter() - began}.items():
            self.seconds[name] += spent
        return partial.total


def _closed() -> ClosedError:
    return ClosedError(
        "these templates are closed: use them within the `with` block of `distribute`, or before `close()`"
    )


def _once(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The function, which refuses to be differentiated: what it returns is the last derivative that the workers compute."""
    once = jax.custom_jvp(function)

    @once.defjvp
    def refuse(primals: PyTree, tangents: PyTree) -> PyTree:  # noqa: ARG001
        msg = "templates have first derivatives only: for a curvature take optimizer='gauss-newton' of diffea.optimise, or differences of gradients"
        raise StrategyError(msg)

    return once
