"""The JAX function: parameters in, templates out, with the gradient of all of the data behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea.distributed.lanes import Lane
from diffea.distributed.ledger import Ledger
from diffea.distributed.reduction import Partial
from diffea.errors import ClosedError
from diffea.parameters import as_arrays
from diffea.processor import DifferentiableProcessor, axes_of
from diffea.program import Kernels
from diffea.program.strategy import ONE_PASS, STRATEGIES, Gradient, Strategy, cheapest, exchange
from diffea.runtime import Portable, keep_error, named_errors
from diffea.templates import Layout, TemplateSet
from diffea.templates.derivatives import TemplateJacobian


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

    def __init__(self, processor: DifferentiableProcessor, lane: Lane, ledger: Ledger, gradient: Gradient) -> None:
        self.processor = processor
        self.ledger = ledger
        self.passes = 0
        self.seconds = {"read": ledger.read_seconds, "compile": 0.0, "compute": 0.0, "reduce": 0.0, "wall": 0.0}
        self.moved = 0
        self.memory = 0
        self._lane = lane
        self._closed = False
        self._gradient = gradient
        self._structures = sorted(ledger.structures, key=lambda found: (-ledger.structures[found], repr(found)))
        self._kernels = Kernels(processor)
        self._functions: dict[Any, tuple[Layout, Callable[..., Any]]] = {}

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

    def __call__(self, params: Any) -> TemplateSet:
        """The templates at these parameters.

        Raises:
            ParameterError: if a parameter is not a finite number.
            FillError: if ``fill`` does not fit the channels.
            NotFiniteError: if a template or gradient is not finite, naming dataset, file and entries.
            ClosedError: after the end of its ``with`` block.
            Under ``jax.jit`` and ``jax.grad`` XLA gives these as the text of a JaxRuntimeError; ``diffea.optimise`` names them.
        """
        return self._templates(params, STRATEGIES)

    def forward(self, params: Any) -> TemplateSet:
        """As the call, but one pass gives value and Jacobian, whatever the number of parameters."""
        return self._templates(params, ONE_PASS)

    def jacobian(self, params: Any) -> TemplateJacobian:
        """∂T/∂φ in one pass over the data: by parameter or by bin, whichever is cheaper."""
        params = jax.tree.map(np.asarray, as_arrays(params))
        layout = self.layout(params)
        _, derivative = self._step(self._strategy(params, ONE_PASS), Portable(layout), params)
        return TemplateJacobian(layout, derivative, params)

    def hard(self, params: Any) -> TemplateSet:
        """The same events with exact cuts in plain histograms."""
        params = jax.tree.map(np.asarray, as_arrays(params))
        layout = self.layout(params)
        sums = self._step("hard", Portable(layout), params)
        return TemplateSet(layout, sums[0], sums[1], jax.tree.map(np.asarray, dict(self.processor.edges(params))))

    def layout(self, params: Any) -> Layout:
        """Which templates the fills make; nothing is computed."""
        layouts = (self._kernels.layout(structure, sample, params) for sample, structure in self._structures)
        keys = {key for layout in layouts for key in layout.keys}
        return Layout(axes_of(self.processor), tuple(sorted(keys)))

    def close(self) -> None:
        """Let go of the columns on the workers."""
        self._closed = True
        self._lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _templates(self, params: Any, among: Sequence[Strategy]) -> TemplateSet:
        params = as_arrays(params)
        layout, function = self._function(params, self._strategy(params, among))
        with named_errors():
            sums = function(params)
            if not isinstance(sums, jax.core.Tracer):
                sums.block_until_ready()
        return TemplateSet(layout, sums[0], sums[1], dict(self.processor.edges(params)))

    def _strategy(self, params: Any, among: Sequence[Strategy]) -> Strategy:
        for strategy in among:
            if strategy == self._gradient:
                return strategy
        shapes = _shapes(params)
        sizes = [self._kernels.layout(structure, sample, shapes).size for sample, structure in self._structures]
        bins = max(sizes)
        operations = self._kernels.operations(self._structures[sizes.index(bins)][1], shapes)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        return cheapest(size, bins, exchange(sum(self.events.values()), operations), among)

    def _function(self, params: Any, strategy: Strategy) -> tuple[Layout, Callable[..., Any]]:
        leaves, tree = jax.tree.flatten(params)
        key = strategy, tree, tuple(leaf.shape for leaf in leaves)
        if key not in self._functions:
            layout = self.layout(_shapes(params))
            if strategy == "vjp":
                function = self._two_passes(Portable(layout), layout.size)
            else:
                function = self._one_pass(strategy, Portable(layout), layout.size, sum(leaf.size for leaf in leaves))
            self._functions[key] = layout, function
        return self._functions[key]

    def _one_pass(self, strategy: Strategy, layout: Portable, bins: int, size: int) -> Callable[..., Any]:
        shape = jax.ShapeDtypeStruct((2, bins), jnp.float64)
        both = shape, jax.ShapeDtypeStruct((2, bins, size), jnp.float64)

        @jax.custom_jvp
        def sums(params: Any) -> Any:
            return self._callback("values", layout, shape, params)

        @sums.defjvp
        def sums_jvp(primals: Any, tangents: Any) -> Any:
            value, derivative = self._callback(strategy, layout, both, *primals)
            return value, derivative @ ravel_pytree(tangents[0])[0]

        return sums

    def _two_passes(self, layout: Portable, bins: int) -> Callable[..., Any]:
        shape = jax.ShapeDtypeStruct((2, bins), jnp.float64)

        @jax.custom_vjp
        def sums(params: Any) -> Any:
            return self._callback("values", layout, shape, params)

        def forward(params: Any) -> Any:
            return sums(params), params

        def backward(params: Any, cotangents: Any) -> Any:
            return (self._callback("vjp", layout, params, params, cotangents),)

        sums.defvjp(forward, backward)
        return sums

    def _callback(self, mode: str, layout: Portable, shape: Any, *arguments: Any) -> Any:
        @keep_error
        def run(*arguments: Any) -> Any:
            return self._step(mode, layout, *jax.tree.map(np.asarray, arguments))

        return jax.pure_callback(run, shape, *arguments, vmap_method="sequential")

    def _step(self, mode: str, layout: Portable, *arguments: Any) -> Any:
        if self._closed:
            msg = "these templates are closed: use them within the `with` block of `distribute`, or before `close()`"
            raise ClosedError(msg)
        began = time.perf_counter()
        partial: Partial = self._lane.step(mode, layout, *arguments)
        self.passes += 1
        self.moved += self._lane.remote * sum(leaf.nbytes for leaf in jax.tree.leaves((arguments, partial.total)))
        self.memory = partial.memory
        self.ledger.check(partial.events)
        for name, spent in {**partial.seconds, "wall": time.perf_counter() - began}.items():
            self.seconds[name] += spent
        return partial.total


def _shapes(params: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
