"""TemplateJacobian: the derivative of every template by every parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from diffea.errors import TemplateError, UnknownTemplateError
from diffea.parameters import number_names
from diffea.templates.layout import Key, Layout, as_key
from diffea.types import AnyArray, Params


@dataclasses.dataclass(frozen=True)
class TemplateDerivative:
    """The derivative of one template.

    Attributes:
        values: a pytree like the parameters; leaves of shape ``(bins of each axis…, *shape of the parameter)``.
        variances: likewise, of the sums of squared weights.
    """

    values: Params
    variances: Params


@dataclasses.dataclass(frozen=True)
class TemplateJacobian(Mapping[Key, TemplateDerivative]):
    """∂T/∂φ: a mapping ``(channel, sample[, variation])`` → TemplateDerivative.

    Args:
        layout: where each template lies in the flat vectors.
        flat: shape ``(2, layout.size, number of parameters)``, sums of weights and of their squares.
        params: a pytree of the parameters' shapes, in whose order the last axis lies.
    """

    layout: Layout
    flat: AnyArray
    params: Params

    def __getitem__(self, name: object) -> TemplateDerivative:
        key = as_key(name)
        if key not in self.layout.spans:
            msg = f"no fill made the template {'/'.join(key)}; there are: {', '.join(map('/'.join, self.layout.keys)) or 'none'}"
            raise UnknownTemplateError(msg)
        channel = key[0]
        shape = self.layout.shape(channel)
        part = self.flat[:, self.layout.spans[key]]
        inner = tuple(slice(1, -1) for _ in shape)
        leaves, tree = jax.tree.flatten(self.params)
        ends = np.cumsum([leaf.size for leaf in leaves])
        columns = [
            part[..., end - leaf.size : end].reshape(2, *shape, *leaf.shape)
            for leaf, end in zip(leaves, ends, strict=True)
        ]
        return TemplateDerivative(
            *(jax.tree.unflatten(tree, [column[(kind, *inner)] for column in columns]) for kind in (0, 1))
        )

    def __iter__(self) -> Iterator[Key]:
        return iter(self.layout.keys)

    def __len__(self) -> int:
        return len(self.layout.keys)

    def __add__(self, other: TemplateJacobian) -> TemplateJacobian:
        """The sum of two Jacobians of the same templates by the same parameters.

        Raises:
            TemplateError: if templates or parameters are others.
        """
        if self.layout != other.layout:
            msg = "Jacobians of unlike templates do not add up: keep them by dataset"
            raise TemplateError(msg)
        if self._names != other._names:
            msg = f"Jacobians by unlike parameters do not add up: got {self._names} and {other._names}"
            raise TemplateError(msg)
        return TemplateJacobian(self.layout, self.flat + other.flat, self.params)

    @property
    def _names(self) -> list[str]:
        return number_names(self.params)
