"""Fits in one batch converge as those made one by one, where the Hessian is not positive on the way too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.statistics import Solver
from diffea.statistics.likelihood import Expansion
from diffea.statistics.solver import scoring


def test_a_step_that_cannot_be_taken_ends_no_fit() -> None:
    """A double well from its top, where the Hessian is negative: XLA's maximum over a batch may drop the NaN of such a step."""

    def expand(x: Array) -> Expansion:
        value = jnp.sum(0.25 * x**4 - 0.5 * x**2 - 0.01 * x)
        return Expansion(value, x**3 - x - 0.01, jnp.diag(3 * x**2 - 1), jnp.ones_like(x))

    for lanes, n in ((1, 3), (93, 64), (500, 8)):
        starts = 0.05 * jnp.asarray(np.random.default_rng(0).uniform(size=(lanes, n)))
        low, high = jnp.full((lanes, n), -jnp.inf), jnp.full((lanes, n), jnp.inf)
        ends = jax.jit(jax.vmap(lambda *at: scoring(expand, *at, Solver())))(
            starts, low, high, jnp.ones((lanes, n), bool)
        )
        assert not ends.status.any()
        np.testing.assert_allclose(ends.pars**3 - ends.pars, 0.01, rtol=1e-6)
