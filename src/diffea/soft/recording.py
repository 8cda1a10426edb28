"""Recording: which cuts ``fill`` makes, on what and where, and what would be selected if one of them were not made."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from diffea.events.ragged import Column, Ragged
from diffea.types import AnyArray, PyTree

__all__ = ["AS_IT_IS", "Made", "Recorder", "counted", "recorded", "recording"]

AS_IT_IS = -1
P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass
class Made:
    """A cut that ``fill`` made.

    Attributes:
        kind: ``above``, ``below``, ``between`` or ``outside``.
        column: what is cut on, None where it is none of the columns but made of them.
        parameters: of each threshold, its name; None where it is no parameter but another number.
        value: what is cut on, one an event or an object.
        thresholds: one or two.
        passed: the result.
        object: which of an event's objects decides, from 1, where a count of them is cut on.
    """

    kind: str
    column: str | None
    parameters: tuple[str | None, ...]
    value: Column
    thresholds: tuple[PyTree, ...]
    passed: Column
    object: int | None = None


class Recorder:
    """Notes cuts in the order in which they are made, and gives them other results where it is asked to.

    Args:
        columns: of a block; names are known of what is in it.
        params: likewise.
        outcomes: of each cut: 1 if everything passes, 0 if nothing does, ``AS_IT_IS`` otherwise; for no cut if left away.
    """

    def __init__(self, columns: Mapping[str, PyTree], params: Mapping[str, PyTree], outcomes: jax.Array | None) -> None:
        self.made: list[Made] = []
        self.outcomes = outcomes
        self._columns = {id(_array(column)): name for name, column in columns.items()}
        self._params = {id(leaf): name for name, leaf in params.items()}
        self._level = _level(next(iter(jax.tree.leaves(dict(columns))), None))

    def note(self, kind: str, value: Column, thresholds: tuple[PyTree, ...], passed: Column) -> Column:
        """What the cut is to give. Cuts on what is neither one number an event nor one an object are not noted."""
        if not (isinstance(value, Ragged) or np.ndim(value) == 1) or _level(_array(value)) != self._level:
            return passed
        if self.outcomes is not None:
            wanted = self.outcomes[len(self.made)]

            def otherwise(found: AnyArray) -> jax.Array:
                return jnp.where(wanted == AS_IT_IS, found, wanted.astype(jnp.asarray(found).dtype))

            passed = (
                Ragged(jnp.where(passed.mask, otherwise(passed.values), 0.0), passed.mask)
                if isinstance(passed, Ragged)
                else otherwise(jnp.asarray(passed))
            )
        column = self._columns.get(id(_array(value)))
        parameters = tuple(self._params.get(id(threshold)) for threshold in thresholds)
        self.made.append(Made(kind, column, parameters, value, thresholds, passed))
        return passed

    def count(self, cut: object, decides: int) -> None:
        """A number of objects that pass is asked for, which one of them decides."""
        for made in self.made:
            if made.passed is cut and made.object is None:
                made.object = decides


_recorder: ContextVar[Recorder | None] = ContextVar("diffea_recorder", default=None)


@contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """A context in which cuts are noted; not within, where there is no recorder."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def recorded(cut: Callable[P, R]) -> Callable[P, R]:
    """A cut whose uses are noted; those that it is made of are not."""

    @functools.wraps(cut)
    def noted(*args: P.args, **kwargs: P.kwargs) -> R:
        if (recorder := _recorder.get()) is None:
            return cut(*args, **kwargs)
        with recording(None):
            passed: PyTree = cut(*args, **kwargs)
        given = inspect.signature(cut).bind(*args, **kwargs).arguments
        value, *thresholds = (given[name] for name in given if name not in ("width", "shape"))
        found: PyTree = recorder.note(cut.__name__, value, tuple(thresholds), passed)
        return found

    return noted


def counted(cut: object, decides: int) -> None:
    """Note that of the objects of an event that pass a cut the one of this number decides, counted from 1."""
    if (recorder := _recorder.get()) is not None:
        recorder.count(cut, decides)


def _array(column: PyTree) -> PyTree:
    return column.values if isinstance(column, Ragged) else column


def _level(array: PyTree) -> object:
    """Of the tracing: what is made within an inner function does not leave it."""
    return getattr(array, "_trace", None)
