"""Complaints: what fails within a compiled function says so by one more result of it, or else by a callback.

JAX keeps no program that calls back into Python, so that each process compiles it anew. What `Compiled` compiles gives the numbers that
show a failure as results instead, and raises when they are known.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import jax
import numpy as np
from jax import Array

from diffea.runtime import keep_error
from diffea.types import PyTree, Scalar

try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # before JAX 0.8
    from jax.core import get_opaque_trace_state

Tell = Callable[[PyTree], None]
"""Looks at numbers that are known, and raises where they show a failure."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Complaint:
    numbers: PyTree
    tell: Tell = field(metadata={"static": True})


@dataclass(frozen=True)
class _Listener:
    """Hears what is said at one level of tracing: numbers of a loop or a branch within it cannot leave that."""

    level: object
    heard: list[_Complaint] = field(default_factory=list)


_listener: contextvars.ContextVar[_Listener | None] = contextvars.ContextVar("listener", default=None)


def complain(tell: Tell, failed: Array, numbers: PyTree) -> None:
    """Let this raise when the compiled function that is being traced has run, if something failed.

    Args:
        tell: raises, given the numbers.
        failed: whether it will.
        numbers: that are being traced.
    """
    listener = _listener.get()
    if listener and listener.level == get_opaque_trace_state():
        listener.heard.append(_Complaint(numbers, tell))
        return
    call = keep_error(tell)
    jax.lax.cond(failed, lambda numbers: jax.debug.callback(call, numbers), lambda _: None, numbers)


class Compiled:
    """A function that gives one number, and its programs, which are held with it.

    They are what the function was when they were traced: whoever holds on to them sees to it that nothing changes that it looks at.

    Args:
        function: of one pytree.
    """

    def __init__(self, function: Callable[[PyTree], Scalar]) -> None:
        self._function = function
        both = _with_complaints(function)
        self._value, self._value_and_slope = jax.jit(both), jax.jit(jax.value_and_grad(both, has_aux=True))

    def __call__(self, argument: PyTree) -> Scalar:
        """The function itself."""
        return self._function(argument)

    def value(self, argument: PyTree) -> Array:
        """Its value, compiled."""
        value, complaints = self._value(argument)
        _raise(complaints)
        return value

    def value_and_slope(self, argument: PyTree) -> tuple[Array, PyTree]:
        """Its value and gradient, compiled."""
        (value, complaints), slope = self._value_and_slope(argument)
        _raise(complaints)
        return value, slope


def _with_complaints(function: Callable[[PyTree], Scalar]) -> Callable[[PyTree], tuple[Scalar, list[_Complaint]]]:
    def both(argument: PyTree) -> tuple[Scalar, list[_Complaint]]:
        with _listening() as heard:
            return function(argument), heard

    return both


@contextlib.contextmanager
def _listening() -> Iterator[list[_Complaint]]:
    listener = _Listener(get_opaque_trace_state())
    token = _listener.set(listener)
    try:
        yield listener.heard
    finally:
        _listener.reset(token)


def _raise(complaints: list[_Complaint]) -> None:
    for complaint in complaints:
        complaint.tell(jax.tree.map(np.asarray, complaint.numbers))
