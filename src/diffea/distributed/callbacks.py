"""Callbacks: a step over all data as a function of JAX arrays, with derivatives of its own."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea.distributed.steps import AnyMode
from diffea.errors import ClosedError, StrategyError
from diffea.portable import Portable
from diffea.program.strategy import Strategy
from diffea.runtime import keep_error
from diffea.templates import Layout
from diffea.types import Params, PyTree

FIRST_ONLY = "templates have first derivatives only: for a curvature take optimizer='gauss-newton' of diffea.optimise, or differences of gradients"
EXACT = "templates of exact cuts have no derivative: call them outside of jax.grad and the like, or templates(params) without soft.hard()"

Step = Callable[..., PyTree]
"""Of mode, layout and arrays whose first axis numbers points: the sums of one pass, likewise."""


def as_function(
    step: weakref.WeakMethod[Step], strategy: Strategy | Literal["hard"], layout: Portable[Layout], params: Params
) -> Callable[..., jax.Array]:
    """The sums of all templates, of parameters, the scale of the widths and a part of the events.

    Args:
        step: one pass; a compiled function holds neither what it belongs to nor its columns.
        strategy: how the derivative is made; none with exact cuts.
        layout: of the templates.
        params: their shapes.
    """
    shape = jax.ShapeDtypeStruct((2, layout.value.size), jnp.float64)
    match strategy:
        case "hard":
            return once(_callback(step, "hard", layout, shape), EXACT)
        case "vjp":
            return _two_passes(step, layout, shape, params)
        case _:
            return _one_pass(step, strategy, layout, shape, params)


def once(function: Callable[..., PyTree], reason: str) -> Callable[..., PyTree]:
    """The function, which refuses to be differentiated, for a reason in words."""
    known = jax.custom_jvp(function)

    @known.defjvp
    def refuse(primals: PyTree, tangents: PyTree) -> PyTree:  # noqa: ARG001
        raise StrategyError(reason)

    return known


def traced(tree: PyTree) -> bool:
    """Whether some numbers are not known yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def size_of(params: Params) -> int:
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def closed() -> ClosedError:
    """The error of who uses templates that are gone."""
    return ClosedError(
        "these templates are closed: use them within the `with` block of `distribute`, or before `close()`"
    )


def _one_pass(
    step: weakref.WeakMethod[Step],
    strategy: Strategy,
    layout: Portable[Layout],
    shape: jax.ShapeDtypeStruct,
    params: Params,
) -> Callable[..., jax.Array]:
    derivative = jax.ShapeDtypeStruct((*shape.shape, size_of(params)), jnp.float64)
    sums = jax.custom_jvp(_callback(step, "values", layout, shape))
    with_derivative = once(_callback(step, strategy, layout, (shape, derivative)), FIRST_ONLY)

    @sums.defjvp
    def sums_jvp(primals: PyTree, tangents: PyTree) -> tuple[jax.Array, jax.Array]:
        value, derivative = with_derivative(*primals)
        return value, derivative @ ravel_pytree(tangents[0])[0]

    return sums


def _two_passes(
    step: weakref.WeakMethod[Step], layout: Portable[Layout], shape: jax.ShapeDtypeStruct, params: Params
) -> Callable[..., jax.Array]:
    values = once(_callback(step, "values", layout, shape), FIRST_ONLY)
    gradient = once(_callback(step, "vjp", layout, params), FIRST_ONLY)
    sums = jax.custom_vjp(values)
    sums.defvjp(
        lambda *at: (values(*at), at),
        lambda at, cotangents: (gradient(*at, cotangents), jnp.zeros_like(at[1]), None),
    )
    return sums


def _callback(
    step: weakref.WeakMethod[Step], mode: AnyMode, layout: Portable[Layout], shape: PyTree
) -> Callable[..., PyTree]:
    """A step as a function of JAX arrays.

    Under ``jax.vmap``, nested or not, one call gets all points: arrays have an axis more for each, of length one where they are the
    same for all points.
    """

    @keep_error
    def run(ranks: list[int], *arguments: PyTree) -> PyTree:
        if (taken := step()) is None:
            raise closed()
        leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, arguments))
        outer = [leaf.shape[: leaf.ndim - rank] for leaf, rank in zip(leaves, ranks, strict=True)]
        points = np.broadcast_shapes(*outer)
        if not math.prod(points):
            return jax.tree.map(lambda of: np.zeros((*points, *of.shape)), shape)
        numbered = [_numbered(leaf, axes, points) for leaf, axes in zip(leaves, outer, strict=True)]
        sums = taken(mode, layout, *jax.tree.unflatten(tree, numbered))
        return jax.tree.map(lambda leaf: leaf.reshape((*points, *leaf.shape[1:])), sums)

    def call(*arguments: PyTree) -> PyTree:
        at = functools.partial(run, [jnp.ndim(leaf) for leaf in jax.tree.leaves(arguments)])
        if traced(arguments):
            return jax.pure_callback(at, shape, *arguments, vmap_method="expand_dims")
        return jax.tree.map(jnp.asarray, at(*arguments))

    return call


def _numbered(leaf: np.ndarray, axes: tuple[int, ...], points: tuple[int, ...]) -> np.ndarray:
    """An array whose first axis numbers the points, of length one where it is the same for all of them."""
    inner = leaf.shape[len(axes) :]
    if math.prod(axes) == 1:
        return leaf.reshape(1, *inner)
    return np.broadcast_to(leaf, (*points, *inner)).reshape(-1, *inner)
