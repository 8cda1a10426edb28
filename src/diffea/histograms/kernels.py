"""Kernels: the shapes by which an event is smeared over the bins around it."""

from __future__ import annotations

import dataclasses
import math

import jax

from diffea.errors import HistogramError
from diffea.soft.transition import PROFILES, Profile, within

__all__ = ["KERNELS", "Kernel", "kernel_named"]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A symmetric kernel.

    Attributes:
        name: as given to ``histogram``.
        reach: half-width of the support in standard deviations. A bandwidth is always the kernel's standard deviation,
            so kernels can be exchanged at the same smoothing.
        profile: the kernel and its integral, of a distance in units of the reach.
        polynomial: whether the integral is one, which is sooner computed again than kept.
    """

    name: str
    reach: float
    profile: Profile
    polynomial: bool = True


def _epanechnikov(u: jax.Array) -> jax.Array:
    u = within(u, 1.0)
    return 0.5 + u * (3 / 4 - u * u / 4)


def _epanechnikov_density(u: jax.Array, _: jax.Array) -> jax.Array:
    return 3 / 4 * (1.0 - u * u)


def _triweight(u: jax.Array) -> jax.Array:
    u = within(u, 1.0)
    v = u * u
    return 0.5 + u * (35 / 32 + v * (-35 / 32 + v * (21 / 32 - v * (5 / 32))))


def _triweight_density(u: jax.Array, _: jax.Array) -> jax.Array:
    v = 1.0 - u * u
    return 35 / 32 * v * v * v


_NORMAL = PROFILES["normal"]  # its tails beyond `farthest` hold less than half a unit in the last place of a double


def _gaussian(u: jax.Array) -> jax.Array:
    return _NORMAL.cumulative(_NORMAL.farthest * u)


def _gaussian_density(u: jax.Array, s: jax.Array) -> jax.Array:
    return _NORMAL.farthest * _NORMAL.density(_NORMAL.farthest * u, s)


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("biweight", math.sqrt(7), PROFILES["polynomial"]),
        Kernel("triweight", 3.0, Profile(_triweight, _triweight_density, 1.0)),
        Kernel("epanechnikov", math.sqrt(5), Profile(_epanechnikov, _epanechnikov_density, 1.0)),
        Kernel("gaussian", _NORMAL.farthest, Profile(_gaussian, _gaussian_density, 1.0), polynomial=False),
    )
}


def kernel_named(name: object) -> Kernel:
    """The kernel of that name.

    Raises:
        HistogramError: when there is none.
    """
    if not isinstance(name, str) or name not in KERNELS:
        msg = f"expected a kernel named {', '.join(KERNELS)}, got {name!r}"
        raise HistogramError(msg)
    return KERNELS[name]
