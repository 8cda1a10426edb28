r"""Expected events as a function of the parameters, and their derivative.

$$\nu_b(\theta) = \sum_s \Big(N_{sb} + \sum_m u_m(\alpha_m)\,\Delta^+_{msb} + d_m(\alpha_m)\,\Delta^-_{msb}\Big)
  \prod_k f_{ksc(b)}(\theta) \prod_g \gamma_{gsb}$$

(pyhf's `expected_data`; HistFactory, CERN-OPEN-2012-016, eq. 3). Each factor depends on one parameter, so the Jacobian
costs about as much as the rates themselves, not (number of parameters) times that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.statistics.interpolation import ADDITIVE_CODES, MULTIPLICATIVE_CODES, code4_polynomial
from diffea.statistics.layout import Layout
from diffea.statistics.settings import Settings
from diffea.statistics.yields import Yields

_TINY = 1e-100


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prepared:
    """What evaluation needs, worked out once from `Yields`: everything that does not depend on the parameters.

    Attributes:
        nominal: (samples, bins); `up`, `down` (modifiers, samples, bins): the shifts of histosys.
        log_high, log_low: (modifiers, samples, channels) of normsys; `polynomial` (6, …) of code 4.
        sigmas: widths of the normal constraints; `factors`: counts behind the Poisson constraints.
        auxdata: (auxiliary measurements,).
        fixed: (parameters,) whether the parameter stays at its init.
    """

    nominal: Array
    up: Array
    down: Array
    log_high: Array
    log_low: Array
    polynomial: Array
    sigmas: Array
    factors: Array
    auxdata: Array
    fixed: Array


def prepare(layout: Layout, yields: Yields) -> Prepared:
    """Spread the flat numbers over samples and bins; widths of the constraints from the yields.

    staterror: $\\sigma_b = \\sqrt{\\sum_s \\delta_{sb}^2} / \\sum_s N_{sb}$ over the samples it covers; shapesys:
    $N^2 / \\delta^2$ effective counts. Bins without events or uncertainty are fixed, as in pyhf.
    """
    padded = jnp.append(yields.nominal, 0.0)
    nominal = padded[layout.nominal]
    covered = layout.histosys < yields.histosys_hi.size
    up = jnp.where(covered, jnp.append(yields.histosys_hi, 0.0)[layout.histosys] - nominal, 0.0)
    down = jnp.where(covered, nominal - jnp.append(yields.histosys_lo, 0.0)[layout.histosys], 0.0)
    log_high = jnp.log(jnp.append(yields.normsys_hi, 1.0)[layout.normsys])
    log_low = jnp.log(jnp.append(yields.normsys_lo, 1.0)[layout.normsys])

    static = _static_constraints(layout)
    news: dict[str, list[tuple[np.ndarray, Array]]] = {name: [] for name in static}
    for table, mask, parameters in layout.staterror:
        parameter_set = _set_of(layout, int(parameters[0]))
        used = table < yields.staterror.size
        variance = jnp.sum(jnp.append(yields.staterror, 0.0)[table] ** 2, axis=0)[mask]
        total = jnp.sum(jnp.where(used, nominal, 0.0), axis=0)[mask]
        known = (total > 0) & (variance > 0)
        relative = jnp.where(known, jnp.sqrt(jnp.where(known, variance, 1.0)) / jnp.where(known, total, 1.0), 1.0)
        if parameter_set.sigmas is None:
            news["sigmas"].append((_position(layout.normal[0], parameters), relative))
        if parameter_set.fixed is None:
            news["fixed"].append((parameters, ~known))
    for sample, bins, table, parameters in layout.shapesys:
        parameter_set = _set_of(layout, int(parameters[0]))
        count, width = nominal[sample, bins], yields.shapesys[table]
        known = (count > 0) & (width > 0)
        effective = jnp.where(known, (jnp.where(known, count, 1.0) / jnp.where(known, width, 1.0)) ** 2, 1.0)
        position = _position(layout.poisson[0], parameters)
        if parameter_set.factors is None:
            news["factors"].append((position, effective))
        if parameter_set.auxdata is None:
            news["auxdata"].append((layout.poisson[1][position], effective))
        if parameter_set.fixed is None:
            news["fixed"].append((parameters, ~known))
    filled = {name: overlay(values, news[name]) for name, values in static.items()}
    return Prepared(nominal, up, down, log_high, log_low, code4_polynomial(log_high, log_low), **filled)


def overlay(values: Any, news: list[tuple[np.ndarray, Array]]) -> Array:
    """Values with new ones at static positions (a gather, which compiles faster than scatters)."""
    index, start = np.arange(len(values)), len(values)
    for positions, _ in news:
        index[positions] = start + np.arange(len(positions))
        start += len(positions)
    return jnp.concatenate([jnp.asarray(values), *(new for _, new in news)])[index]


def _static_constraints(layout: Layout) -> dict[str, np.ndarray]:
    fixed = np.zeros(layout.npars, bool)
    sigmas, factors = np.ones(layout.npars), np.ones(layout.npars)
    auxdata = np.ones(layout.nauxdata)
    place = 0
    for name, item in layout.sets.items():
        fixed[item.slice] = False if item.fixed is None else item.fixed
        sigmas[item.slice] = 1.0 if item.sigmas is None else item.sigmas
        factors[item.slice] = 1.0 if item.factors is None else item.factors
        if name in layout.auxdata_order:
            auxdata[place : place + item.n_parameters] = 1.0 if item.auxdata is None else item.auxdata
            place += item.n_parameters
    return {
        "fixed": fixed,
        "sigmas": sigmas[layout.normal[0]],
        "factors": factors[layout.poisson[0]],
        "auxdata": auxdata,
    }


def _set_of(layout: Layout, parameter: int) -> Any:
    return next(s for s in layout.sets.values() if s.slice.start <= parameter < s.slice.stop)


def _position(haystack: np.ndarray, needles: np.ndarray) -> np.ndarray:
    return np.array([int(np.flatnonzero(haystack == needle)[0]) for needle in needles])


def by_sample(layout: Layout, settings: Settings, prepared: Prepared, pars: Array) -> Array:
    """Expected events of every sample in every bin, shape (samples, bins)."""
    base, scales, gammas = _parts(layout, settings, prepared, pars)
    factor = jnp.prod(scales, axis=0)[:, layout.channel_of_bin]
    return base * factor * jnp.prod(gammas, axis=0)


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)  # traced once, however many fits have it
def rates(layout: Layout, settings: Settings, prepared: Prepared, pars: Array) -> Array:
    """Expected events in every bin, shape (bins,)."""
    return by_sample(layout, settings, prepared, pars).sum(axis=0)


def _parts(layout: Layout, settings: Settings, prepared: Prepared, pars: Array) -> tuple[Array, Array, Array]:
    """Shifted yields (samples, bins), factors (k, samples, channels) and per-bin factors (g, samples, bins)."""
    base = prepared.nominal
    if layout.histosys_parameter.size:
        u, d = ADDITIVE_CODES[settings.histosys](pars[layout.histosys_parameter])
        base = base + jnp.tensordot(u, prepared.up, axes=1) + jnp.tensordot(d, prepared.down, axes=1)
    norm = _norm(settings, prepared, pars[layout.normsys_parameter][:, None, None])
    scale = jnp.where(layout.scale, pars[layout.scale_parameter][:, None, None], 1.0)
    gammas = jnp.append(pars, 1.0)[layout.gamma]
    return base, jnp.concatenate([norm, scale]), gammas


def _norm(settings: Settings, prepared: Prepared, alpha: Array) -> Array:
    return MULTIPLICATIVE_CODES[settings.normsys](alpha, prepared.log_high, prepared.log_low, prepared.polynomial)


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def shifts_at_one_sigma(
    layout: Layout, settings: Settings, prepared: Prepared, pars: Array
) -> tuple[Array, Array, Array]:
    """Expected events, shape (bins,), and by how much each histosys and normsys moves them at +1 and −1.

    The shifts, shapes (parameters, bins), are those from nominal yields, with all other factors where they are.
    """
    base, scales, gammas = _parts(layout, settings, prepared, pars)
    rest = jnp.prod(scales, axis=0)[:, layout.channel_of_bin] * jnp.prod(gammas, axis=0)
    up, down = jnp.zeros((2, layout.npars, layout.nbins_total))
    if layout.histosys_parameter.size:
        moves = (jnp.einsum("msb,sb->mb", move, rest) for move in (prepared.up, -prepared.down))
        up, down = (_by_parameter(layout, move, layout.histosys_parameter) for move in moves)
    if layout.normsys_parameter.size:
        factors = (jnp.expm1(log)[:, :, layout.channel_of_bin] for log in (prepared.log_high, prepared.log_low))
        moves = (jnp.einsum("msb,sb->mb", factor, base * rest) for factor in factors)
        more = (_by_parameter(layout, move, layout.normsys_parameter) for move in moves)
        up, down = (a + b for a, b in zip((up, down), more, strict=True))
    return jnp.sum(base * rest, axis=0), up, down


class Derivatives(NamedTuple):
    """Rates and what their derivatives are made of.

    Attributes:
        rates: (bins,); `jacobian` (parameters, bins).
        cells: events (samples, bins), zero factors replaced by `_TINY`.
        additive: $\\partial$ base times factors; `relative`: $\\partial\\ln$ factors; both (parameters, samples, bins).
        own: diagonal second derivatives that are not products of first ones, (parameters, samples, bins).
    """

    rates: Array
    jacobian: Array
    cells: Array
    additive: Array
    relative: Array
    own: Array


def derivatives(layout: Layout, settings: Settings, prepared: Prepared, pars: Array) -> Derivatives:
    """Expected events with first derivatives, and the parts from which `curvature` makes second ones."""
    base, scales, gammas = _parts(layout, settings, prepared, pars)
    alpha = pars[layout.normsys_parameter][:, None, None]
    slope, bend = _twice(lambda a: _norm(settings, prepared, a), alpha)
    mask = jnp.asarray(layout.scale, float)
    slopes, bends = jnp.concatenate([slope, mask]), jnp.concatenate([bend, jnp.zeros_like(mask)])
    safe, safe_gammas = jnp.where(scales == 0, _TINY, scales), jnp.where(gammas == 0, _TINY, gammas)
    factors = jnp.prod(safe, axis=0)[:, layout.channel_of_bin] * jnp.prod(safe_gammas, axis=0)
    cells = base * factors

    rows = np.concatenate([layout.normsys_parameter, layout.scale_parameter])
    relative = _by_parameter(layout, (slopes / safe)[:, :, layout.channel_of_bin], rows)
    own = _by_parameter(layout, (bends / safe)[:, :, layout.channel_of_bin] * cells, rows)
    for parameters, gamma in zip(layout.gamma, safe_gammas, strict=True):
        touched = parameters == np.arange(layout.npars)[:, None, None]
        relative += jnp.where(touched, 1.0 / gamma, 0.0)
    additive = jnp.zeros_like(relative)
    if layout.histosys_parameter.size:
        (du, dd), (ddu, ddd) = _twice(ADDITIVE_CODES[settings.histosys], pars[layout.histosys_parameter])
        spread = (slice(None), None, None)
        up, down = prepared.up * factors, prepared.down * factors
        additive = _by_parameter(layout, du[spread] * up + dd[spread] * down, layout.histosys_parameter)
        own += _by_parameter(layout, ddu[spread] * up + ddd[spread] * down, layout.histosys_parameter)
    nu = jnp.sum(base * jnp.prod(scales, axis=0)[:, layout.channel_of_bin] * jnp.prod(gammas, axis=0), axis=0)
    return Derivatives(nu, jnp.sum(additive + cells * relative, axis=1), cells, additive, relative, own)


def _by_parameter(layout: Layout, rows: Array, parameters: np.ndarray) -> Array:
    """Rows (modifiers, …), each of a different parameter, as (parameters, …)."""
    index = np.full(layout.npars, len(parameters))
    index[parameters] = np.arange(len(parameters))
    return jnp.concatenate([rows, jnp.zeros((1, *rows.shape[1:]))])[index]


def curvature(derivatives: Derivatives, weight: Array) -> Array:
    r"""$\sum_b w_b\,\partial^2\nu_b / \partial\theta_i \partial\theta_j$ for weights (bins,).

    With $r$ the events of a cell, $a_i$ the additive and $l_i$ the relative derivatives:
    $\partial_{ij} r = a_i l_j + l_i a_j + r\,l_i l_j$ for $i \ne j$; on the diagonal $2 a_i l_i$ and the codes' own bend.
    """
    d = derivatives
    flat = (d.relative.shape[0], -1)
    half = (d.additive * weight + 0.5 * weight * d.cells * d.relative).reshape(flat) @ d.relative.reshape(flat).T
    diagonal = jnp.sum((2.0 * d.additive * d.relative + d.own) * weight, axis=(1, 2))
    return jnp.where(jnp.eye(len(diagonal), dtype=bool), diagonal, half + half.T)


def _twice(function: Callable[[Array], Any], x: Array) -> tuple[Any, Any]:
    """First and second derivative of an elementwise function."""
    ones = jnp.ones_like(x)

    def slope(a: Array) -> Any:
        return jax.jvp(function, (a,), (ones,))[1]

    return jax.jvp(slope, (x,), (ones,))
