"""The JAX function: parameters in, templates out, with the gradient of all of the data behind it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea import soft
from diffea.distributed.callbacks import as_function, closed, once, size_of, traced
from diffea.distributed.lanes import Lane
from diffea.distributed.ledger import Ledger
from diffea.distributed.minibatch import MiniBatch
from diffea.distributed.reduction import Partial
from diffea.distributed.steps import AnyMode, points
from diffea.errors import CountError, StrategyError, WidthError
from diffea.events.minibatches import ALL, Part, chosen_part
from diffea.events.scalars import plain
from diffea.notebook import tables
from diffea.parameters import as_arrays
from diffea.portable import Portable
from diffea.processor import axes_of
from diffea.program import Program, rounded
from diffea.program.strategy import ONE_PASS, STRATEGIES, Gradient, Strategy, cheapest, exchange, fills
from diffea.runtime import named_errors
from diffea.soft.context import width_scale
from diffea.templates import Layout, TemplateJacobian, TemplateSet
from diffea.templates.layout import NOMINAL, check_variations
from diffea.types import AnyArray, Params, PyTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_WIDTHS = "templates have no derivative by the scale of soft.sharpened around them: make it a parameter, and enter soft.sharpened in `fill`"


class Templates:
    """Templates of distributed events as an ordinary JAX function of a pytree of parameters.

    It works under ``jax.grad``, ``jax.value_and_grad`` and ``jax.jit``. With ``gradient="jacobian"`` or ``"by-bin"`` one pass over
    the data gives value and derivative (and ``jax.jvp`` works too); with ``"vjp"`` a second pass gives the gradient. Under
    ``jax.vmap`` over parameters many points are one pass, with the same bits as one by one; so are those of ``hard``.

    Attributes:
        ledger: what is held, and what was left out.
        passes: how often the data were passed over so far, at one or many points.
        fills: what they computed, in fills of all templates at one point; that of a derivative is estimated, see
            ``diffea.program.strategy``.
        seconds: where the time went: ``read``, ``compile``, ``compute`` and ``reduce`` summed over the workers, ``wall`` of all
            passes.
        moved: bytes of parameters and sums that passes sent between processes so far, parameters counted once a shard.
        memory: bytes resident in the worker that had most of it in the last pass.
        yields: sum of weights of each nominal template, by ``channel/sample``, in the last pass that filled them at one point.
    """

    def __init__(self, program: Program, lane: Lane, ledger: Ledger, gradient: Gradient) -> None:
        self.processor = program.processor
        self.ledger = ledger
        self.passes = 0
        self.fills = 0.0
        self.seconds = {"read": ledger.read_seconds, "compile": 0.0, "compute": 0.0, "reduce": 0.0, "wall": 0.0}
        self.moved = 0
        self.memory = 0
        self.yields: dict[str, float] = {}
        self._lane = lane
        self._closed = False
        self._gradient = gradient
        self._structures = sorted(ledger.structures, key=lambda found: (-ledger.structures[found], repr(found)))
        self._program = program
        self._layouts: dict[Hashable, Portable[Layout]] = {}
        self._functions: dict[Hashable, Callable[..., PyTree]] = {}

    def plot(self, channel: str | None, params: Params, ax: Axes | None = None) -> Axes:
        """The samples of a channel with soft cuts at these parameters, on top of each other."""
        return self(params).plot(channel, ax)

    def _repr_html_(self) -> str:
        return tables.of_templates(self)

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
            TemplateError: if a variation of a sample is filled from some of its datasets only.
            NotFiniteError: if a template or gradient is not finite, naming dataset, file and entries.
            ClosedError: after the end of its ``with`` block.
            StrategyError: for a second derivative, and for any derivative under ``soft.hard()``.
            Under ``jax.jit`` and ``jax.grad`` XLA gives these as the text of a JaxRuntimeError; ``diffea.optimise`` names them.
        """
        return self.hard(params) if soft.is_hard() else self._templates(params, self._strategy(params, STRATEGIES))

    def forward(self, params: Params) -> TemplateSet:
        """As the call, but one pass gives value and Jacobian, whatever the number of parameters."""
        return self._templates(params, self._strategy(params, ONE_PASS))

    def with_pull(self, params: Params) -> tuple[TemplateSet, Callable[[TemplateSet], Params]]:
        """Templates and pull-back as of ``jax.vjp`` of the call, at known parameters and without JAX's tracing; errors as for the call."""
        params = self._known(params)
        layout, strategy = self._layout(params), self._strategy(params, STRATEGIES)
        edges, pull_edges = jax.vjp(lambda params: dict(self.processor.edges(params)), params)
        around = _widths(), chosen_part()
        found = self._at("values" if strategy == "vjp" else strategy, layout, params, around)
        sums, *derivative = [found] if strategy == "vjp" else found

        def pull(slope: TemplateSet) -> Params:
            cotangents = np.stack([slope.values_flat, slope.variances_flat])
            if derivative:
                _, unravel = ravel_pytree(params)
                through = unravel(jnp.tensordot(cotangents, derivative[0], 2))
            else:
                through = self._at("vjp", layout, params, around, cotangents)
            return jax.tree.map(jnp.add, through, *pull_edges(slope.edges))

        return TemplateSet(layout.value, sums[0], sums[1], edges), pull

    def jacobian(self, params: Params) -> TemplateJacobian:
        """∂T/∂φ in one pass over the data: by parameter or by bin, whichever is cheaper."""
        params = self._known(params)
        _, derivative = self._at(self._strategy(params, ONE_PASS), self._layout(params), params)
        return TemplateJacobian(self.layout(params), derivative, params)

    def hard(self, params: Params) -> TemplateSet:
        """The same events with exact cuts in plain histograms; under ``jax.vmap`` at many points in one pass.

        Raises:
            StrategyError: where a derivative is asked for: a step has none.
        """
        params = as_arrays(params)
        if traced(params):
            return self._templates(params, "hard")
        params = jax.tree.map(np.asarray, params)
        sums = self._at("hard", self._layout(params), params)
        edges = jax.tree.map(np.asarray, dict(self.processor.edges(params)))
        return TemplateSet(self.layout(params), sums[0], sums[1], edges)

    def replicas(self, params: Params, number: int) -> tuple[TemplateSet, TemplateSet]:
        """``hard``, and its Poisson bootstrap by event, in one pass that costs about as many fills.

        In a replica each event is met a Poisson number of times, a hash of what identifies it and of the replica's number: other
        parameters, processors, chunks and clusters meet the same events as often. Arrays of the second set have the replicas
        along their first axis.

        Args:
            params: the parameters.
            number: of replicas.

        Raises:
            ReplicaError: if it is not known what identifies the events (``distribute(…, identify=True)``), or many are called the same.
            CountError: if ``number`` is no count of at least two.
        """
        count = plain(number)
        if isinstance(count, bool) or not isinstance(count, int) or count < 2:
            msg = f"replicas are at least two, as a whole number, got {number!r}"
            raise CountError(msg)
        self.ledger.check_identity()
        params = self._known(params)
        numbers = np.arange(count, dtype=np.uint64)
        sums, several = self._at("replicas", self._layout(params), params, (_widths(), ALL), numbers)
        edges = jax.tree.map(np.asarray, dict(self.processor.edges(params)))
        layout = self.layout(params)
        return TemplateSet(layout, sums[0], sums[1], edges), TemplateSet(layout, several[:, 0], several[:, 1], edges)

    def summed(self, mode: AnyMode, params: Params, *more: np.ndarray) -> PyTree:
        """What a pass at one point sums up, see ``diffea.distributed.steps``."""
        params = self._known(params)
        return self._at(mode, self._layout(params), params, (_widths(), ALL), *more)

    def batch(self, number: int | jax.Array, *, of: int | jax.Array, seed: int | jax.Array = 0) -> MiniBatch:
        """The templates as one of some disjoint parts of all events estimates them, for about that part of the price.

        Its sums of weights, and of their squares, are multiplied by the number of parts, so that the mean over all parts are the
        templates and their variances. A part holds its share of every dataset and file, to within one event a batch of them, and is
        the same on any cluster.

        Args:
            number: of the part, from 0; of JAX integers that are arguments of a compiled function none compiles again.
            of: how many parts there are.
            seed: another seed divides otherwise.

        Raises:
            OptionError: if there is no such part.
        """
        return MiniBatch(self, number, of, seed)

    def with_statistics_of(self, other: Templates) -> Callable[[Params], TemplateSet]:
        """These templates with variances as if as many events had been simulated for them as for others.

        Both are scaled to the same yields, so that those of a validation part of fewer events have larger MC-statistical errors than
        those of the training part, and a loss that knows of them is larger there whatever the parameters. Here all variances are multiplied
        by the ratio of the numbers of events.

        Args:
            other: templates of another part of the same simulation.
        """
        ratio = sum(self.events.values()) / sum(other.events.values())
        return lambda params: self(params).with_variances_times(ratio)

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
        if traced(params):
            msg = (
                "a Jacobian is a NumPy array of known parameters: call it outside of jax.jit, jax.grad and the like; there, "
                "templates(params) has derivatives"
            )
            raise StrategyError(msg)
        return jax.tree.map(np.asarray, params)

    def _layout(self, params: Params) -> Portable[Layout]:
        leaves, tree = jax.tree.flatten(params)
        cached = tree, tuple(np.shape(leaf) for leaf in leaves)
        if cached not in self._layouts:
            layouts = [self._program.layout(structure, sample, params) for sample, structure in self._structures]
            check_variations([layout.keys for layout in layouts])
            keys = {key for layout in layouts for key in layout.keys}
            self._layouts[cached] = Portable(Layout(axes_of(self.processor), tuple(sorted(keys))))
        return self._layouts[cached]

    def _templates(self, params: Params, strategy: Strategy | Literal["hard"]) -> TemplateSet:
        params = as_arrays(params)
        layout = self._layout(params)
        function = self._function(params, layout, strategy)
        with named_errors():
            sums = function(params, _widths(), chosen_part())
            if not isinstance(sums, jax.core.Tracer):
                sums.block_until_ready()
        return TemplateSet(layout.value, sums[0], sums[1], dict(self.processor.edges(params)))

    def _strategy(self, params: Params, among: Sequence[Strategy]) -> Strategy:
        params = as_arrays(params)
        for strategy in among:
            if strategy == self._gradient:
                return strategy
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
        sizes = self._sizes(shapes)
        operations = self._program.operations(self._structures[sizes.index(max(sizes))][1], shapes)
        return cheapest(size_of(params), max(sizes), exchange(sum(self.events.values()), operations), among)

    def _sizes(self, params: Params) -> list[int]:
        """How many bins the templates of each structure have."""
        return [self._program.layout(structure, sample, params).size for sample, structure in self._structures]

    def _function(
        self, params: Params, layout: Portable[Layout], strategy: Strategy | Literal["hard"]
    ) -> Callable[..., jax.Array]:
        key = strategy, layout.token
        if key not in self._functions:
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float64), params)
            self._functions[key] = as_function(weakref.WeakMethod(self._step), strategy, layout, shapes)
        return self._functions[key]

    def _at(
        self,
        mode: AnyMode,
        layout: Portable[Layout],
        params: Params,
        around: tuple[AnyArray, AnyArray] | None = None,
        *more: np.ndarray,
    ) -> PyTree:
        """A step at one point, whose numbers are known, with the widths and the part of the events around this call or those given."""
        widths, part = around or (_widths(), chosen_part())
        point = jax.tree.map(lambda leaf: np.asarray(leaf)[None], (params, widths, part, *more))
        return jax.tree.map(lambda leaf: leaf[0], self._step(mode, layout, *point))

    def _step(
        self,
        mode: AnyMode,
        layout: Portable[Layout],
        params: Params,
        widths: np.ndarray,
        part: np.ndarray,
        *more: PyTree,
    ) -> PyTree:
        """One pass, at as many points as the first axis of the arguments has entries."""
        if self._closed:
            raise closed()
        if not np.all((widths > 0) & (widths < np.inf)):
            msg = f"expected a positive scale of the widths, got {widths.tolist()}: end a schedule with soft.hard(), not with a width of zero"
            raise WidthError(msg)
        parts = [Part(*map(int, numbers)) for numbers in part]
        began = time.perf_counter()
        partial: Partial = self._lane.step(mode, layout, params, widths, part, *more)
        at_one = jax.tree.map(lambda leaf: leaf[0], params)
        count, of = points((params, widths, part, *more)), np.array([float(part.of) for part in parts])
        self.passes += 1
        each = 1.0 + more[0].shape[1] if mode == "replicas" else fills(mode, size_of(at_one), max(self._sizes(at_one)))
        self.fills += count * float(np.mean(1.0 / of)) * each
        self.moved += self._lane.remote * sum(leaf.nbytes for leaf in jax.tree.leaves((params, more, partial.total)))
        self.memory = partial.memory
        self.ledger.check(partial.events)
        total = jax.tree.map(lambda leaf: (rounded(leaf).T * of).T, partial.total)
        if count == 1 and mode in ("values", "hard", *ONE_PASS):
            sums = (total[0] if mode in ONE_PASS else total)[0, 0]
            self.yields = {
                f"{channel}/{sample}": float(sums[span].sum())
                for (channel, sample, variation), span in layout.value.spans.items()
                if variation == NOMINAL
            }
        for name, spent in {**partial.seconds, "wall": time.perf_counter() - began}.items():
            self.seconds[name] += spent
        return total


def _widths() -> AnyArray:
    """The scale of the widths around this call."""
    scale = width_scale()
    if isinstance(scale, jax.core.Tracer):
        return once(jnp.asarray, NO_WIDTHS)(scale.astype(float))
    return np.asarray(1.0 if scale is None else scale, float)
