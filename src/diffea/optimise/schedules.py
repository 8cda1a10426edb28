"""Schedules: parameters that are set at each step instead of optimised, such as the width of soft cuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffea.errors import ParameterError

Schedule = Callable[[float], float]


def anneal(start: float, stop: float) -> Schedule:
    """A value that goes geometrically from ``start`` at the first step to ``stop`` at the last.

    Args:
        start: positive.
        stop: positive.

    Raises:
        ParameterError: if one of them is not positive.
    """
    if not (start > 0 and stop > 0):
        msg = f"anneal(start, stop) goes through positive values, got {start} and {stop}"
        raise ParameterError(msg)
    return lambda fraction: float(start * (stop / start) ** fraction)


def scheduled(schedules: Mapping[str, Schedule], params: Any, step: int, steps: int) -> Any:
    """The parameters with the scheduled ones set.

    Args:
        schedules: by the name of a top-level parameter; each maps the fraction of the run that is done to a value.
        params: a mapping, if there are schedules.
        step: from 1.
        steps: in the whole run.

    Raises:
        ParameterError: if a schedule names no parameter.
    """
    missing = [name for name in schedules if not isinstance(params, Mapping) or name not in params]
    if missing:
        msg = f"there are schedules for {missing}, but no such parameters at the top level"
        raise ParameterError(msg)
    fraction = (step - 1) / max(steps - 1, 1)
    return {**params, **{name: schedule(fraction) + 0.0 * params[name] for name, schedule in schedules.items()}}
