"""Kinematics of particles given by (pT, η, φ, m): invariant masses and distances, with finite gradients everywhere."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp

from diffea.events.ragged import elementwise

__all__ = ["delta_phi", "delta_r", "invariant_mass"]


def delta_phi(phi: Any, other: Any) -> Any:
    """Difference of two azimuths, in (-π, π].

    Args:
        phi: in radians; shape (events,) or ``Ragged``.
        other: likewise.
    """
    return elementwise(lambda a, b: jnp.pi - jnp.mod(jnp.pi - (a - b), 2.0 * jnp.pi), phi, other)


def delta_r(eta: Any, phi: Any, other_eta: Any, other_phi: Any) -> Any:
    """Distance √(Δη² + Δφ²) of two directions; its gradient is zero where they coincide.

    Args:
        eta: pseudorapidity; shape (events,) or ``Ragged``.
        phi: azimuth, in radians.
        other_eta: likewise, of the other direction.
        other_phi: likewise.
    """

    def distance(eta: Any, phi: Any, other_eta: Any, other_phi: Any) -> jax.Array:
        return _root((eta - other_eta) ** 2 + delta_phi(phi, other_phi) ** 2)

    return elementwise(distance, eta, phi, other_eta, other_phi)


def invariant_mass(*particles: tuple[Any, Any, Any, Any]) -> Any:
    """Invariant mass of the sum of some particles; 0, with a zero gradient, where rounding makes its square negative.

    Args:
        particles: each ``(pt, eta, phi, mass)``: transverse momentum, pseudorapidity, azimuth in radians, and mass, in one
            unit of energy; shapes (events,), or ``Ragged`` of the same objects (of ``pairs``, for instance), or scalars.

    Returns:
        In the same unit, of the shape of its arguments.
    """

    def mass(*flat: Any) -> jax.Array:
        sums: Any = (0.0, 0.0, 0.0, 0.0)
        for pt, eta, phi, m in zip(*(flat[i::4] for i in range(4)), strict=True):
            pz = pt * jnp.sinh(eta)
            energy = jnp.sqrt(pt * pt + pz * pz + m * m)
            sums = tuple(map(operator.add, sums, (energy, pt * jnp.cos(phi), pt * jnp.sin(phi), pz)))
        energy, px, py, pz = sums
        return _root(energy * energy - px * px - py * py - pz * pz)

    return elementwise(mass, *(column for particle in particles for column in particle))


def _root(square: jax.Array) -> jax.Array:
    """Square root, 0 with a zero gradient where there is none."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
