"""The nodes that a correction is made of, as correctionlib defines them, with soft bin borders: bins, formulas, transforms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import CorrectionError
from diffea.soft.context import is_hard, width_scale
from diffea.soft.transition import PROFILES, floating, step

__all__ = ["Bins", "Formula", "Node", "Transform", "covered", "evaluate"]

Node: TypeAlias = "float | Bins | Formula | Transform"
Tree: TypeAlias = float | str | tuple[Any, ...]
Values: TypeAlias = Mapping[str, jax.Array]
Widths: TypeAlias = Mapping[str, ArrayLike]
FLOWS = ("clamp", "error", "wrap")


def evaluate(node: Node, values: Values, widths: Widths) -> ArrayLike:
    """The correction of each entry.

    Args:
        node: of the correction.
        values: by input, all of one shape.
        widths: of the transition at the borders of each input; an input without one has exact borders.
    """
    return node if isinstance(node, float) else node(values, widths)


@dataclasses.dataclass(frozen=True)
class Bins:
    """Another node in each bin of one or more inputs; a bin holds its lower border.

    Attributes:
        inputs: what is binned.
        edges: of each input, ascending.
        contents: a node for each bin, row-major.
        flow: what is outside of the edges: the nearest bin (``clamp``), the bins as if they were repeated (``wrap``), a NaN
            (``error``), or another node.

    Raises:
        CorrectionError: when an input comes twice, edges do not ascend, or there are not as many contents as bins, or some are no number.
    """

    inputs: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    contents: tuple[Node, ...]
    flow: Node | str

    def __post_init__(self) -> None:
        if len(set(self.inputs)) < len(self.inputs) or len(self.inputs) != len(self.edges):
            msg = (
                f"expected edges of each input, and each input once, got {len(self.edges)} for {', '.join(self.inputs)}"
            )
            raise CorrectionError(msg)
        for name, edges in zip(self.inputs, self.edges, strict=True):
            if len(edges) < 2 or not np.all(np.diff(edges) > 0):
                msg = f"expected at least two edges of {name!r} that ascend, got {edges}"
                raise CorrectionError(msg)
            if self.flow == "wrap" and not np.isfinite(edges).all():
                msg = f"expected finite edges of {name!r}, whose bins are repeated, got {edges}"
                raise CorrectionError(msg)
        if len(self.contents) != (count := math.prod(len(edges) - 1 for edges in self.edges)):
            msg = f"expected a content for each of {count} bins of {', '.join(self.inputs)}, got {len(self.contents)}"
            raise CorrectionError(msg)
        if isinstance(self.flow, str) and self.flow not in FLOWS:
            msg = f"expected the flow of {', '.join(self.inputs)} to be a node or one of {', '.join(FLOWS)}, got {self.flow!r}"
            raise CorrectionError(msg)
        if wrong := [c for c in (*self.contents, self.flow) if isinstance(c, float) and not math.isfinite(c)]:
            msg = f"expected finite contents of the bins of {', '.join(self.inputs)}, got {wrong[0]}"
            raise CorrectionError(msg)

    def __call__(self, values: Values, widths: Widths) -> jax.Array:
        columns = [jnp.asarray(values[name]) for name in self.inputs]
        shares = [
            self._shares(column, np.asarray(edges), widths.get(name))
            for name, column, edges in zip(self.inputs, columns, self.edges, strict=True)
        ]
        result = _mixed(shares, [self._content(place, values, widths) for place in range(len(self.contents))])
        if self.flow == "error":
            inside: ArrayLike = True
            for column, edges in zip(columns, self.edges, strict=True):
                inside = inside & (column >= edges[0]) & (column < edges[-1])
            return jnp.where(inside, result, jnp.nan)
        if isinstance(self.flow, str):
            return result
        within: ArrayLike = 1.0
        for share in shares:
            within = within * jnp.sum(share, axis=-1)
        outside = jnp.asarray(1.0 - within)
        return result + outside * _where_shared(outside, evaluate(self.flow, values, widths))

    def _content(self, place: int, values: Values, widths: Widths) -> ArrayLike:
        """What is in a bin: to inputs beyond its borders what is at the border, as a formula need not have a value elsewhere."""
        node = self.contents[place]
        if isinstance(node, float) or self.flow == "wrap":
            return evaluate(node, values, widths)
        sizes = [len(edges) - 1 for edges in self.edges]
        held = {}
        for name, edges, number in zip(self.inputs, self.edges, np.unravel_index(place, sizes), strict=True):
            ends = (-math.inf, *edges[1:-1], math.inf) if self.flow == "clamp" else edges
            low, high, x = ends[number], ends[number + 1], values[name]
            held[name] = jnp.where(x < low, low, jnp.where(x > high, high, x))
        return evaluate(node, {**values, **held}, widths)

    def _shares(self, x: jax.Array, edges: np.ndarray, width: ArrayLike | None) -> jax.Array:
        """How much of ``x`` is in each bin, shape (…, bins)."""
        if self.flow == "wrap":
            x = edges[0] + jnp.mod(x - edges[0], edges[-1] - edges[0])
        ends = self.flow in ("clamp", "error")
        above = _above(x, edges[1:-1] if ends else edges, width)
        if ends:
            padding = [(0, 0)] * x.ndim
            above = jnp.pad(jnp.pad(above, [*padding, (1, 0)], constant_values=1.0), [*padding, (0, 1)])
        shares = above[..., :-1] - above[..., 1:]
        if self.flow == "wrap":
            shares = shares.at[..., -1].add(1.0 - above[..., 0]).at[..., 0].add(above[..., -1])
        return shares


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula of inputs.

    Attributes:
        tree: a number, the name of an input, or a tuple of an operation and the trees it is applied to.
    """

    tree: Tree

    def __call__(self, values: Values, _: Widths) -> ArrayLike:
        def walk(tree: Tree) -> ArrayLike:
            if isinstance(tree, tuple):
                return OPERATIONS[tree[0]](*map(walk, tree[1:]))
            return values[tree] if isinstance(tree, str) else tree

        return walk(self.tree)


