"""Pairs of objects: dijets, and cleaning one collection of what another one overlaps."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import ColumnError
from diffea.events.ragged import Ragged
from diffea.soft.counts import objects
from diffea.soft.cuts import below
from diffea.soft.kinematics import delta_r
from diffea.soft.transition import Shape

__all__ = ["away_from", "pairs"]


def pairs(x: Ragged) -> tuple[Ragged, Ragged]:
    """Both members of every pair of objects of an event, in the order of the objects.

    >>> first, second = soft.pairs(diffea.Ragged.from_awkward(ak.Array([[90.0, 40.0, 30.0]])))
    >>> (first.values + second.values)[first.mask].tolist()
    [130.0, 120.0, 70.0]

    Args:
        x: one value an object.

    Returns:
        The first and the second members, each with ``slots (slots - 1) / 2`` slots, or one that is empty where no event has two
        objects; a pair with an empty slot is empty.

    Raises:
        CountError: when ``x`` is no column of objects.
    """
    slots = objects(x).shape[1]
    values, present = jnp.asarray(x.values), jnp.asarray(x.mask)
    if slots < 2:
        none = Ragged(values, jnp.zeros_like(present))
        return none, none
    first, second = (np.array(i, dtype=int) for i in zip(*itertools.combinations(range(slots), 2), strict=True))
    both = present[:, first] & present[:, second]
    return Ragged(values[:, first], both), Ragged(values[:, second], both)


def away_from(
    eta: Ragged,
    phi: Ragged,
    other_eta: Ragged,
    other_phi: Ragged,
    distance: ArrayLike,
    *,
    width: ArrayLike,
    cut: Ragged | None = None,
    shape: Shape = "sigmoid",
) -> Ragged:
    """A soft cut on objects: none of another collection is nearer than ``distance`` in ΔR.

    Args:
        eta: pseudorapidity of the objects.
        phi: azimuth of the objects, in radians.
        other_eta: pseudorapidity of the others.
        other_phi: azimuth of the others.
        distance: in ΔR = √(Δη² + Δφ²).
        width: of the transition, in ΔR.
        cut: a soft cut on the others: only those that pass count; all of them by default.
        shape: of the transition.

    Returns:
        One probability an object; under ``hard()`` 1 where no other object that passes has ΔR < ``distance``.

    Raises:
        ColumnError: when the collections are not of the same events.
        CountError: when one of them is no column of objects.
    """
    for column in (eta, phi, other_eta, other_phi, *(() if cut is None else (cut,))):
        objects(column)
    if len(eta) != len(other_eta):
        msg = f"expected two collections of the same events, got {len(eta)} and {len(other_eta)} events"
        raise ColumnError(msg)
    separation = delta_r(
        jnp.asarray(eta.values)[:, :, None],
        jnp.asarray(phi.values)[:, :, None],
        jnp.asarray(other_eta.values)[:, None, :],
        jnp.asarray(other_phi.values)[:, None, :],
    )
    near = below(separation, distance, width=width, shape=shape)
    counts = other_eta.mask if cut is None else cut.where(0.0)
    clear = 1.0 - near * counts[:, None, :]
    result = jnp.ones(clear.shape[:2], clear.dtype)
    for slot in range(clear.shape[2]):
        result = result * clear[:, :, slot]
    return Ragged(jnp.where(eta.mask, result, 0.0), eta.mask)
