"""The smooth step from 0 to 1 that cuts and histograms are made of: its profiles, and its derivative."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from diffea.errors import WidthError
from diffea.soft.context import width_scale

__all__ = ["PROFILES", "Profile", "Shape", "checked_width", "floating", "step", "transition", "within"]

Primals: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]
Tangents: TypeAlias = tuple[jax.Array | SymbolicZero, ...]
Shape = Literal["sigmoid", "normal", "polynomial"]


@dataclasses.dataclass(frozen=True)
class Profile:
    """A smooth, symmetric step of the standardised distance u.

    Attributes:
        cumulative: from 0 to 1, of any u.
        density: its derivative, a function of u in ``[-farthest, farthest]`` and of the step there.
        farthest: where the step has ended, to the last bit of a double.
    """

    cumulative: Callable[[jax.Array], jax.Array]
    density: Callable[[jax.Array, jax.Array], jax.Array]
    farthest: float


def within(u: jax.Array, farthest: float) -> jax.Array:
    """``u`` within ``±farthest``, by comparisons, each one instruction; ``jnp.clip`` is several for the sake of a zero's sign."""
    u = jnp.where(u < -farthest, -farthest, u)
    return jnp.where(u > farthest, farthest, u)


def _logistic(u: jax.Array) -> jax.Array:
    return 0.5 + 0.5 * jnp.tanh(0.5 * u)  # tanh is vectorised by XLA, exp of a double is not


def _logistic_density(_: jax.Array, s: jax.Array) -> jax.Array:
    return s * (1.0 - s)


def _normal(u: jax.Array) -> jax.Array:
    return 0.5 + 0.5 * jax.lax.erf(u * math.sqrt(0.5))


def _normal_density(u: jax.Array, _: jax.Array) -> jax.Array:
    return jnp.exp(-0.5 * u * u) * (1.0 / math.sqrt(2.0 * math.pi))


def _biweight(u: jax.Array) -> jax.Array:
    u = within(u, 1.0)
    v = u * u
    return 0.5 + u * (15 / 16 + v * (-5 / 8 + v * (3 / 16)))


def _biweight_density(u: jax.Array, _: jax.Array) -> jax.Array:
    v = 1.0 - u * u
    return 15 / 16 * v * v


PROFILES = {
    "sigmoid": Profile(_logistic, _logistic_density, 40.0),
    "normal": Profile(_normal, _normal_density, 8.3),
    "polynomial": Profile(_biweight, _biweight_density, 1.0),
}


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _standardise(x: ArrayLike, center: ArrayLike, width: ArrayLike, farthest: float) -> jax.Array:
    """``(x - center) / width`` within ``±farthest``; its derivative is zero outside, without a NaN at infinity."""
    return within((jnp.asarray(x) - center) * (1.0 / jnp.asarray(width)), farthest)


@functools.partial(_standardise.defjvp, symbolic_zeros=True)
def _standardise_jvp(farthest: float, primals: Primals, tangents: Tangents) -> tuple[jax.Array, jax.Array]:
    u = _standardise(*primals, farthest)
    return u, _chain(jnp.where(jnp.abs(u) < farthest, 1.0, 0.0), u, primals[2], tangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def step(x: ArrayLike, center: ArrayLike, width: ArrayLike, profile: Profile) -> jax.Array:
    """A smooth step at ``center``, with a derivative that costs one product and is finite everywhere.

    Args:
        x: any shape.
        center: where the step is 1/2.
        width: distance for which the profile's ``u`` is 1.
        profile: of the step.
    """
    return profile.cumulative((jnp.asarray(x) - center) * (1.0 / jnp.asarray(width)))


@functools.partial(step.defjvp, symbolic_zeros=True)
def _step_jvp(profile: Profile, primals: Primals, tangents: Tangents) -> tuple[jax.Array, jax.Array]:
    u = _standardise(*primals, profile.farthest)
    s = step(*primals, profile)
    return s, _chain(profile.density(u, s), u, primals[2], tangents)


def _chain(slope: jax.Array, u: jax.Array, width: jax.Array, tangents: Tangents) -> jax.Array:
    """Tangent of a function of ``u = (x - center) / width`` whose derivative is ``slope``."""
    dx, dcenter, dwidth = (None if isinstance(t, SymbolicZero) else t for t in tangents)
    slope = slope * (1.0 / width)
    terms = []
    if dx is not None:
        terms.append(slope * dx)
    if dcenter is not None:
        terms.append(-slope * dcenter)
    if dwidth is not None:
        terms.append(-slope * u * dwidth)
    return sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(u)


def transition(x: ArrayLike, center: ArrayLike, width: ArrayLike, shape: Shape = "sigmoid") -> jax.Array:
    """A smooth step from 0 to 1 at ``center``; 1/2 there.

    Args:
        x: any shape, in the column's unit.
        center: where the step is, in the same unit.
        width: scale of the transition, in the same unit: that of the logistic function (``sigmoid``), the standard
            deviation (``normal``), or half of the whole transition (``polynomial``: exactly 0 and 1 outside of
            ``center ± width``, twice differentiable).
        shape: ``sigmoid``, ``normal`` or ``polynomial``.

    Raises:
        WidthError: when the width is known and not a positive number, or the shape is none of the three.
    """
    width = checked_width(width)
    if shape not in get_args(Shape):
        msg = f"expected a transition of shape {', '.join(get_args(Shape))}, got {shape!r}"
        raise WidthError(msg)
    scale = width_scale()
    width = width if scale is None else width * scale
    operands = [jnp.asarray(v) for v in (x, center, width)]
    dtype = floating(x, center)
    return step(*(v.astype(dtype) for v in operands), PROFILES[shape])


def floating(*values: ArrayLike) -> np.dtype:
    """The floating-point type of what is computed of some values: theirs, or 64 bits for whole numbers, which 32 bits would round."""
    dtype = jnp.result_type(*values)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)


def checked_width(width: ArrayLike) -> ArrayLike:
    """A width; NaN where it is not known before compilation and turns out not to be a positive number.

    Raises:
        WidthError: when it is known and not a positive number.
    """
    if isinstance(width, jax.core.Tracer):
        return jnp.where((width > 0) & (width < jnp.inf), width, jnp.nan)
    known = np.asarray(width, dtype=float)
    if known.size == 0 or not np.all(np.isfinite(known) & (known > 0)):
        msg = f"expected a positive width in the unit of the column, got {width}: for an exact cut use soft.hard()"
        raise WidthError(msg)
    return width
