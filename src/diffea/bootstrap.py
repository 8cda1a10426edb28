"""Bootstrap: the error of a result that simulated events, few as they are, leave on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from diffea.errors import DiffeaError, ReplicaError
from diffea.templates import TemplateSet
from diffea.types import Scalar

BEARABLE = 0.05  # of the replicas, that may fail


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number with its error.

    Attributes:
        value: of all events.
        error: standard deviation over the replicas: what the number would scatter by in other samples of as many events.
        bias: mean of the replicas less the number that they are replicas of: about as much does the scatter of the events move such a
            number on average, from what templates without scatter, and as uncertain, would give.
        replicas: how many the error is made of.
    """

    value: float
    error: float
    bias: float
    replicas: int

    @classmethod
    def of(cls, value: float, alike: float, replicated: np.ndarray) -> Measured:
        """A number and its replicas.

        Args:
            value: the number.
            alike: the number, made as the replicas were.
            replicated: of each replica; NaN for those that failed.

        Raises:
            ReplicaError: if too many failed.
        """
        found = replicated[np.isfinite(replicated)]
        if len(replicated) - len(found) > BEARABLE * len(replicated):
            msg = (
                f"{len(replicated) - len(found)} of {len(replicated)} replicas have no such number (more than {BEARABLE:.0%}), so that it has no "
                "error: the samples have too few events; fit fewer bins"
            )
            raise ReplicaError(msg)
        return cls(value, float(np.std(found, ddof=1)), float(np.mean(found) - alike), len(found))

    def __str__(self) -> str:
        return with_error(self.value, self.error)


def with_error(value: float, error: float | None) -> str:
    """Such as ``15.4 ± 0.6``: the error to one or two digits, as the Particle Data Group rounds it, the value as far as that."""
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    exponent = math.floor(math.log10(error))
    leading = error / 10.0**exponent
    decimals = (1 if leading < 3.545 else 0) - exponent
    return " ± ".join(f"{round(number, decimals):.{max(decimals, 0)}f}" for number in (value, error))


def each(replicas: TemplateSet, function: Callable[[TemplateSet], Scalar]) -> np.ndarray:
    """A number of every replica, NaN where it fails.

    One after the other, by what is compiled for the events themselves: a batch would wait for its slowest fit, and compile anew.

    Args:
        replicas: templates whose arrays have the replicas along their first axis.
        function: of the templates of one.

    Raises:
        ReplicaError: if it fails for all of them.
    """
    found, reason = np.full(len(replicas.values_flat), np.nan), ""
    for number, sums in enumerate(zip(replicas.values_flat, replicas.variances_flat, strict=True)):
        one = dataclasses.replace(replicas, values_flat=sums[0], variances_flat=sums[1])
        try:
            found[number] = float(function(one))
        except DiffeaError as error:
            reason = reason or str(error)
    if not np.isfinite(found).any():
        msg = f"none of {len(found)} replicas of the events could be judged, the first because {reason or 'it is no finite number'}"
        raise ReplicaError(msg)
    return found
