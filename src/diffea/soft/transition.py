"""The transition from 0 to 1 of a soft cut: its shapes, and the standardised distance that they are functions of."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from diffea.errors import WidthError
from diffea.soft.context import width_scale

__all__ = ["Shape", "standardise", "transition"]

Shape = Literal["sigmoid", "normal", "polynomial"]
FARTHEST = 40.0  # standardised distance at which every shape is 0 or 1 to the last bit of a double


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def standardise(x: ArrayLike, center: ArrayLike, width: ArrayLike, farthest: float = FARTHEST) -> jax.Array:
    """``(x - center) / width``, clipped to ``±farthest``, where a transition has ended.

    Its derivative is zero there, in all three arguments, so that an infinite or huge ``x`` never makes a NaN.
    """
    return jnp.clip((x - jnp.asarray(center)) / width, -farthest, farthest)


@functools.partial(standardise.defjvp, symbolic_zeros=True)
def _standardise_jvp(farthest: float, primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    x, center, width = primals
    z = standardise(x, center, width, farthest)
    inside = jnp.where(jnp.abs(z) < farthest, 1.0 / jnp.asarray(width, z.dtype), 0.0)
    slopes = (lambda: inside, lambda: -inside, lambda: -inside * z)
    terms = [s() * t for s, t in zip(slopes, tangents, strict=True) if not isinstance(t, SymbolicZero)]
    return z, sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(z)


def transition(x: ArrayLike, center: ArrayLike, width: ArrayLike, shape: Shape = "sigmoid") -> jax.Array:
    """A smooth step from 0 to 1 at ``center``; 1/2 there.

    Args:
        x: any shape, in the column's unit.
        center: where the step is, in the same unit.
        width: scale of the transition, in the same unit: that of the logistic function (``sigmoid``), the standard
            deviation (``normal``), or half of the whole transition (``polynomial``: exactly 0 and 1 outside of
            ``center ± width``, twice differentiable within).
        shape: ``sigmoid``, ``normal`` or ``polynomial``.

    Raises:
        WidthError: when the width is known and not a positive number, or the shape is none of the three.
    """
    check_width(width)
    if shape not in get_args(Shape):
        msg = f"expected a transition of shape {', '.join(get_args(Shape))}, got {shape!r}"
        raise WidthError(msg)
    scale = width_scale()
    z = standardise(x, center, width if scale is None else width * scale)
    if shape == "sigmoid":
        return jax.nn.sigmoid(z)
    if shape == "normal":
        return jax.scipy.special.ndtr(z)
    u = jnp.clip(z, -1.0, 1.0)
    u2 = u * u
    return 0.5 + u * (15 / 16 - u2 * (5 / 8 - 3 / 16 * u2))


def check_width(width: ArrayLike) -> None:
    """See that a width that is known before compilation is a positive number.

    Raises:
        WidthError: when it is not.
    """
    if isinstance(width, jax.core.Tracer):
        return
    if isinstance(width, float) and width > 0 and math.isfinite(width):
        return
    known = np.asarray(width, dtype=float)
    if known.size == 0 or not np.all(np.isfinite(known) & (known > 0)):
        msg = f"expected a positive width in the unit of the column, got {width}: for an exact cut use soft.hard()"
        raise WidthError(msg)
