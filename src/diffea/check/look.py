"""Look: an analysis at the parameters it starts from, seen on the first chunks of its data."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea.analysis import Analysis, Variant
from diffea.distributed.glance import Glance, glance
from diffea.errors import DiffeaError
from diffea.parameters import as_arrays
from diffea.program import Program
from diffea.runtime import named_errors
from diffea.templates import TemplateSet

CHUNKS = 2


@dataclasses.dataclass(frozen=True)
class Look:
    """What a few chunks say.

    Attributes:
        variant: that was looked at.
        soft: templates of soft cuts at the start; they are scaled as if all entries were like those read.
        hard: likewise, with exact cuts.
        derivative: of ``soft`` by each number of the parameters, shape ``(soft.layout.size, numbers)``.
        loss: the objective of ``soft``; None where it fails.
        slope: its gradient by each bin of ``soft``, shape ``(soft.layout.size,)``; likewise.
        failure: why it fails.
        entries: of all files, by dataset.
        read: of them, by dataset.
        branches: that ``columns`` asks for, by dataset.
        nbytes: of the columns of all events, extrapolated.
        seconds: of one fill of all events in this process, extrapolated.
    """

    variant: Variant
    soft: TemplateSet
    hard: TemplateSet
    derivative: np.ndarray
    loss: float | None
    slope: np.ndarray | None
    failure: str | None
    entries: dict[str, int]
    read: dict[str, int]
    branches: dict[str, tuple[str, ...]]
    nbytes: float
    seconds: float


def look(analysis: Analysis, variant: Variant, data: Path, chunks: int = CHUNKS) -> Look:
    """Read the first chunks of each dataset and fill them once, softly and with exact cuts, at the start.

    Args:
        analysis: what would be run.
        variant: of it.
        data: folder of the data.
        chunks: how many of each dataset.

    Raises:
        DiffeaError: whatever reading or filling raises: that alone would stop the run.
    """
    program = Program(variant.processor)
    seen = glance(
        program, analysis.fileset(data), analysis.schemaclass, analysis.chunksize, chunks, analysis.uproot_options
    )
    with contextlib.ExitStack() as held:
        for one in seen:
            held.callback(one.templates.close)
        params = jax.tree.map(np.asarray, as_arrays(variant.params))
        soft = _total(seen, lambda one: jax.tree.map(np.asarray, one.templates(params)))
        began = time.perf_counter()
        _total(seen, lambda one: jax.tree.map(np.asarray, one.templates(params)))
        seconds = time.perf_counter() - began
        loss, slope, failure = _objective(variant, soft)
        read = {one.file.dataset: one.read for one in seen}
        entries = {one.file.dataset: one.entries for one in seen}
        size = sum(one.scale * sum(one.templates.ledger.nbytes.values()) for one in seen)
        return Look(
            variant=variant,
            soft=soft,
            hard=_total(seen, lambda one: one.templates.hard(params)),
            derivative=_derivative(seen, params, soft),
            loss=loss,
            slope=slope,
            failure=failure,
            entries=entries,
            read=read,
            branches={one.file.dataset: one.branches for one in seen},
            nbytes=size,
            seconds=seconds * sum(entries.values()) / sum(read.values()),
        )


def _total(seen: Sequence[Glance], of: Callable[[Glance], TemplateSet]) -> TemplateSet:
    """The templates of all datasets, each as large as the whole dataset."""
    return reduce(add, (_scaled(of(one), one.scale) for one in seen))


def _scaled(templates: TemplateSet, scale: float) -> TemplateSet:
    """Sums of weights, and of their squares, of as many more events of the same kind."""
    return dataclasses.replace(
        templates,
        values_flat=np.asarray(templates.values_flat) * scale,
        variances_flat=np.asarray(templates.variances_flat) * scale,
    )


def _derivative(seen: Sequence[Glance], params: object, whole: TemplateSet) -> np.ndarray:
    total = np.zeros((whole.layout.size, ravel_pytree(params)[0].size))
    for one in seen:
        found = one.templates.jacobian(params)
        total[found.layout.within(whole.layout)] += one.scale * np.asarray(found.flat[0])
    return total


def _objective(variant: Variant, soft: TemplateSet) -> tuple[float | None, np.ndarray | None, str | None]:
    """The objective of templates and its gradient by their values; or why there is none."""

    def of(values: jax.Array) -> jax.Array:
        return jax.numpy.asarray(variant.objective(variant.model(dataclasses.replace(soft, values_flat=values))))

    try:
        with named_errors():
            value, slope = jax.value_and_grad(of)(jax.numpy.asarray(soft.values_flat))
    except DiffeaError as error:
        return None, None, str(error)
    if not (np.isfinite(value) and np.isfinite(slope).all()):
        return (
            None,
            None,
            f"the objective is {float(value)}, its gradient {'' if np.isfinite(slope).all() else 'not '}finite",
        )
    return float(value), np.asarray(slope), None
