"""Finite differences: what ``jax.test_util.check_grads`` checks to second order, forward and reverse, in one compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def check(function: Callable[..., Any], *arguments: Any, eps: float = 1e-5, rtol: float = 1e-4) -> None:
    """See that JVP, VJP and the second derivatives of a function of floats agree with central differences.

    Along a random direction v, for random weights c of the outputs: the JVP with the difference of values, c·JVP with
    VJP·v, the VJP's derivative along v (forward over reverse, reverse over reverse) and the JVP's (forward over forward) with the
    differences of VJPs.
    """
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), arguments))
    random = np.random.default_rng(0)
    v = random.normal(size=flat.shape) * np.maximum(1.0, np.abs(flat))

    def f(x: Any) -> Any:
        return ravel_pytree(function(*unravel(x)))[0]

    c = random.normal(size=jax.eval_shape(f, flat).shape)

    def gradient(x: Any) -> Any:
        return jax.vjp(f, x)[1](c)[0]

    @jax.jit
    def first(x: Any) -> Any:
        return f(x), gradient(x)

    @jax.jit
    def derivatives(x: Any) -> Any:
        def along(x: Any) -> Any:
            return jax.jvp(f, (x,), (v,))[1]

        return {
            "jvp": along(x),
            "forward over reverse": jax.jvp(gradient, (x,), (v,))[1],
            "reverse over reverse": jax.grad(lambda x: gradient(x) @ v)(x),
            "forward over forward": jax.jvp(along, (x,), (v,))[1] @ c,
        }

    (above, slope_above), (below, slope_below) = first(flat + eps * v), first(flat - eps * v)
    found = derivatives(flat)
    change, bend = (above - below) / (2 * eps), (slope_above - slope_below) / (2 * eps)
    oracle = {
        "jvp": change,
        "forward over reverse": bend,
        "reverse over reverse": bend,
        "forward over forward": bend @ v,
    }
    for name, value in found.items():
        scale = float(np.max(np.abs(oracle[name]), initial=1e-3))
        np.testing.assert_allclose(value, oracle[name], rtol=rtol, atol=rtol * scale, err_msg=name)
    np.testing.assert_allclose(first(flat)[1] @ v, found["jvp"] @ c, rtol=1e-9, atol=1e-12)
