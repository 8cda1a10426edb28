"""What users give to tests and fits beside a model, looked at before anything is computed: a bad number is named, not fitted."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import DiffeaError, MethodError, ParameterError
from diffea.events.scalars import plain
from diffea.types import PyTree

__all__ = ["level", "numbers", "strength", "toys_and_seed"]


def numbers(given: PyTree, what: str, error: type[DiffeaError]) -> Array:
    """Real numbers as a floating-point array.

    Raises:
        error: if they are none.
    """
    try:
        array = jnp.asarray(given)
        if not jnp.iscomplexobj(array):
            return array.astype(float)
    except (TypeError, ValueError):
        pass
    msg = f"{what}: expected real numbers, got {given!r:.200}"
    raise error(msg)


def strength(given: PyTree, what: str) -> Array:
    """One value of a parameter, the parameter of interest for example.

    Raises:
        ParameterError: if it is not one number, or known and not finite.
    """
    value = numbers(given, what, ParameterError)
    if value.shape != ():
        msg = f"{what}: expected one number, got shape {value.shape}; several are one jax.vmap, or statistics.scan or limit_scan"
        raise ParameterError(msg)
    if not isinstance(value, jax.core.Tracer) and not np.isfinite(value):
        msg = f"{what}: expected a finite number, got {given}"
        raise ParameterError(msg)
    return value


def level(given: PyTree, what: str) -> float:
    """A confidence level.

    Raises:
        MethodError: if it is not a number between 0 and 1.
    """
    cl = plain(given)
    if not isinstance(cl, int | float) or not 0.0 < cl < 1.0:
        msg = f"{what}: expected a confidence level between 0 and 1, got {given!r}; 0 < cl < 1, such as 0.95"
        raise MethodError(msg)
    return float(cl)


def toys_and_seed(toys: PyTree, seed: PyTree) -> tuple[int, int]:
    """How many toys, and the seed of their random numbers.

    Raises:
        MethodError: if these are not whole numbers, there is no toy, or the seed has no place in 64 bits.
    """
    for name, given, least in (("toys: expected at least one", toys, 1), ("seed: expected one from 0", seed, 0)):
        number = plain(given)
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 2**63:
            msg = f"{name}, got {given!r}; it is a whole number"
            raise MethodError(msg)
    return int(toys), int(seed)
