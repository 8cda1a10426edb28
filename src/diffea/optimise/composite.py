"""Composite: a loss whose templates and objective can be told apart, as second-order optimisation needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from diffea.types import Params, PyTree, Scalar


@dataclasses.dataclass(frozen=True)
class Composite:
    """A loss ``objective(templates(params))``, which any optimizer takes.

    >>> loss = diffea.Composite(lambda params: (params["cut"] - 30.0) ** 2, lambda templates: 1.0 + templates)
    >>> float(loss({"cut": 32.0}))
    5.0
    >>> result = diffea.optimise(loss, {"cut": 32.0}, optimizer="l-bfgs-b", steps=10, bounds={"cut": (0.0, 100.0)})
    >>> round(float(result.params["cut"]), 3)
    30.0

    Args:
        templates: what passes over the data: of ``diffea.distribute``, or any JAX function of the parameters.
        objective: of the templates, such as ``lambda T: objectives.cls(model(T))``; it passes over no data.
    """

    templates: Callable[[Params], PyTree]
    objective: Callable[[PyTree], Scalar]

    def __call__(self, params: Params) -> Scalar:
        return self.objective(self.templates(params))
