"""Bootstrap: the error of a result that simulated events, few as they are, leave on it.

A replica scatters around events that scatter already, and where a result is bent, it has another slope there: the limit of a search whose
energy scale is known from few events falls, and moves less, the more these scatter, so that whole replicas of it scatter by a tenth less than
data sets do. So the error is the scatter over replicas of the *linear* part of the result, which is taken a short way towards each of them. Like
a jackknife's, its square is on average not too small, however bent the result is (Efron and Stein, Ann. Statist. 9 (1981) 586).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from diffea.errors import DiffeaError, ReplicaError
from diffea.templates import TemplateSet
from diffea.types import Scalar

BEARABLE = 0.05  # of the replicas, that may fail
NEAR = 0.1  # of the way to a replica, on which a result is taken as linear


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number with its error.

    Attributes:
        value: of all events.
        error: what the number would scatter by in other samples of as many events: the standard deviation over the replicas of its linear part.
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
            replicated: of each replica and close to the events, shape ``(replicas, 2)``, as ``each`` gives it; NaN where it failed.

        Raises:
            ReplicaError: if too many failed.
        """
        found = _finite(replicated)
        if len(replicated) - len(found) > BEARABLE * len(replicated):
            msg = (
                f"{len(replicated) - len(found)} of {len(replicated)} replicas have no such number (more than {BEARABLE:.0%}), so that it has no "
                "error: the samples have too few events; fit fewer bins"
            )
            raise ReplicaError(msg)
        whole, near = found.T
        return cls(value, float(np.std(near, ddof=1)) / NEAR, float(np.mean(whole) - alike), len(found))

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


def each(templates: TemplateSet, replicas: TemplateSet, function: Callable[[TemplateSet], Scalar]) -> np.ndarray:
    """A number of every replica, and ``NEAR`` of the way from the events to it; NaN where it fails.

    One after the other, by what is compiled for the events themselves: a batch would wait for its slowest fit, and compile anew.

    Args:
        templates: of the events themselves.
        replicas: templates whose arrays have the replicas along their first axis.
        function: of the templates of one.

    Returns:
        shape ``(replicas, 2)``.

    Raises:
        ReplicaError: if it fails for all of them.
    """
    events = np.stack([templates.values_flat, templates.variances_flat])
    found, reason = np.full((len(replicas.values_flat), 2), np.nan), ""
    for number, sums in enumerate(zip(replicas.values_flat, replicas.variances_flat, strict=True)):
        whole = np.stack(sums)
        try:
            for way, (values, variances) in enumerate((whole, events + NEAR * (whole - events))):
                moved = dataclasses.replace(replicas, values_flat=values, variances_flat=variances)
                value = float(function(moved))
                found[number, way] = value if math.isfinite(value) else math.nan
        except DiffeaError as error:
            reason = reason or str(error)
    if not len(_finite(found)):
        msg = f"none of {len(found)} replicas of the events could be judged, the first because {reason or 'it is no finite number'}"
        raise ReplicaError(msg)
    return found


def _finite(replicated: np.ndarray) -> np.ndarray:
    return replicated[np.isfinite(replicated).all(axis=1)]
