"""Cuts: what each cut of ``fill`` decides by itself, and what is left after one after the other; counted with exact cuts."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Var
from jax.typing import ArrayLike

from diffea.events.blocks import Blocks
from diffea.events.ragged import Column, Ragged
from diffea.parameters import name_of
from diffea.processor.base import axes_of
from diffea.processor.fill import as_numbers
from diffea.program.program import OPERATION_BY_OPERATION, Program
from diffea.program.structure import Structure
from diffea.program.traced import fills_of, of_sample
from diffea.runtime import on_cpu
from diffea.soft.context import hard
from diffea.soft.recording import AS_IT_IS, Made, Recorder, recording
from diffea.templates import Key, Layout
from diffea.templates.layout import NOMINAL
from diffea.types import Params, PyTree

BINS = 60
TOGETHER = 8  # patterns of outcomes that are computed at once, so that one compilation serves any number


@dataclasses.dataclass(frozen=True)
class Cut:
    """A cut, by what it is known by on all events.

    Attributes:
        kind, column, parameters, object: see ``diffea.soft.recording.Made``.
        repeat: how many alike are made before it.
    """

    kind: str
    column: str | None
    parameters: tuple[str | None, ...]
    object: int | None
    repeat: int

    @property
    def name(self) -> str:
        """That no other cut has."""
        parts = [self.column, self.kind, *self.parameters, self.object, self.repeat]
        return "|".join("" if part is None else str(part) for part in parts)


@dataclasses.dataclass(frozen=True)
class Reading:
    """The cuts behind the nominal templates of events of one structure.

    Attributes:
        cuts: in the order in which they are made.
        keys: of the template that each nominal fill goes into.
        compute: of parameters, outcomes of the cuts, shape ``(patterns, cuts)``, and the columns of a block: the values cut on, each of shape
            ``(rows,)``, and the weight of each event in each nominal fill, shape ``(patterns, rows)``.
        thresholds: of parameters; one or two for each cut, NaN where they differ by event.
    """

    cuts: tuple[Cut, ...]
    keys: tuple[Key, ...]
    compute: Callable[[Params, np.ndarray, PyTree], tuple[list[jax.Array], list[jax.Array]]]
    thresholds: Callable[[Params], list[list[float]]]


def reading(program: Program, structure: Structure, params: Params) -> Reading:
    """Read the cuts of ``fill``; nothing is computed.

    Args:
        program: of the processor.
        structure: of a block.
        params: of the shapes of these.
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), program.dtype), params)
    leaves, tree = jax.tree.flatten(shapes)
    key = "cuts", structure, tree, tuple(leaf.shape for leaf in leaves)
    return program.remembered(key, lambda: _read(program, structure, shapes))


