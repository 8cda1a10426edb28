"""ProcessorAt: a differentiable processor at fixed parameters, for coffea's own Runner."""

from __future__ import annotations

import copy
from typing import Any

import jax
import numpy as np
from coffea.processor import ProcessorABC

from diffea.errors import NotFiniteError
from diffea.events.columns import check
from diffea.parameters import as_arrays, brief, finite
from diffea.processor.base import DifferentiableProcessor
from diffea.program.hard import hard_templates
from diffea.program.kernels import kernels_of
from diffea.program.structure import structured
from diffea.runtime import Portable
from diffea.templates import TemplateSet
from diffea.templates.derivatives import TemplateJacobian


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
        self, processor: DifferentiableProcessor, params: Any, *, jacobian: bool = False, hard: bool = False
    ) -> None:
        self.processor = Portable(copy.deepcopy(processor))
        self.params = jax.tree.map(np.asarray, as_arrays(params))
        self.jacobian = jacobian
        self.hard = hard

    def process(self, events: Any) -> dict[str, Any]:
        """Templates of one chunk.

        Raises:
            ColumnError, NotFiniteError, FillError: for what is wrong with the chunk, naming it.
        """
        kernels = kernels_of(self.processor)
        metadata = events.metadata
        dataset = metadata.get("dataset", "")
        where = f"dataset {dataset!r}, file {metadata.get('filename')}, entries from {metadata.get('entrystart')}"
        columns = check(kernels.processor.columns(events), len(events), where)
        sample = str(metadata.get("sample", dataset))
        structure, blocks = structured(columns, kernels.dtype)
        if self.hard:
            return {dataset: hard_templates(kernels, structure, sample, self.params, blocks, 1.0, where)}
        layout = kernels.layout(structure, sample, self.params)
        edges = dict(kernels.processor.edges(self.params))
        found = kernels.run(
            "jacobian" if self.jacobian else "values", structure, sample, layout, self.params, blocks, 1.0
        )
        if not finite(found):
            msg = (
                f"{where}: a template{' or its derivative' if self.jacobian else ''} is NaN or infinite; look at "
                f"`{type(kernels.processor).__name__}.fill` at the parameters {brief(self.params)}"
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

    def postprocess(self, accumulator: Any) -> Any:
        """Nothing: what the chunks add up to is the result."""
        return accumulator


DifferentiableProcessor._runner = ProcessorAt
