"""Box: bounds of parameters, and the units in which they are stepped."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import ParameterError
from diffea.optimise.bounds import read_bounds
from diffea.parameters import name_of
from diffea.types import Params, PyTree


@dataclasses.dataclass(frozen=True)
class Box:
    """Lower and upper bounds of every leaf.

    A leaf with both bounds finite is stepped in units of its range, so that one learning rate fits a cut in GeV and one
    on an isolation; any other leaf is stepped in its own units.

    Attributes:
        low: pytree like the parameters, −∞ where there is no bound.
        high: likewise, +∞.
    """

    low: Params
    high: Params

    @classmethod
    def of(cls, params: Params, bounds: PyTree) -> Box:
        """Read ``bounds``: a pytree like the parameters with (low, high) as leaves, of which None is no bound; what it leaves out has none.

        Raises:
            ParameterError: if a bound names no parameter, is not a pair low < high, or a parameter lies outside.
        """
        leaves = jax.tree_util.tree_leaves_with_path(params)
        pairs = read_bounds(leaves, bounds) if leaves else []
        low, high = (
            [jnp.broadcast_to(pair[side], np.shape(leaf)) for pair, (_, leaf) in zip(pairs, leaves, strict=True)]
            for side in (0, 1)
        )
        shape = jax.tree.structure(params)
        return cls(jax.tree.unflatten(shape, low), jax.tree.unflatten(shape, high))

    @property
    def units(self) -> Params:
        """How much of a parameter one unit of steps is."""
        return jax.tree.map(_unit, self.low, self.high)

    def check(self, params: Params) -> None:
        """See that parameters that are set, not stepped, lie within the bounds.

        Raises:
            ParameterError: naming the one that does not.
        """
        for (path, leaf), low, high in zip(
            jax.tree_util.tree_leaves_with_path(params), *map(jax.tree.leaves, (self.low, self.high)), strict=True
        ):
            if not np.all((low <= leaf) & (leaf <= high)):
                msg = f"parameter {name_of(path)!r} is set to {leaf}, outside of its bounds {(low, high)}"
                raise ParameterError(msg)

    def to_steps(self, params: Params) -> Params:
        """Parameters in the units of steps."""
        return jax.tree.map(
            lambda x, low, high: (x - _origin(low, high)) / _unit(low, high), params, self.low, self.high
        )

    def to_params(self, steps: Params) -> Params:
        """The inverse of ``to_steps``, within the bounds to the last bit.

        A derivative at a bound is the one from within; beyond, where a line search may try, it is zero.
        """
        return jax.tree.map(
            lambda u, low, high: _rounded(_origin(low, high) + u * _unit(low, high), low, high),
            self.clip(steps),
            self.low,
            self.high,
        )

    def clip(self, steps: Params) -> Params:
        """Project onto the bounds, in the units of steps."""
        return jax.tree.map(_within, steps, self.to_steps(self.low), self.to_steps(self.high))

    def inward(self, gradient: Params, steps: Params) -> Params:
        """The gradient without what descent against it would lead out of the bounds."""
        return jax.tree.map(
            lambda slope, u, low, high: jnp.where(((u <= low) & (slope > 0)) | ((u >= high) & (slope < 0)), 0.0, slope),
            gradient,
            steps,
            self.to_steps(self.low),
            self.to_steps(self.high),
        )


def _within(u: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """``jnp.clip``, whose derivative at a bound is 1/2, with the derivative 1 there."""
    return jnp.where(u < low, low, jnp.where(u > high, high, u))


@jax.custom_jvp
def _rounded(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """What is within the bounds but for rounding; that a bound cuts the rounding off is not in the derivative."""
    return jnp.clip(x, low, high)


@_rounded.defjvp
def _rounded_jvp(
    primals: tuple[jax.Array, jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return _rounded(*primals), tangents[0]


def _finite(low: jax.Array, high: jax.Array) -> jax.Array:
    return jnp.isfinite(low) & jnp.isfinite(high)


def _origin(low: jax.Array, high: jax.Array) -> jax.Array:
    return jnp.where(_finite(low, high), low, 0.0)


def _unit(low: jax.Array, high: jax.Array) -> jax.Array:
    return jnp.where(_finite(low, high), high - low, 1.0)