def _read(program: Program, structure: Structure, shapes: Params) -> Reading:
    noted: list[tuple[list[Made], list[Key]]] = []
    axes = axes_of(program.processor)

    def run(params: Params, outcomes: jax.Array | None, arrays: PyTree) -> tuple[Recorder, list[jax.Array]]:
        names = {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
        recorder = Recorder(arrays, names, outcomes)
        with recording(recorder):
            fills = [item for item in fills_of(program.processor, structure, params, arrays) if item[0][2] == NOMINAL]
        weights = [
            _weight(*as_numbers(fill, axes[fill.channel], structure.rows, program.name), structure.rows)
            for _, fill in fills
        ]
        noted.append((recorder.made, [key for key, _ in fills]))
        return recorder, weights

    def passed(params: Params, arrays: PyTree) -> tuple[list[PyTree], list[jax.Array]]:
        recorder, weights = run(params, None, arrays)
        return [_array(made.passed) for made in recorder.made], weights

    with hard():
        traced, outputs = jax.make_jaxpr(passed, return_shape=True)(shapes, structure.shapes)
    made, keys = noted[-1]
    results = traced.jaxpr.outvars[: len(made)]
    needed = _needed(traced.jaxpr, traced.jaxpr.outvars[len(made) :])
    used = [number for number, result in enumerate(results) if result in needed]

    def values(params: Params, arrays: PyTree) -> list[jax.Array]:
        recorder, _ = run(params, None, arrays)
        return [_decisive(recorder.made[number]) for number in used]

    def weights(params: Params, outcomes: jax.Array, arrays: PyTree) -> list[jax.Array]:
        every = jnp.full(len(made), AS_IT_IS).at[jnp.asarray(used, int)].set(outcomes)
        return run(params, every, arrays)[1]

    def compute(params: Params, outcomes: jax.Array, arrays: PyTree) -> tuple[list[jax.Array], list[jax.Array]]:
        with hard():
            return values(params, arrays), jax.vmap(weights, in_axes=(None, 0, None))(params, outcomes, arrays)

    def thresholds(params: Params) -> list[list[jax.Array]]:
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), structure.shapes)
        with hard():
            recorder, _ = run(params, None, blank)
        return [[_fixed(one) for one in recorder.made[number].thresholds] for number in used]

    del outputs
    return Reading(
        tuple(_named(made[number] for number in used)),
        tuple(keys),
        jax.jit(compute, compiler_options=OPERATION_BY_OPERATION),
        lambda params: [[float(one) for one in pair] for pair in jax.jit(thresholds)(params)],
    )


def _needed(jaxpr: Jaxpr, outputs: Iterable[object]) -> set[Var]:
    """What some of the outputs are computed from."""
    needed = {variable for variable in outputs if isinstance(variable, Var)}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(variable for variable in equation.invars if isinstance(variable, Var))
    return needed


def _named(made: Iterable[Made]) -> Iterator[Cut]:
    seen: dict[tuple[object, ...], int] = {}
    for one in made:
        known = one.kind, one.column, one.parameters, one.object
        seen[known] = seen.get(known, -1) + 1
        yield Cut(*known, seen[known])


def _array(column: Column) -> PyTree:
    return column.values if isinstance(column, Ragged) else column


def _weight(observables: Sequence[Column], weight: Column | None, rows: int) -> jax.Array:
    """Of each event: the sum of its entries' weights, shape ``(rows,)``."""
    columns = [*observables, jnp.asarray(1.0) if weight is None else weight]
    masks = [jnp.asarray(column.mask) for column in columns if isinstance(column, Ragged)]
    found = jnp.asarray(_array(columns[-1]))
    if not masks:
        return jnp.broadcast_to(found, (rows,))
    mask = jnp.all(jnp.stack(masks), axis=0)
    return jnp.sum(jnp.where(mask, found[:, None] if found.ndim == 1 else found, 0.0), axis=1)


def _decisive(made: Made) -> jax.Array:
    """One number an event: of objects the one that decides, the first in the direction of the cut if none is known to; NaN if it is missing."""
    if not isinstance(made.value, Ragged):
        return jnp.asarray(made.value, float)
    sign, rank = (-1.0 if made.kind == "below" else 1.0), (made.object or 1) - 1
    ordered = -jnp.sort(jnp.where(made.value.mask, -sign * jnp.asarray(made.value.values, float), jnp.inf), axis=1)
    if rank >= ordered.shape[1]:
        return jnp.full(ordered.shape[0], jnp.nan)
    return jnp.where(jnp.isfinite(ordered[:, rank]), sign * ordered[:, rank], jnp.nan)


def _fixed(threshold: ArrayLike) -> jax.Array:
    number = jnp.asarray(threshold, float)
    return number if number.ndim == 0 else jnp.asarray(jnp.nan)