@dataclasses.dataclass(frozen=True)
class Transform:
    """Another node, to which one input is something else.

    Attributes:
        input: what is replaced.
        rule: the node that gives what it is replaced by.
        content: the node that sees it.
        whole: whether the input is a whole number, to which the rule's result is then rounded (halves away from zero).
    """

    input: str
    rule: Node
    content: Node
    whole: bool

    def __call__(self, values: Values, widths: Widths) -> ArrayLike:
        changed = jnp.asarray(evaluate(self.rule, values, widths))
        changed = jnp.sign(changed) * jnp.floor(jnp.abs(changed) + 0.5) if self.whole else changed
        return evaluate(self.content, {**values, self.input: changed}, widths)


def covered(node: Node | str) -> Iterator[str]:
    """The ranges outside of which the correction is an error, in words."""
    if isinstance(node, Bins):
        if node.flow == "error":
            for name, edges in zip(node.inputs, node.edges, strict=True):
                yield f"{name} in [{edges[0]:g}, {edges[-1]:g})"
        for child in (*node.contents, node.flow):
            yield from covered(child)
    elif isinstance(node, Transform):
        yield from covered(node.rule)
        yield from covered(node.content)


def _above(x: jax.Array, edges: np.ndarray, width: ArrayLike | None) -> jax.Array:
    """How much of ``x`` is above each edge, shape (…, edges)."""
    dtype = floating(x)
    if is_hard() or width is None:
        return (x[..., None] >= edges).astype(dtype)
    scale = width_scale()
    width = jnp.asarray(width if scale is None else width * scale, dtype)
    finite = np.isfinite(edges)
    above = step(
        x[..., None].astype(dtype), jnp.asarray(np.where(finite, edges, 0.0), dtype), width, PROFILES["sigmoid"]
    )
    return jnp.where(finite, above, (edges < 0).astype(above.dtype))


def _mixed(shares: list[jax.Array], contents: Sequence[Any]) -> jax.Array:
    """The sum over the bins of the product of the shares and the content."""
    sizes = [share.shape[-1] for share in shares]
    if all(isinstance(content, float) for content in contents):
        result = jnp.tensordot(shares[0], jnp.asarray(np.reshape(contents, sizes), shares[0].dtype), 1)
        shares = shares[1:]
    else:
        stacked = jnp.stack(jnp.broadcast_arrays(*contents, shares[0][..., 0])[:-1], -1)
        result = stacked.reshape(*stacked.shape[:-1], *sizes)
    for share in shares:
        later = (1,) * (result.ndim - share.ndim)
        share = share.reshape(share.shape + later)
        result = jnp.sum(share * _where_shared(share, result), axis=share.ndim - len(later) - 1)
    return result


def _where_shared(share: jax.Array, content: ArrayLike) -> jax.Array:
    """The content, and 0 where there is no share in it: there it may be no number."""
    return jnp.where(share == 0.0, 0.0, content)


def _truth(function: Callable[[ArrayLike, ArrayLike], jax.Array]) -> Callable[[ArrayLike, ArrayLike], jax.Array]:
    """A comparison whose result is 1 or 0."""
    return lambda a, b: jnp.where(function(a, b), 1.0, 0.0)


OPERATIONS: dict[str, Callable[..., jax.Array]] = {
    "NEGATIVE": jnp.negative,
    "LOG": jnp.log,
    "LOG10": jnp.log10,
    "EXP": jnp.exp,
    "ERF": jax.scipy.special.erf,
    "SQRT": jnp.sqrt,
    "ABS": jnp.abs,
    "COS": jnp.cos,
    "SIN": jnp.sin,
    "TAN": jnp.tan,
    "ACOS": jnp.arccos,
    "ASIN": jnp.arcsin,
    "ATAN": jnp.arctan,
    "COSH": jnp.cosh,
    "SINH": jnp.sinh,
    "TANH": jnp.tanh,
    "ACOSH": jnp.arccosh,
    "ASINH": jnp.arcsinh,
    "ATANH": jnp.arctanh,
    "LOGICALOR": _truth(lambda a, b: jnp.not_equal(a, 0) | jnp.not_equal(b, 0)),
    "LOGICALAND": _truth(lambda a, b: jnp.not_equal(a, 0) & jnp.not_equal(b, 0)),
    "EQUAL": _truth(jnp.equal),
    "NOTEQUAL": _truth(jnp.not_equal),
    "GREATER": _truth(jnp.greater),
    "LESS": _truth(jnp.less),
    "GREATEREQ": _truth(jnp.greater_equal),
    "LESSEQ": _truth(jnp.less_equal),
    "MINUS": jnp.subtract,
    "PLUS": jnp.add,
    "DIV": jnp.divide,
    "TIMES": jnp.multiply,
    "POW": jnp.power,
    "ATAN2": jnp.arctan2,
    "MAX": jnp.maximum,
    "MIN": jnp.minimum,
}
