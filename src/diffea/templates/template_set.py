"""Template and TemplateSet: what all chunks sum up to, and what the statistical model reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import EllipsisType
from typing import TYPE_CHECKING

import hist
import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import TemplateError, UnknownTemplateError
from diffea.notebook import pictures, tables
from diffea.templates.layout import Key, Layout, as_key, with_edges
from diffea.types import AnyArray, Axis, PyTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True)
class Template:
    """One weighted histogram: a sample (and its variation) in a channel.

    Attributes:
        axes: its ``hist`` axes.
        flow_values: sums of weights, flow bins included; shape ``(…, bins of each axis + 2)``.
        flow_variances: sums of squared weights, likewise.
    """

    axes: tuple[Axis, ...]
    flow_values: AnyArray
    flow_variances: AnyArray

    @property
    def values(self) -> AnyArray:
        """Sums of weights without the flow bins, one axis of the array for each axis of the histogram."""
        return self._inner(self.flow_values)

    @property
    def variances(self) -> AnyArray:
        """Sums of squared weights without the flow bins."""
        return self._inner(self.flow_variances)

    def to_hist(self) -> hist.Hist:
        """The template as a ``hist.Hist`` with Weight storage; flow bins go where the axes have them."""
        histogram = hist.Hist(*self.axes, storage=hist.storage.Weight())
        view = histogram.view(flow=True)
        kept = tuple(
            slice(0 if axis.traits.underflow else 1, None if axis.traits.overflow else -1) for axis in self.axes
        )
        view["value"] = np.asarray(self.flow_values)[kept]
        view["variance"] = np.asarray(self.flow_variances)[kept]
        return histogram

    def _repr_html_(self) -> str:
        return tables.of_template(self)

    def _inner(self, array: AnyArray) -> AnyArray:
        inner: tuple[slice | EllipsisType, ...] = (..., *(slice(1, -1) for _ in self.axes))
        return array[inner]


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class TemplateSet(Mapping[Key, Template]):
    """All templates of an analysis: a mapping ``(channel, sample[, variation])`` → Template, and a JAX pytree.

    Args:
        layout: where each template lies in the flat vectors.
        values_flat: sums of weights, shape ``(layout.size,)``.
        variances_flat: sums of squared weights, likewise.
        edges: bin edges of the channels whose edges are parameters.
    """

    layout: Layout
    values_flat: AnyArray
    variances_flat: AnyArray
    edges: Mapping[str, AnyArray] = dataclasses.field(default_factory=dict)

    def tree_flatten(self) -> tuple[tuple[PyTree, ...], Layout]:
        return (self.values_flat, self.variances_flat, dict(self.edges)), self.layout

    @classmethod
    def tree_unflatten(cls, layout: Layout, children: tuple[PyTree, ...]) -> TemplateSet:
        return cls(layout, *children)

    def __getitem__(self, name: object) -> Template:
        key = as_key(name)
        if key not in self.layout.spans:
            known = ", ".join("/".join(known) for known in self.layout.keys)
            msg = f"no fill made the template {'/'.join(key)}; there are: {known or 'none'}"
            raise UnknownTemplateError(msg)
        span, shape = self.layout.spans[key], self.layout.shape(key[0])
        return Template(
            self._axes(key[0]),
            *(flat[..., span].reshape(*flat.shape[:-1], *shape) for flat in (self.values_flat, self.variances_flat)),
        )

    def plot(self, channel: str | None = None, ax: Axes | None = None) -> Axes:
        """The samples of a channel on top of each other; the channel may be left out where there is one."""
        return pictures.plot_channel(self, channel, ax=ax)

    def _repr_html_(self) -> str:
        return tables.of_template_set(self)

    def with_variances_times(self, factor: float) -> TemplateSet:
        """The same templates as if they were made of one over ``factor`` times as many simulated events, with the same yields."""
        return dataclasses.replace(self, variances_flat=self.variances_flat * factor)

    def __contains__(self, name: object) -> bool:
        try:
            return as_key(name) in self.layout.spans
        except UnknownTemplateError:
            return False

    def __iter__(self) -> Iterator[Key]:
        return iter(self.layout.keys)

    def __len__(self) -> int:
        return len(self.layout.keys)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __add__(self, other: TemplateSet) -> TemplateSet:
        """The sum, also under JAX's transformations; templates that only one side has are kept.

        Learned edges of one channel must be the same on both sides; where they are not known before compilation and turn out to
        differ, the sum is NaN.

        Raises:
            TemplateError: if a channel has other axes, or other learned edges, on the other side.
        """
        if not isinstance(other, TemplateSet):
            return NotImplemented
        layout = self.layout.union(other.layout)
        edges = _common_edges(self, other)
        both = [
            (templates._spread(templates.values_flat, layout), templates._spread(templates.variances_flat, layout))
            for templates in (self, other)
        ]
        values, variances = (left + right for left, right in zip(*both, strict=True))
        for channel in sorted({*self.edges} & {*other.edges}):
            if _traced(self.edges[channel], other.edges[channel]):
                same = jnp.all(self.edges[channel] == other.edges[channel])
                values, variances = (jnp.where(same, flat, jnp.nan) for flat in (values, variances))
        return TemplateSet(layout, values, variances, edges)

    def to_hists(self) -> dict[Key, hist.Hist]:
        """Every template as a ``hist.Hist`` with Weight storage."""
        return {key: self[key].to_hist() for key in self}

    def _axes(self, channel: str) -> tuple[Axis, ...]:
        axes = self.layout.axes[channel]
        if channel not in self.edges or isinstance(self.edges[channel], jax.core.Tracer):
            return axes
        (axis,) = axes
        return (with_edges(axis, self.edges[channel]),)

    def _spread(self, flat: AnyArray, layout: Layout) -> AnyArray:
        if layout is self.layout:
            return flat
        positions = self.layout.within(layout)
        if isinstance(flat, np.ndarray):
            spread = np.zeros((*flat.shape[:-1], layout.size))
            spread[..., positions] = flat
            return spread
        return jnp.zeros((*flat.shape[:-1], layout.size), flat.dtype).at[..., positions].set(flat)


def _traced(*arrays: AnyArray) -> bool:
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def _common_edges(left: TemplateSet, right: TemplateSet) -> dict[str, AnyArray]:
    channels = [{key[0] for key in templates} for templates in (left, right)]
    for channel in channels[0] & channels[1]:
        here, there = left.edges.get(channel), right.edges.get(channel)
        if here is None and there is None:
            continue
        if here is None or there is None or not (_traced(here, there) or np.array_equal(here, there)):
            msg = f"templates of unlike learned edges in channel {channel!r} do not add up: got {here} and {there}"
            raise TemplateError(msg)
    return {**right.edges, **left.edges}