@dataclasses.dataclass(frozen=True)
class Local:
    """The cuts of one structure within those of the analysis.

    Attributes:
        reading: of the structure.
        places: of its cuts among all, shape ``(cuts of the structure,)``.
        fills: number, channel's number and template of each nominal fill of a channel asked for.
    """

    reading: Reading
    places: np.ndarray
    fills: list[tuple[int, int, Key]]

    @property
    def ranks(self) -> np.ndarray:
        """Of each cut, how many of the structure are made before it."""
        return np.argsort(np.argsort(self.places))

    @classmethod
    def of(
        cls,
        program: Program,
        structure: Structure,
        sample: str,
        params: Params,
        names: Sequence[str],
        channels: Sequence[str],
    ) -> Local:
        found = reading(program, structure, params)
        places = np.array([list(names).index(cut.name) for cut in found.cuts], int)
        keys = enumerate(of_sample(found.keys, sample))
        return cls(
            found, places, [(number, list(channels).index(key[0]), key) for number, key in keys if key[0] in channels]
        )

    def computed(
        self, params: Params, outcomes: np.ndarray, blocks: Blocks, dtype: np.dtype
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Values of the cuts, shape ``(cuts, rows)``, and weights by fill, shape ``(patterns, rows)``, block by block."""
        known = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), params)
        distinct, back = np.unique(outcomes, axis=0, return_inverse=True)
        missing = -len(distinct) % TOGETHER
        groups = np.concatenate([distinct, np.repeat(distinct[:1], missing, axis=0)]).reshape(
            -1, TOGETHER, outcomes.shape[1]
        )
        columns = jax.tree.map(np.asarray, blocks.arrays)  # of which a block is a view: one of JAX's would be compiled
        for block in range(-(-int(blocks.rows) // blocks.size)):
            arrays = on_cpu(jax.tree.map(operator.itemgetter(block), columns))
            rows = min(int(blocks.rows) - block * blocks.size, blocks.size)
            computed = [jax.tree.map(np.asarray, self.reading.compute(known, group, arrays)) for group in groups]
            values = np.array([value[:rows] for value in computed[0][0]], float).reshape(-1, rows)
            weights = [
                np.concatenate(parts)[back.ravel(), :rows]
                for parts in zip(*(found for _, found in computed), strict=True)
            ]
            yield values, [weight.astype(float) for weight in weights]


def surveyed(
    program: Program,
    structure: Structure,
    sample: str,
    params: Params,
    blocks: Blocks,
    names: Sequence[str],
    channels: Sequence[str],
) -> tuple[int, tuple[np.ndarray, np.ndarray]]:
    """Where the values of each cut lie, and which way each decides.

    Returns:
        the number of rows; number, sum and sum of squares of the values, shape ``(cuts, 3)``; and how many events a channel has only if the cut
        passes, and only if it fails, everything else as it is or passing, shape ``(channels, cuts, 2)``.
    """
    local = Local.of(program, structure, sample, params, names, channels)
    cuts = len(local.places)
    outcomes = np.concatenate([_each_way(np.full(cuts, around)) for around in (AS_IT_IS, 1)])
    moments, effects = np.zeros((len(names), 3)), np.zeros((len(channels), len(names), 2))
    if not cuts:
        return int(blocks.rows), (moments, effects)
    for values, weights in local.computed(params, outcomes, blocks, program.dtype):
        for place, value in zip(local.places, values, strict=True):
            finite = value[np.isfinite(value)]
            moments[place] += [finite.size, finite.sum(), (finite**2).sum()]
        for number, channel, _ in local.fills:
            passing, failing = np.abs(weights[number]).reshape(2, 2, cuts, -1).swapaxes(0, 1)
            effects[channel, local.places, 0] += (passing > failing).sum(axis=(0, 2))
            effects[channel, local.places, 1] += (failing > passing).sum(axis=(0, 2))
    return int(blocks.rows), (moments, effects)


def _each_way(around: np.ndarray) -> np.ndarray:
    """Each cut passed, then each failed, the others as they are given; shape ``(2 · cuts, cuts)``."""
    one = np.eye(len(around), dtype=bool)
    return np.concatenate([np.where(one, outcome, around) for outcome in (1, 0)])


def selected(
    program: Program,
    structure: Structure,
    sample: str,
    whole: Layout,
    params: Params,
    blocks: Blocks,
    scale: float,
    names: Sequence[str],
    channels: Sequence[str],
    ranges: np.ndarray,
    directions: np.ndarray,
) -> tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What each cut decides by itself, and what is left after one after the other.

    Args:
        program, structure, sample, whole, params, blocks, scale: as for ``hard_sums``.
        names: of all cuts, in their order.
        channels: that count.
        ranges: of the histogram of each cut's values, shape ``(cuts, 2)``.
        directions: 1 where a channel has events that pass a cut, −1 where it has those that fail it, 0 where a cut does not matter or does
            both, shape ``(channels, cuts)``.

    Returns:
        the number of rows; of the nominal templates of the channels, in the order of ``whole``, the sums of weights, of their squares, and the number
        of events, before and after each cut, shape ``(templates, cuts + 1, 3)``; how many events of each channel come in by a cut, which none
        should, shape ``(channels,)``; and histograms of the values of those events that each cut decides on, sums of weights and of
        their squares, shape ``(cuts, samples, BINS, 2)``, samples sorted.
    """
    local = Local.of(program, structure, sample, params, names, channels)
    cuts, keys = len(local.places), nominal(whole.keys, channels)
    samples = sorted({key[1] for key in keys})
    flows = {
        channel: _flow(directions[channel, local.places], local.ranks)
        for channel in sorted({channel for _, channel, _ in local.fills})
    }
    outcomes = np.concatenate([_each_way(np.full(cuts, AS_IT_IS)), *flows.values()])
    starts = dict(zip(flows, np.cumsum([2 * cuts, *[len(flow) for flow in flows.values()]]), strict=False))
    left, added = np.zeros((len(keys), len(names) + 1, 3)), np.zeros(len(channels))
    decided = np.zeros((len(names), len(samples), BINS, 2))
    rows_of = np.searchsorted(np.sort(local.places), np.arange(len(names)), side="right")
    for values, weights in local.computed(params, outcomes, blocks, program.dtype):
        passing, failing = (np.zeros((len(samples), cuts, values.shape[1])) for _ in range(2))
        for number, channel, key in local.fills:
            weight = weights[number] * scale
            here = weight[starts[channel] : starts[channel] + cuts + 1]
            kept = here != 0
            added[channel] += (kept[1:] & ~kept[:-1]).sum()
            sums = np.stack([here.sum(axis=1), (here**2).sum(axis=1), kept.sum(axis=1)], axis=1)
            left[keys.index(key)] += sums[np.concatenate([[0], rows_of])]
            one, other = weight[:cuts], weight[cuts : 2 * cuts]
            matters, place = one != other, samples.index(key[1])
            passing[place] += np.where(matters, one, 0.0)
            failing[place] += np.where(matters, other, 0.0)
        most = np.where(np.abs(passing) >= np.abs(failing), passing, failing)
        for number, place in enumerate(local.places):
            for which in range(len(samples)):
                decided[place, which] += _histogram(values[number], most[which, number], *ranges[place])
    return int(blocks.rows), (left, added, decided)


def nominal(keys: Iterable[Key], channels: Sequence[str]) -> list[Key]:
    """The nominal templates of some channels."""
    return [key for key in keys if key[2] == NOMINAL and key[0] in channels]


def _flow(directions: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Outcomes of all cuts before the first, and after each: those that are still to come let everything in; shape ``(cuts + 1, cuts)``."""
    open_ = np.select([directions > 0, directions < 0], [1, 0], AS_IT_IS)
    return np.where(ranks[None] < np.arange(len(directions) + 1)[:, None], AS_IT_IS, open_[None]).astype(int)


def _histogram(values: np.ndarray, weights: np.ndarray, low: float, high: float) -> np.ndarray:
    """Sums of weights and of their squares; what lies beyond the range is in the first and the last bin."""
    counted = np.isfinite(values) & (weights != 0)
    place = np.clip(np.floor((values[counted] - low) / (high - low) * BINS), 0, BINS - 1).astype(int)
    return np.stack([np.bincount(place, weights[counted] ** power, BINS) for power in (1, 2)], axis=1)
