"""Soft or hard, and how sharp: the two settings under which every soft operation runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax

from diffea.errors import WidthError

__all__ = ["hard", "is_hard", "sharpened", "width_scale"]

# Part of JAX's jit key: a function compiled soft is compiled anew in the hard context, never reused.
_hard = jax.make_user_context(default_value=False)
_scale: ContextVar[Any] = ContextVar("diffea_width_scale", default=None)


def hard() -> Any:
    """A context in which every soft operation is exact: cuts give 0 or 1, counts are whole, a choice takes one option.

    >>> with soft.hard():
    ...     keep = soft.above(pt, 25.0, width=3.0)
    """
    return _hard(True)


def is_hard() -> bool:
    """Whether this is inside of ``hard()``."""
    return bool(_hard.value)


@contextmanager
def sharpened(scale: Any) -> Iterator[None]:
    """A context in which every transition width is multiplied by ``scale``: how a schedule anneals the cuts.

    Args:
        scale: positive number, or a JAX scalar (an argument of the compiled function, so that no step compiles again).

    Raises:
        WidthError: when the scale is known and not a positive number.
    """
    if isinstance(scale, int | float) and not (scale > 0 and math.isfinite(scale)):
        msg = f"expected a positive scale of the widths, got {scale}: end a schedule with soft.hard(), not with a width of zero"
        raise WidthError(msg)
    token = _scale.set(scale)
    try:
        yield
    finally:
        _scale.reset(token)


def width_scale() -> Any:
    """The scale of the innermost ``sharpened``; ``None`` outside of any."""
    return _scale.get()
