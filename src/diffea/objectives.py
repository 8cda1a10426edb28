"""What is minimised: plain functions of a bound model, differentiable in all of its numbers.

What they share is said here once. All of them take ``bound``, a bound model, first; `cls`, `log_cls`, `upper_limit`, `discovery`,
`discovery_significance`, `poi_uncertainty` and `generalised_variance` also a likelihood of one's own, bound to its templates
(``statistics.Likelihood``), whose ``data`` are templates with the data in them. Those that can look at data have

- ``data``: events of all bins and auxiliary data. Without them an objective takes Asimov data: background only at the
  nuisance parameters' initial values (`discovery`: signal plus background). Observed data enter only if given by name.
- ``solver``: how to fit, a ``diffea.statistics.Solver``.

They raise `FitError` if a fit does not converge, `DataError` if data are too few or too many, negative or NaN, and `ParameterError` if a signal
strength is not one finite number; `cls`, `log_cls`,
`upper_limit`, `discovery` and `discovery_significance` raise `YieldError` if a bin of their Asimov data has signal and no background.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import DataError, ParameterError
from diffea.statistics import asymptotics, diagnostics, own
from diffea.statistics import hypotests as _tests
from diffea.statistics import limits as _limits
from diffea.statistics import own_tests as _own
from diffea.statistics.config import free_poi_index
from diffea.statistics.estimates import chosen, covariance_of_all
from diffea.statistics.fits import Fit, codes, ensure_codes
from diffea.statistics.given import level, strength
from diffea.statistics.given import numbers as real
from diffea.statistics.likelihood import counted, weights
from diffea.statistics.model import BoundModel
from diffea.statistics.own import BoundLikelihood, poi_place
from diffea.statistics.rates import rates
from diffea.statistics.ratios import Statistic
from diffea.statistics.solver import CONVERGED, NO_BACKGROUND, Solver
from diffea.statistics.yields import is_concrete
from diffea.types import PyTree

_Ends = dict[str, tuple[Array, Array]]

__all__ = [
    "binary_cross_entropy",
    "cls",
    "counting_significance",
    "cross_entropy",
    "cross_entropy_with_variations",
    "discovery",
    "discovery_significance",
    "generalised_variance",
    "log_cls",
    "mc_statistical_error",
    "nuisance_penalty",
    "poi_uncertainty",
    "upper_limit",
]


Bound = BoundModel | BoundLikelihood
ROUNDING = 1e-6  # by which a score may be beyond 0 or 1


def cls(
    bound: Bound,
    poi_test: float | Array = 1.0,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""CLs of a value of the parameter of interest; by default the median expected one (neos, arXiv:2203.05570).

    $CL_s = \Phi(-(t + \sqrt{q_A})) / \Phi(-t)$ (arXiv:1007.1727); on background-only Asimov data $2\Phi(-\sqrt{q_A})$.

    It falls like $e^{-q_A/2}$: a signal excluded by more than some 10 sigma has a CLs whose gradient moves nothing, and at 38
    sigma both are exactly 0. Minimise `log_cls` there, which has the same minimum.

    >>> round(float(objectives.cls(bound, poi_test=1.0)), 4)
    0.3059

    Args:
        poi_test: tested value.
        test_stat: ``"qtilde"`` or ``"q"``.
    """
    return _tested(bound, poi_test, data, test_stat, solver)[0]


