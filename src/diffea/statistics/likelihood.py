r"""The likelihood of a model: pyhf's log-density, and the deviance that fits minimise.

The deviance is $D(\theta) = \ln L(\text{saturated}) - \ln L(\theta) \ge 0$, each Poisson term $\nu - n - n\ln(\nu/n)$. It
differs from pyhf's negative log-likelihood by terms that do not depend on $\theta$, but has no large numbers that
cancel: a likelihood ratio of $10^{-12}$ keeps its digits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln, xlogy

from diffea.statistics.layout import Layout
from diffea.statistics.rates import Prepared, curvature, derivatives, overlay, rates
from diffea.statistics.settings import Settings


def counted(layout: Layout, settings: Settings) -> np.ndarray | None:
    """Which bins are in channels that are fitted, shape (bins,); None if all are."""
    if settings.fitted is None:
        return None
    return np.isin(np.array(layout.channels), settings.fitted)[layout.channel_of_bin]


def weights(layout: Layout, settings: Settings) -> Array | float:
    """1 for bins that are fitted, 0 for others; a factor of shape (bins,), or 1 for all."""
    which = counted(layout, settings)
    return 1.0 if which is None else jnp.asarray(which, float)


def _kept(layout: Layout, settings: Settings, *per_bin: Array) -> tuple[Array, ...]:
    """The entries of the bins that are fitted."""
    which = counted(layout, settings)
    return per_bin if which is None else tuple(each[np.flatnonzero(which)] for each in per_bin)


def log_density(layout: Layout, settings: Settings, prepared: Prepared, pars: Array, data: Array) -> Array:
    """pyhf's ``logpdf``: Poisson terms of all bins, normal and Poisson constraints."""
    main, aux = data[: layout.nbins_total], data[layout.nbins_total :]
    total = _poisson(*_kept(layout, settings, main, rates(layout, settings, prepared, pars))).sum()
    parameters, places = layout.normal
    pull = (aux[places] - pars[parameters]) / prepared.sigmas
    total += jnp.sum(-0.5 * pull**2 - jnp.log(prepared.sigmas * jnp.sqrt(2 * jnp.pi)))
    parameters, places = layout.poisson
    return total + _poisson(aux[places], pars[parameters] * prepared.factors).sum()


def _poisson(count: Array, rate: Array) -> Array:
    return xlogy(count, rate) - rate - gammaln(count + 1.0)


def expected_auxdata(layout: Layout, prepared: Prepared, pars: Array) -> Array:
    """Auxiliary data expected at these parameters."""
    (normal, at_normal), (poisson, at_poisson) = layout.normal, layout.poisson
    both = [(at_normal, pars[normal]), (at_poisson, pars[poisson] * prepared.factors)]
    return overlay(np.zeros(layout.nauxdata), both)


def poisson_deviance(count: Array, rate: Array) -> Array:
    r"""$\nu - n - n\ln(\nu/n)$, and $\nu$ where $n = 0$; infinite where $\nu \le 0 < n$ or $\nu < 0$, or $n$ is negative or NaN."""
    some = count > 0
    possible = ((rate > 0) | ((rate == 0) & ~some)) & (count >= 0)
    ratio = jnp.where(some & possible, rate, 1.0) / jnp.where(some, count, 1.0)
    ratio = jnp.where(some & possible, ratio, 1.0)
    value = jnp.where(some, count * (ratio - 1.0 - jnp.log(ratio)), rate)
    return jnp.where(possible, value, jnp.inf)


def deviance(layout: Layout, settings: Settings, prepared: Prepared, pars: Array, data: Array) -> Array:
    """What a fit minimises, see the module's text."""
    main, aux = data[: layout.nbins_total], data[layout.nbins_total :]
    total = poisson_deviance(*_kept(layout, settings, main, rates(layout, settings, prepared, pars))).sum()
    parameters, places = layout.normal
    total += 0.5 * jnp.sum(((aux[places] - pars[parameters]) / prepared.sigmas) ** 2)
    parameters, places = layout.poisson
    return total + poisson_deviance(aux[places], pars[parameters] * prepared.factors).sum()


class Expansion(NamedTuple):
    """Second-order expansion of the deviance; `scale` is the curvature that counts one uncertainty of each parameter.

    It is the diagonal of the positive (Gauss-Newton) part of the Hessian, with at least the events that are expected in
    the place of those that were seen: a bin where none were seen measures its parameters too.
    """

    value: Array
    gradient: Array
    hessian: Array
    scale: Array


def expansion(layout: Layout, settings: Settings, prepared: Prepared, pars: Array, data: Array) -> Expansion:
    r"""Deviance, gradient and exact Hessian, with $w_b = 1 - n_b/\nu_b$:

    $$H = J\,\mathrm{diag}(n/\nu^2)\,J^\top + \sum_b w_b\,\partial^2\nu_b + \text{constraints}.$$
    """
    main, aux = data[: layout.nbins_total], data[layout.nbins_total :]
    d = derivatives(layout, settings, prepared, pars)
    safe = jnp.where(d.rates > 0, d.rates, 1.0)
    ratio = jnp.where(main > 0, main / safe, 0.0)
    keep = weights(layout, settings)
    bend = keep * (1.0 - ratio)
    value = poisson_deviance(*_kept(layout, settings, main, d.rates)).sum()
    gradient = d.jacobian @ bend
    matrix = (d.jacobian * (keep * ratio / safe)) @ d.jacobian.T
    scale = jnp.square(d.jacobian) @ (keep * jnp.maximum(ratio, 1.0) / safe)

    parameters, places = layout.normal
    pull = (pars[parameters] - aux[places]) / prepared.sigmas
    slopes, curvatures = [(parameters, pull / prepared.sigmas)], [(parameters, prepared.sigmas**-2)]
    scales = [(parameters, prepared.sigmas**-2)]
    value += 0.5 * jnp.sum(pull**2)
    parameters, places = layout.poisson
    value += poisson_deviance(aux[places], pars[parameters] * prepared.factors).sum()
    expected = pars[parameters] * prepared.factors
    slopes.append((parameters, prepared.factors - aux[places] / pars[parameters]))
    curvatures.append((parameters, aux[places] / pars[parameters] ** 2))
    scales.append((parameters, jnp.maximum(aux[places], expected) / pars[parameters] ** 2))
    none = np.zeros(layout.npars)
    gradient += overlay(none, slopes)
    hessian = matrix + jnp.diag(overlay(none, curvatures)) + curvature(d, bend)
    return Expansion(value, gradient, hessian, scale + overlay(none, scales))


def fisher_information(layout: Layout, settings: Settings, prepared: Prepared, pars: Array) -> Array:
    r"""Expected information $J\,\mathrm{diag}(1/\nu)\,J^\top$ plus the constraints', shape (parameters, parameters).

    It is the Hessian of the negative log-likelihood on the Asimov data of these parameters.
    """
    d = derivatives(layout, settings, prepared, pars)
    nu, jacobian = d.rates, d.jacobian
    weight = weights(layout, settings) * jnp.where(nu > 0, 1.0 / jnp.where(nu > 0, nu, 1.0), 0.0)
    parameters = layout.poisson[0]
    curvatures = [(layout.normal[0], prepared.sigmas**-2), (parameters, prepared.factors / pars[parameters])]
    return (jacobian * weight) @ jacobian.T + jnp.diag(overlay(np.zeros(layout.npars), curvatures))
