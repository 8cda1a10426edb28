"""Kernels: the shapes by which an event is smeared over the bins around it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax

from diffea.errors import HistogramError

__all__ = ["KERNELS", "Kernel", "kernel_named"]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A symmetric kernel of unit half-width.

    Attributes:
        name: as given to ``histogram``.
        reach: half-width of the support in standard deviations. A bandwidth is always the kernel's standard deviation,
            so kernels can be exchanged at the same smoothing.
        cumulative: integral of the kernel from -1 to u, for u in [-1, 1].
    """

    name: str
    reach: float
    cumulative: Callable[[jax.Array], jax.Array]


def _epanechnikov(u: jax.Array) -> jax.Array:
    return 0.5 + u * (3 / 4 - u * u / 4)


def _biweight(u: jax.Array) -> jax.Array:
    v = u * u
    return 0.5 + u * (15 / 16 + v * (-5 / 8 + v * (3 / 16)))


def _triweight(u: jax.Array) -> jax.Array:
    v = u * u
    return 0.5 + u * (35 / 32 + v * (-35 / 32 + v * (21 / 32 - v * (5 / 32))))


_GAUSSIAN_REACH = 8.3  # the tails beyond hold less than half a unit in the last place of a double


def _gaussian(u: jax.Array) -> jax.Array:
    return 0.5 + 0.5 * jax.lax.erf(u * (_GAUSSIAN_REACH / math.sqrt(2)))


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("biweight", math.sqrt(7), _biweight),
        Kernel("triweight", 3.0, _triweight),
        Kernel("epanechnikov", math.sqrt(5), _epanechnikov),
        Kernel("gaussian", _GAUSSIAN_REACH, _gaussian),
    )
}


def kernel_named(name: str) -> Kernel:
    """The kernel of that name.

    Raises:
        HistogramError: when there is none.
    """
    if name not in KERNELS:
        msg = f"expected a kernel named {', '.join(KERNELS)}, got {name!r}"
        raise HistogramError(msg)
    return KERNELS[name]
