"""Kinematics of particles given by (pT, η, φ, m): invariant masses and distances, with finite gradients everywhere."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffea.events.ragged import Column, elementwise
from diffea.soft.transition import floating
from diffea.types import Scalar

__all__ = ["delta_phi", "delta_r", "invariant_mass"]


def delta_phi(phi: Column, other: Column) -> Any:
    """Difference of two azimuths, in (-π, π].

    >>> round(float(soft.delta_phi(3.0, -3.0)), 3)
    -0.283

    Args:
        phi: in radians; shape (events,) or ``Ragged``.
        other: likewise.
    """
    return elementwise(lambda a, b: jnp.pi - jnp.mod(jnp.pi - (a - b), 2.0 * jnp.pi), phi, other)


def delta_r(eta: Column, phi: Column, other_eta: Column, other_phi: Column) -> Any:
    """Distance √(Δη² + Δφ²) of two directions; its gradient is zero where they coincide.

    Args:
        eta: pseudorapidity; shape (events,) or ``Ragged``.
        phi: azimuth, in radians.
        other_eta: likewise, of the other direction.
        other_phi: likewise.
    """

    def distance(eta: jax.Array, phi: jax.Array, other_eta: jax.Array, other_phi: jax.Array) -> jax.Array:
        return _root((eta - other_eta) ** 2 + delta_phi(phi, other_phi) ** 2)

    return elementwise(distance, eta, phi, other_eta, other_phi)


def invariant_mass(*particles: tuple[Column, Column, Column, Column]) -> Any:
    r"""Invariant mass of the sum of some particles; where it is 0 its gradient is 0.

    $m^2 = \sum_i m_i^2 + 2 \sum_{i<j} (E_i E_j - \vec p_i \cdot \vec p_j)$, and each of those products is a sum of positive
    terms, so that nothing cancels (in 32 bits too):
    $$\frac{p_i^2 m_j^2 + m_i^2 E_j^2}{E_i E_j + p_i p_j}
      + 2 p_{T,i} p_{T,j} \big(\sinh^2\tfrac{\Delta\eta}{2} + \sin^2\tfrac{\Delta\phi}{2}\big).$$

    >>> one, other = (np.array([50.0]), np.array([0.0]), np.array([0.0]), 0.0), (np.array([50.0]), np.array([0.0]), np.array([np.pi]), 0.0)
    >>> np.round(soft.invariant_mass(one, other), 3).tolist()
    [100.0]

    Args:
        particles: each ``(pt, eta, phi, mass)``: transverse momentum, pseudorapidity, azimuth in radians, and mass, in one
            unit of energy; shapes (events,), or ``Ragged`` of the same objects (of ``pairs``, for instance), or scalars.

    Returns:
        In the same unit, of the shape of its arguments.
    """

    def mass(*flat: jax.Array) -> jax.Array:
        moving = [_Moving.of(*flat[i : i + 4]) for i in range(0, len(flat), 4)]
        square = sum(one.m * one.m for one in moving)
        return _root(square + 2.0 * sum(one.product(other) for one, other in itertools.combinations(moving, 2)))

    return elementwise(mass, *(column for particle in particles for column in particle))


class _Moving(NamedTuple):
    """A particle by transverse momentum, pseudorapidity, azimuth, mass, momentum and energy."""

    pt: jax.Array
    eta: jax.Array
    phi: jax.Array
    m: jax.Array
    p: jax.Array
    energy: jax.Array

    @classmethod
    def of(cls, pt: jax.Array, eta: jax.Array, phi: jax.Array, m: jax.Array) -> _Moving:
        pt, eta, phi, m = (x.astype(floating(x)) for x in map(jnp.asarray, (pt, eta, phi, m)))
        p = pt * jnp.cosh(eta)
        return cls(pt, eta, phi, m, p, _root(p * p + m * m))

    def product(self, other: _Moving) -> jax.Array:
        """The product of two four-momenta, E E' - p·p'."""
        masses = (self.p * other.m) ** 2 + (self.m * other.energy) ** 2
        along, around = jnp.sinh(0.5 * (self.eta - other.eta)), jnp.sin(0.5 * (self.phi - other.phi))
        apart = 2.0 * self.pt * other.pt * (along * along + around * around)
        return _ratio(masses, self.energy * other.energy + self.p * other.p) + apart


def _ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """Quotient of two numbers, 0 where the second one is 0."""
    some = denominator > 0
    return jnp.where(some, numerator / jnp.where(some, denominator, 1.0), 0.0)


def _root(square: Scalar) -> jax.Array:
    """Square root, 0 with a zero gradient where there is none."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
