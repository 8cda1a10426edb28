"""Kinematics of particles given by (pT, η, φ, m): invariant masses and distances, with finite gradients everywhere."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

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
    r"""Invariant mass of the sum of some particles; where it is 0 its gradient is 0.

    $m^2 = \sum_i m_i^2 + 2 \sum_{i<j} (E_i E_j - \vec p_i \cdot \vec p_j)$, and, with transverse masses $m_T$ and
    rapidities $y$, each of those products as a sum of positive terms, so that nothing cancels (in 32 bits too):
    $$m_{T,i} m_{T,j} - p_{T,i} p_{T,j} + 2 m_{T,i} m_{T,j} \sinh^2\tfrac{\Delta y}{2}
      + 2 p_{T,i} p_{T,j} \sin^2\tfrac{\Delta\phi}{2}.$$

    Args:
        particles: each ``(pt, eta, phi, mass)``: transverse momentum, pseudorapidity, azimuth in radians, and mass, in one
            unit of energy; shapes (events,), or ``Ragged`` of the same objects (of ``pairs``, for instance), or scalars.

    Returns:
        In the same unit, of the shape of its arguments.
    """

    def mass(*flat: Any) -> jax.Array:
        moving = [_Moving.of(*flat[i : i + 4]) for i in range(0, len(flat), 4)]
        square = sum(one.m * one.m for one in moving)
        return _root(square + 2.0 * sum(one.product(other) for one, other in itertools.combinations(moving, 2)))

    return elementwise(mass, *(column for particle in particles for column in particle))


class _Moving(NamedTuple):
    """A particle by transverse momentum, transverse mass, rapidity, azimuth and mass."""

    pt: Any
    mt: Any
    y: Any
    phi: Any
    m: Any

    @classmethod
    def of(cls, pt: Any, eta: Any, phi: Any, m: Any) -> _Moving:
        mt = _root(pt * pt + m * m)
        return cls(pt, mt, jnp.arcsinh(_ratio(pt, mt) * jnp.sinh(eta)), phi, m)

    def product(self, other: _Moving) -> Any:
        """The product of two four-momenta, E E' - p·p'."""
        mt, pt = self.mt * other.mt, self.pt * other.pt
        masses = (self.pt * other.m) ** 2 + (self.m * other.mt) ** 2
        along, around = jnp.sinh(0.5 * (self.y - other.y)) ** 2, jnp.sin(0.5 * (self.phi - other.phi)) ** 2
        return _ratio(masses, mt + pt) + 2.0 * (mt * along + pt * around)


def _ratio(numerator: Any, denominator: Any) -> Any:
    """Quotient of two numbers, 0 where the second one is 0."""
    some = denominator > 0
    return jnp.where(some, numerator / jnp.where(some, denominator, 1.0), 0.0)


def _root(square: jax.Array) -> jax.Array:
    """Square root, 0 with a zero gradient where there is none."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
