"""Hypothesis tests with pseudo-experiments instead of asymptotic formulae, all toys in one compiled function."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr

from diffea.statistics.bound import BoundModel
from diffea.statistics.fits import codes, ensure_codes
from diffea.statistics.likelihood import expected_auxdata
from diffea.statistics.rates import Prepared, rates
from diffea.statistics.ratios import Statistic, asimov, on_data
from diffea.statistics.solver import CONVERGED, LOST_TOYS, NO_TOYS, Solver

_BATCH = 50
_ROUNDING = 1e-7
BEARABLE = 0.01


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ToyTest:
    """Result of a test with toys.

    Attributes:
        cls: ratio of `clsb` and `clb`, the fractions of toys with and without signal whose test statistic is at least as
            large as the data's.
        band: CLs at the background toys' quantiles of −2, −1, 0, 1, 2 σ, shape (5,).
        q: test statistic of the data.
        signal, background: test statistics of the toys with and without signal, shape (toys,).
        failed: number of toys whose fits did not converge; they are left out (NaN) of the fractions.
    """

    cls: Array
    clsb: Array
    clb: Array
    band: Array
    q: Array
    signal: Array
    background: Array
    failed: Array

    @property
    def expected(self) -> Array:
        """Median expected CLs."""
        return self.band[2]


def sample_data(bound: BoundModel, prepared: Prepared, pars: Array, key: Array) -> Array:
    """One pseudo-experiment: Poisson counts in all bins, and auxiliary data from their constraints."""
    layout = bound.layout
    keys = jax.random.split(key, 3)
    main = jax.random.poisson(keys[0], rates(layout, bound.settings, prepared, pars)).astype(float)
    aux = expected_auxdata(layout, prepared, pars)
    _, places = layout.normal
    aux = aux.at[places].add(prepared.sigmas * jax.random.normal(keys[1], prepared.sigmas.shape))
    _, places = layout.poisson
    aux = aux.at[places].set(jax.random.poisson(keys[2], aux[places]).astype(float))
    return jnp.concatenate([main, aux])


@functools.partial(jax.jit, static_argnames=("toys", "test_stat", "solver"))
def _toys(
    bound: BoundModel, poi: Array, data: Array, key: Array, toys: int, test_stat: Statistic, solver: Solver
) -> tuple[ToyTest, dict[str, tuple[Array, Array]]]:
    prepared = bound.prepared()
    seen = on_data(bound, prepared, poi, data, test_stat, solver, null=True)
    assert seen.null is not None

    def one(pars: Array, key: Array) -> Array:
        toy = sample_data(bound, prepared, pars, key)
        drawn = on_data(bound, prepared, poi, toy, test_stat, solver)
        return jnp.where((drawn.fixed.status == 0) & (drawn.free.status == 0), drawn.value, jnp.nan)

    hypotheses = jnp.repeat(jnp.stack([seen.fixed.pars, seen.null.pars]), toys, axis=0)
    keys = jax.random.split(key, 2 * toys)
    signal, background = jax.lax.map(lambda toy: one(*toy), (hypotheses, keys), batch_size=_BATCH).reshape(2, toys)

    def tail(sample: Array, value: Array) -> Array:
        """The fraction that is at least as extreme; counts often give the same value, but for the fits' rounding."""
        least = value - _ROUNDING * (1.0 + jnp.abs(value))
        return jnp.sum(sample >= least) / jnp.sum(jnp.isfinite(sample))

    quantiles = ndtr(jnp.array([2.0, 1.0, 0.0, -1.0, -2.0]))
    medians = jnp.nanquantile(background, quantiles)
    band = jax.vmap(lambda value: tail(signal, value) / tail(background, value))(medians)
    clsb, clb = tail(signal, seen.value), tail(background, seen.value)
    failed = jnp.sum(jnp.isnan(signal)) + jnp.sum(jnp.isnan(background))
    result = ToyTest(clsb / clb, clsb, clb, band, seen.value, signal, background, failed)
    fits = seen.fits(bound.settings.poi_name)
    status = jnp.select([failed > BEARABLE * 2 * toys, clb == 0.0], [LOST_TOYS, NO_TOYS], CONVERGED)
    return result, codes(fits) | {"the test with toys": (status, jnp.asarray(-1))}


@jax.jit
def _asimov(bound: BoundModel) -> Array:
    return asimov(bound, bound.prepared(), 0.0).data


def by_toys(
    bound: BoundModel, poi: Array, data: Array | None, toys: int, seed: int, test_stat: Statistic, solver: Solver
) -> ToyTest:
    """`hypotest` with toys drawn at the nuisance parameters that fit the data best, auxiliary data included.

    Raises:
        FitError: if a fit to the data does not converge, or those to more than 1 % of the toys; a few are counted in the result.
    """
    given = _asimov(bound) if data is None else data
    result, ends = _toys(bound, poi, given, jax.random.key(seed), toys, test_stat, solver)
    ensure_codes(bound.layout, solver, ends)
    return result
