"""ProcessorAt: a differentiable processor at fixed parameters, for coffea's own Runner."""

from __future__ import annotations

import copy
import functools
from collections import deque

import jax
import numpy as np
from coffea.processor import ProcessorABC

from diffea.errors import NotFiniteError
from diffea.events.blocks import Blocks
from diffea.events.columns import check
from diffea.parameters import as_arrays, brief, finite
from diffea.processor.base import DifferentiableProcessor, axes_of
from diffea.program.exact import rounded
from diffea.program.hard import hard_sums
from diffea.program.program import Mode, Program
from diffea.program.structure import Structure, pieces
from diffea.templates import Layout, TemplateJacobian, TemplateSet
from diffea.types import Events, Params, PyTree

_recent: deque[Program] = deque(maxlen=4)
"""What this process ran last: the Runner sends a processor with each chunk, and lets go of it after."""


class ProcessorAt(ProcessorABC):
    """A plain coffea processor; its accumulator is ``{dataset: TemplateSet}``.

    With ``jacobian=True`` it is ``{dataset: {"templates": TemplateSet, "jacobian": TemplateJacobian}}``.

    Args:
        processor: the differentiable one.
        params: pytree of numbers and arrays.
        jacobian: whether to accumulate derivatives.
        hard: whether to cut exactly and fill plain histograms.
    """

    def __init__(
        self, processor: DifferentiableProcessor, params: Params, *, jacobian: bool = False, hard: bool = False
    ) -> None:
        self.program = Program(processor)
        self.params = jax.tree.map(np.asarray, as_arrays(params))
        self.jacobian = jacobian
        self.hard = hard

    def at(self, params: Params) -> ProcessorAt:
        """The same program at other parameters, for which nothing compiles again."""
        other = copy.copy(self)
        other.params = jax.tree.map(np.asarray, as_arrays(params))
        return other

    def process(self, events: Events) -> dict[str, PyTree]:
        """Templates of one chunk.

        Raises:
            ColumnError, NotFiniteError, FillError: for what is wrong with the chunk, naming it.
        """
        program = self.program
        if program not in _recent:
            _recent.append(program)
        metadata = events.metadata
        dataset = metadata.get("dataset", "")
        where = f"dataset {dataset!r}, file {metadata.get('filename')}, entries from {metadata.get('entrystart')}"
        columns = check(program.processor.columns(events), len(events), where)
        sample = str(metadata.get("sample", dataset))
        structures, blocks, _ = pieces(columns, program.dtype)
        keys = (key for structure in structures for key in program.layout(structure, sample, self.params).keys)
        layout = Layout(axes_of(program.processor), tuple(dict.fromkeys(keys)))
        edges = jax.tree.map(np.asarray, dict(program.processor.edges(self.params)))
        mode: Mode = "jacobian" if self.jacobian else "values"

        def summed(structure: Structure, blocks: Blocks) -> PyTree:
            if self.hard:
                return hard_sums(program, structure, sample, layout, self.params, blocks, 1.0, where)[1]
            return program.run(mode, structure, sample, layout, self.params, blocks, 1.0)[1]

        found = functools.reduce(functools.partial(jax.tree.map, np.add), map(summed, structures, blocks))
        if self.hard:
            values, variances = rounded(found)
            return {dataset: TemplateSet(layout, values, variances, edges)}
        if not finite(found):
            msg = (
                f"{where}: a template{' or its derivative' if self.jacobian else ''} is NaN or infinite; look at "
                f"`{program.name}.fill` at the parameters {brief(self.params)}"
            )
            raise NotFiniteError(msg)
        if not self.jacobian:
            return {dataset: TemplateSet(layout, found[0], found[1], edges)}
        sums, derivative = found
        return {
            dataset: {
                "templates": TemplateSet(layout, sums[0], sums[1], edges),
                "jacobian": TemplateJacobian(layout, derivative, self.params),
            }
        }

    def postprocess(self, accumulator: PyTree) -> PyTree:
        """Nothing: what the chunks add up to is the result."""
        return accumulator


DifferentiableProcessor._runner = ProcessorAt