def log_cls(
    bound: Bound,
    poi_test: float | Array = 1.0,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""Natural logarithm of `cls`, with all digits and a gradient however strong the signal.

    It is made of logarithms of the normal distribution's tail, and never of CLs itself; $\exp$ of it is `cls`.

    >>> round(float(jnp.exp(objectives.log_cls(bound, poi_test=1.0))), 4)
    0.3059

    Args:
        poi_test: tested value.
        test_stat: ``"qtilde"`` or ``"q"``.
    """
    return _tested(bound, poi_test, data, test_stat, solver)[1]


def upper_limit(
    bound: Bound,
    cl: float = 0.95,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""Upper limit on the parameter of interest from CLs; by default the median expected one.

    The μ at which $CL_s(\mu) = 1 - \mathrm{cl}$; expected: $\sqrt{q_A(\mu)} = \Phi^{-1}(1 - (1-\mathrm{cl})/2)$
    (arXiv:1007.1727, section 4.3, with CLs).

    >>> round(float(objectives.upper_limit(bound)), 3)
    1.92

    Args:
        cl: confidence level.
        test_stat: ``"qtilde"`` or ``"q"``.

    Raises:
        FitError: also if no value is excluded.
    """
    solver = solver or Solver()
    if isinstance(bound, BoundLikelihood):
        found = _own.upper_limit(bound, cl, data, test_stat, solver)
        return found.expected if found.observed is None else found.observed
    limit, ends = _limit(bound, level(cl, "upper_limit"), _whole(bound, data), test_stat, solver)
    ensure_codes(bound.layout, solver, ends)
    return limit


def discovery(bound: Bound, data: Any = None, *, poi_true: float | Array = 1.0, solver: Solver | None = None) -> Array:
    r"""p-value of the background-only hypothesis, $p_0 = \Phi(-\sqrt{q_0})$ (arXiv:1007.1727, eqs. 12 and 52).

    Args:
        poi_true: signal strength of the Asimov data.
    """
    return _discovered(bound, data, poi_true, solver)[0]


def discovery_significance(
    bound: Bound, data: Any = None, *, poi_true: float | Array = 1.0, solver: Solver | None = None
) -> Array:
    r"""Discovery significance $Z = \sqrt{q_0}$ (arXiv:1007.1727, eq. 53); larger is better, so minimise its negative.

    >>> round(float(objectives.discovery_significance(bound)), 3)
    1.026

    Args:
        poi_true: signal strength of the Asimov data.
    """
    return _discovered(bound, data, poi_true, solver)[1]


def counting_significance(bound: BoundModel, relative_uncertainty: float | Array = 0.0) -> Array:
    r"""Significance of independent counting experiments, one in each bin; larger is better. No fit.

    Without uncertainty $Z_b^2 = 2[(s+b)\ln(1 + s/b) - s]$ (arXiv:1007.1727, eq. 97); with background uncertainty σ
    $$Z_b^2 = 2\Big[(s+b)\ln\frac{(s+b)(b+\sigma^2)}{b^2+(s+b)\sigma^2}
      - \frac{b^2}{\sigma^2}\ln\Big(1 + \frac{\sigma^2 s}{b(b+\sigma^2)}\Big)\Big]$$
    (Cowan, "Discovery sensitivity for a counting experiment with background uncertainty", 2012, eq. 20);
    $Z = \sqrt{\sum_b Z_b^2}$, with the expectations s and b at initial nuisance parameters. Bins without background do
    not count.

    >>> round(float(objectives.counting_significance(bound)), 3)
    1.437
    >>> round(float(objectives.counting_significance(bound, relative_uncertainty=0.1)), 3)
    1.135

    Args:
        relative_uncertainty: σ/b, scalar or shape (bins,).

    Raises:
        ParameterError: for one of another shape, or negative or NaN.
    """
    background, signal = diagnostics.background_and_signal(bound)
    relative = _relative(relative_uncertainty, background)
    usable = (background > 0) & (signal > 0)
    b, s = jnp.where(usable, background, 1.0), jnp.where(usable, signal, 0.0)
    known = relative != 0
    variance = (jnp.where(known, relative, 1.0) * b) ** 2
    n = s + b
    plain = n * jnp.log1p(s / b) - s
    first = n * jnp.log(n * (b + variance) / (b**2 + n * variance))
    uncertain = first - b**2 / variance * jnp.log1p(variance * s / (b * (b + variance)))
    return asymptotics.root(2.0 * jnp.sum(jnp.where(usable, jnp.where(known, uncertain, plain), 0.0)))


def poi_uncertainty(
    bound: Bound, data: Any = None, *, poi_true: float | Array = 0.0, solver: Solver | None = None
) -> Array:
    r"""Uncertainty of the parameter of interest, $\sqrt{(I^{-1})_{\mu\mu}}$ (INFERNO, arXiv:1806.04743).

    On Asimov data $I$ is the Fisher information at the parameters they were made with, so no fit is needed; on other data
    it is the observed information at their best fit, at a bound of the parameter of interest too.

    >>> round(float(objectives.poi_uncertainty(bound)), 3)
    0.956

    Args:
        poi_true: value of the parameter of interest behind the Asimov data (INFERNO takes signal plus background, 1).
    """
    index = poi_place(bound) if isinstance(bound, BoundLikelihood) else free_poi_index(bound.layout, bound.settings)
    cov, _, _ = _covariance(bound, data, poi_true, solver)
    return jnp.sqrt(cov[index, index])


def nuisance_penalty(
    bound: BoundModel, data: Any = None, *, poi_true: float | Array = 0.0, solver: Solver | None = None
) -> Array:
    r"""Penalty on over- and under-constrained nuisances, $\sum_j (1 - \sigma_j/\sigma_j^\text{prior})^2$.

    neos (arXiv:2203.05570) quotes $1 - \sigma_\gamma$ of each loss. Per-bin parameters do not count.

    Args:
        poi_true: value of the parameter of interest behind the Asimov data.
    """
    cov, free, _ = covariance_of_all(bound, data, poi_true, solver)
    prior = diagnostics.prior_widths(bound, bound.prepared())
    scalar = np.concatenate([np.full(s.n_parameters, s.is_scalar) for s in bound.layout.sets.values()])
    counts = scalar & free & jnp.isfinite(prior) & (prior > 0)
    sigma = jnp.sqrt(jnp.where(counts, jnp.diagonal(cov), 1.0))
    return jnp.sum(jnp.where(counts, (1.0 - sigma / jnp.where(counts, prior, 1.0)) ** 2, 0.0))


def generalised_variance(
    bound: Bound,
    parameters: Sequence[str] | None = None,
    data: Any = None,
    *,
    poi_true: float | Array = 0.0,
    solver: Solver | None = None,
) -> Array:
    r"""Determinant of the covariance of some parameters (Wilks 1932; "D-optimality"), all others profiled.

    Of several parameters of interest, ``parameters=["mu_ggf", "mu_vbf"]``, it is the squared area of their error ellipse (over π²).
    Infinite if nothing measures one of them; fixed ones do not count.

    Args:
        parameters: names of parameters (``"mu"``, ``"gamma[3]"``) or of sets (``"gamma"``); all free ones by default.
        poi_true: value of the parameter of interest, if there is one, behind the Asimov data.

    Raises:
        SpecError: for a parameter that is none, or twice the same.
    """
    cov, free, _ = _covariance(bound, data, poi_true, solver)
    places = own.chosen(bound, parameters) if isinstance(bound, BoundLikelihood) else chosen(bound, parameters)
    block, free = cov[np.ix_(places, places)], free[places]
    unmeasured = free & jnp.isinf(jnp.diagonal(block))
    keep = free & ~unmeasured
    return jnp.where(
        unmeasured.any(), jnp.inf, jnp.linalg.det(jnp.where(keep[:, None] & keep, block, jnp.eye(len(places))))
    )


def mc_statistical_error(bound: BoundModel) -> Array:
    r"""Penalty on templates carried by few simulated events: $\frac{1}{B}\sum_b \delta_b^2 / \nu_b$. No fit.

    δ² is the variance of the simulation (from staterror and shapesys), ν the expected background: the mean ratio of
    the simulation's variance to that of the data it predicts (Barlow and Beeston, CPC 77 (1993) 219, ask for ≪ 1).
    """
    layout, prepared = bound.layout, bound.prepared()
    variance = jnp.zeros(layout.nbins_total)
    for table, _, _ in layout.staterror:
        variance += jnp.sum(jnp.append(bound.yields.staterror, 0.0)[table] ** 2, axis=0)
    for _, bins, table, _ in layout.shapesys:
        variance = variance.at[bins].add(bound.yields.shapesys[table] ** 2)
    nu = rates(layout, bound.settings, prepared, diagnostics.at_asimov(bound, 0.0))
    filled = nu > 0
    which = counted(layout, bound.settings)
    ratio = jnp.where(filled, variance / jnp.where(filled, nu, 1.0), 0.0)
    return jnp.mean(ratio if which is None else ratio[np.flatnonzero(which)])


def cross_entropy(bound: BoundModel) -> Array:
    r"""Cross-entropy of telling signal from background by the bin an event is in. No fit.

    $$-\tfrac12\sum_b \Big[\hat s_b \ln\frac{\hat s_b}{\hat s_b + \hat b_b}
      + \hat b_b\ln\frac{\hat b_b}{\hat s_b+\hat b_b}\Big]$$
    with shapes normalised to 1: ln 2 if both are alike, 0 if they do not overlap. ln 2 too if one of them
    has no events. A bin where negative weights outweigh the others counts as one without events. The binned form of the baseline of neos (arXiv:2203.05570);
    `binary_cross_entropy` is the one on events.
    """
    background, signal = diagnostics.background_and_signal(bound)
    return _binned_entropy(signal, background)


def cross_entropy_with_variations(bound: BoundModel) -> Array:
    r"""`cross_entropy` with systematic variations mixed into the background in equal parts. No fit.

    The background is the mean of the nominal expectation and those with each normsys and histosys at ±1σ: the second
    baseline of neos (arXiv:2203.05570).
    """
    layout, prepared = bound.layout, bound.prepared()
    _, signal = diagnostics.background_and_signal(bound)
    nominal = diagnostics.at_asimov(bound, 0.0)
    shifted = _shifting(bound)
    steps = np.zeros((2 * len(shifted) + 1, layout.npars))
    for row, parameter in enumerate(shifted):
        steps[2 * row, parameter], steps[2 * row + 1, parameter] = 1.0, -1.0
    all_rates = jax.vmap(lambda step: rates(layout, bound.settings, prepared, nominal + step))(jnp.asarray(steps))
    return _binned_entropy(signal, weights(layout, bound.settings) * jnp.mean(all_rates, axis=0))


def binary_cross_entropy(score: Array, label: Array, weight: Array | None = None) -> Array:
    r"""Mean weighted cross-entropy of a classifier's scores, $-\sum_i w_i [y_i\ln p_i + (1-y_i)\ln(1-p_i)] / \sum_i w_i$.

    Args:
        score: probability of being signal, within 0 and 1, shape (events,).
        label: 1 for signal, 0 for background, shape (events,).
        weight: shape (events,); all alike by default.

    Raises:
        DataError: if the shapes are not the same, a score or label is known and not within 0 and 1, or the known weights add up to 0. Scores that
            are being traced and are not probabilities make the loss NaN.
    """
    score, label = real(score, "scores", DataError), real(label, "labels", DataError)
    weight = jnp.ones_like(score) if weight is None else real(weight, "weights", DataError)
    score = _probabilities(score, label, weight)
    tiny = jnp.finfo(score.dtype).tiny
    terms = label * jnp.log(jnp.maximum(score, tiny)) + (1 - label) * jnp.log(jnp.maximum(1 - score, tiny))
    return -jnp.sum(weight * terms) / jnp.sum(weight)


def _probabilities(score: Array, label: Array, weight: Array) -> Array:
    """The scores, NaN where they are no probabilities, once it is seen that each has a label and a weight."""
    if not score.shape == label.shape == weight.shape:
        msg = (
            f"expected a label and a weight for each score, got shapes {score.shape}, {label.shape} and {weight.shape}"
        )
        raise DataError(msg)
    within = (score >= -ROUNDING) & (score <= 1 + ROUNDING) & (label >= 0) & (label <= 1)
    if is_concrete((within, weight)) and not (within.all() and weight.sum() != 0):
        msg = (
            "expected scores and labels within 0 and 1 and weights that do not add up to 0, got "
            f"{jnp.sum(~within)} others of {score.size}, and a sum of weights of {weight.sum()}"
        )
        raise DataError(msg)
    return jnp.where(within, score, jnp.nan)


def _relative(given: PyTree, background: Array) -> Array:
    """A relative uncertainty for each bin, NaN where it is none."""
    relative = real(given, "relative_uncertainty", ParameterError)
    some = relative >= 0
    if relative.shape not in ((), background.shape) or (is_concrete(some) and not some.all()):
        msg = f"relative_uncertainty: expected numbers of 0 or more, one or one a bin ({background.size}), got {given!r:.200}"
        raise ParameterError(msg)
    return jnp.broadcast_to(jnp.where(some, relative, jnp.nan), background.shape)


def _shifting(bound: BoundModel) -> np.ndarray:
    """Parameters of normsys and histosys in channels that are fitted."""
    layout, which = bound.layout, counted(bound.layout, bound.settings)
    here = np.ones(layout.nbins_total, bool) if which is None else which
    shapes = (layout.histosys < bound.yields.histosys_hi.size)[:, :, here].any(axis=(1, 2))
    factors = (layout.normsys < bound.yields.normsys_hi.size)[:, :, layout.channel_of_bin[here]].any(axis=(1, 2))
    return np.unique(np.concatenate([layout.histosys_parameter[shapes], layout.normsys_parameter[factors]]))


def _binned_entropy(signal: Array, background: Array) -> Array:
    signal, background = jnp.maximum(signal, 0.0), jnp.maximum(background, 0.0)
    sums = jnp.sum(signal), jnp.sum(background)
    s, b = (part / jnp.where(total > 0, total, 1.0) for part, total in zip((signal, background), sums, strict=True))

    def terms(part: Array) -> Array:
        filled = part > 0
        return jnp.where(filled, part * jnp.log(jnp.where(filled, part / jnp.where(filled, s + b, 1.0), 1.0)), 0.0)

    nothing_to_tell = (sums[0] <= 0) | (sums[1] <= 0)
    return jnp.where(nothing_to_tell, jnp.log(2.0), -0.5 * jnp.sum(terms(s) + terms(b)))


def _tested(
    bound: Bound, poi: float | Array, data: Any, test_stat: Statistic, solver: Solver | None
) -> tuple[Array, Array]:
    """CLs and its logarithm."""
    if isinstance(bound, BoundLikelihood):
        test = _own.hypotest(bound, poi, data, test_stat, solver)
        return test.cls, test.log_cls
    solver = solver or Solver()
    numbers, ends = _test(bound, strength(poi, "poi_test"), _whole(bound, data), test_stat, solver)
    ensure_codes(bound.layout, solver, ends)
    return numbers


def _discovered(bound: Bound, data: Any, poi: float | Array, solver: Solver | None) -> tuple[Array, Array]:
    """The p-value and the significance."""
    if isinstance(bound, BoundLikelihood):
        test = _own.discovery(bound, data, poi, solver)
        return test.p_value, test.significance
    solver = solver or Solver()
    numbers, ends = _discover(bound, strength(poi, "poi_true"), _whole(bound, data), solver)
    ensure_codes(bound.layout, solver, ends)
    return numbers


def _covariance(
    bound: Bound, data: Any, poi_true: float | Array, solver: Solver | None
) -> tuple[Array, Array, Fit | None]:
    if isinstance(bound, BoundLikelihood):
        return own.covariance_of_all(bound, data, poi_true, solver)
    return covariance_of_all(bound, data, poi_true, solver)


# Only what is minimised leaves these three, and whether its fits converged: derivatives of all that a test tells besides would
# have to be compiled too.
@functools.partial(jax.jit, static_argnames=("test_stat", "solver"))
def _test(
    bound: BoundModel, poi: Array, data: Array | None, test_stat: Statistic, solver: Solver
) -> tuple[tuple[Array, Array], _Ends]:
    test = _tests.hypotest(bound, poi, data, test_stat=test_stat, solver=_quiet(solver))
    return (test.cls, test.log_cls), _ends(bound, data, test.fits)


@functools.partial(jax.jit, static_argnames=("solver",))
def _discover(bound: BoundModel, poi: Array, data: Array | None, solver: Solver) -> tuple[tuple[Array, Array], _Ends]:
    test = _tests.discovery(bound, data, poi_true=poi, solver=_quiet(solver))
    return (test.p_value, test.significance), _ends(bound, data, test.fits)


@functools.partial(jax.jit, static_argnames=("cl", "test_stat", "solver"))
def _limit(
    bound: BoundModel, cl: float, data: Array | None, test_stat: Statistic, solver: Solver
) -> tuple[Array, _Ends]:
    limit = _limits.upper_limit(bound, cl, data, test_stat=test_stat, solver=_quiet(solver))
    return limit.expected if limit.observed is None else limit.observed, _ends(bound, data, limit.fits)


def _whole(bound: BoundModel, data: Any) -> Array | None:
    return None if data is None else bound.whole(data)


def _quiet(solver: Solver) -> Solver:
    return replace(solver, throw=False)


def _ends(bound: BoundModel, data: Array | None, fits: Mapping[str, Fit]) -> _Ends:
    """How fits ended, and whether signal has no background where Asimov data are to be made of it."""
    if data is not None:
        return codes(fits)
    background, signal = diagnostics.background_and_signal(bound)
    bare = (background <= 0) & (signal > 0)
    status = jnp.where(bare.any(), NO_BACKGROUND, CONVERGED)
    return {"the expected data": (status, jnp.where(bare.any(), jnp.argmax(bare), -1)), **codes(fits)}
