"""Soft or hard, and how sharp: the two settings under which every soft operation runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp

from diffea.errors import WidthError
from diffea.types import Scalar

__all__ = ["annealed", "exactly", "hard", "is_hard", "sharpened", "width_scale"]

# Part of JAX's jit key: a function compiled soft is compiled anew in the hard context, never reused.
_hard = jax.make_user_context(default_value=False)
_sharpness = jax.make_user_context(default_value=None)  # likewise
_scale: ContextVar[Scalar | None] = ContextVar("diffea_width_scale", default=None)
_annealing: ContextVar[Scalar | None] = ContextVar("diffea_annealing", default=None)


def hard() -> AbstractContextManager[None]:
    """A context in which every soft operation is exact: cuts give 0 or 1, counts are whole, a choice takes one option.

    ::

        with soft.hard():
            keep = soft.above(pt, 25.0, width=3.0)
    """
    return _hard(True)


def exactly(hard: bool) -> AbstractContextManager[None]:
    """A context that is ``hard()``, or soft within one."""
    return _hard(hard)


def is_hard() -> bool:
    """Whether this is inside of ``hard()``."""
    return bool(_hard.value)


@contextmanager
def sharpened(scale: Scalar) -> Iterator[None]:
    """A context in which every transition width is multiplied by ``scale``: how a schedule anneals the cuts.

    Around ``templates(params)`` of ``diffea.distribute`` the scale travels to the workers with the parameters; no derivative by it is
    known there. Inside of ``fill`` its scale comes on top of that one, and may be a parameter. Inside of another ``sharpened`` in the same
    place it replaces the other one's scale.

    Args:
        scale: positive number (functions called in the context compile for each), or a JAX scalar that is an argument of
            the compiled function around the context, so that no step compiles again.

    Raises:
        WidthError: when the scale is known and not a positive number.
    """
    known = None if isinstance(scale, jax.core.Tracer) else float(scale)
    if known is not None and not (known > 0 and math.isfinite(known)):
        msg = f"expected a positive scale of the widths, got {scale}: end a schedule with soft.hard(), not with a width of zero"
        raise WidthError(msg)
    token = _scale.set(jnp.where((scale > 0) & (scale < jnp.inf), scale, jnp.nan) if known is None else scale)
    try:
        with _sharpness(object() if known is None else known):
            yield
    finally:
        _scale.reset(token)


@contextmanager
def annealed(scale: Scalar) -> Iterator[None]:
    """A context around ``fill`` on a worker: what ``sharpened`` does there comes on top of this scale, which came with the parameters."""
    before, around = _annealing.set(scale), _scale.set(None)
    try:
        yield
    finally:
        _scale.reset(around)
        _annealing.reset(before)


def width_scale() -> Scalar | None:
    """The scale of the innermost ``sharpened``, times that of ``annealed``; ``None`` outside of any."""
    inner, outer = _scale.get(), _annealing.get()
    if inner is None or outer is None:
        return outer if inner is None else inner
    return inner * outer
