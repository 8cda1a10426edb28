"""MiniBatch: the templates as a part of the events estimates them."""

from __future__ import annotations

from typing import Protocol

import jax

from diffea.events.minibatches import Part, mini_batch
from diffea.templates import Layout, TemplateJacobian, TemplateSet
from diffea.types import Params

Number = int | jax.Array


class OfAllEvents(Protocol):
    """Templates of all events."""

    def __call__(self, params: Params) -> TemplateSet: ...
    def forward(self, params: Params) -> TemplateSet: ...
    def jacobian(self, params: Params) -> TemplateJacobian: ...
    def hard(self, params: Params) -> TemplateSet: ...
    def layout(self, params: Params) -> Layout: ...


class MiniBatch:
    """A JAX function of the parameters as ``Templates`` is one, of a part of its events: see ``Templates.batch``."""

    def __init__(self, templates: OfAllEvents, number: Number, of: Number, seed: Number) -> None:
        self._templates = templates
        self._part = number, of, seed
        if not any(isinstance(given, jax.core.Tracer) for given in self._part):
            Part(number, of, seed)  # type: ignore[arg-type]

    def __call__(self, params: Params) -> TemplateSet:
        """As that of ``Templates``."""
        with mini_batch(*self._part):
            return self._templates(params)

    def forward(self, params: Params) -> TemplateSet:
        """As that of ``Templates``."""
        with mini_batch(*self._part):
            return self._templates.forward(params)

    def jacobian(self, params: Params) -> TemplateJacobian:
        """As that of ``Templates``."""
        with mini_batch(*self._part):
            return self._templates.jacobian(params)

    def hard(self, params: Params) -> TemplateSet:
        """As that of ``Templates``."""
        with mini_batch(*self._part):
            return self._templates.hard(params)

    def layout(self, params: Params) -> Layout:
        """As that of ``Templates``."""
        return self._templates.layout(params)
