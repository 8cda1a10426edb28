"""Schedules: parameters that are set at each step instead of optimised, such as the width of soft cuts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from diffea.errors import ParameterError
from diffea.parameters import not_numbers
from diffea.types import Params

Schedule = Callable[[float], float]


def anneal(start: float, stop: float) -> Schedule:
    """A value that goes geometrically from ``start`` at the first step to ``stop`` at the last.

    >>> widths = diffea.anneal(1.0, 0.25)
    >>> float(widths(0.0)), float(widths(0.5)), float(widths(1.0))
    (1.0, 0.5, 0.25)

    Args:
        start: positive.
        stop: positive.

    Raises:
        ParameterError: if one of them is not a positive number.
    """
    if not (0 < start < math.inf and 0 < stop < math.inf):
        msg = f"anneal(start, stop) goes through positive values, got {start} and {stop}"
        raise ParameterError(msg)
    return lambda fraction: float(start * (stop / start) ** fraction)


def scheduled(schedules: Mapping[str, Schedule], params: Params, step: int, steps: int) -> Params:
    """The parameters with the scheduled ones set.

    Args:
        schedules: by the name of a top-level parameter; each maps the fraction of the run that is done to a value.
        params: a mapping, if there are schedules.
        step: from 1.
        steps: in the whole run.

    Raises:
        ParameterError: if a schedule names no parameter, or gives what is not a finite number of its shape.
    """
    missing = [name for name in schedules if not isinstance(params, Mapping) or name not in params]
    if missing:
        msg = f"there are schedules for {missing}, but no such parameters at the top level"
        raise ParameterError(msg)
    fraction = (step - 1) / max(steps - 1, 1)
    return {**params, **{name: _value(name, schedule, fraction, params[name]) for name, schedule in schedules.items()}}


def _value(name: str, schedule: Any, fraction: float, now: jax.Array) -> jax.Array:
    value = schedule(fraction) if callable(schedule) else schedule
    if (
        callable(schedule)
        and not not_numbers(value)
        and np.isfinite(value).all()
        and np.shape(value) in ((), now.shape)
    ):
        return value + 0.0 * now
    msg = (
        f"the schedule of {name!r} must map the fraction of the run to a finite number, or to an array of shape {now.shape}, "
        f"got {value!r} at {fraction:.3g}"
    )
    raise ParameterError(msg)
