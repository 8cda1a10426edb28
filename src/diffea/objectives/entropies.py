"""Cross-entropies, of bins and of events."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import DataError
from diffea.statistics import diagnostics
from diffea.statistics.bound import BoundModel
from diffea.statistics.given import numbers as real
from diffea.statistics.likelihood import counted, weights
from diffea.statistics.rates import rates
from diffea.statistics.yields import is_concrete

ROUNDING = 1e-6  # by which a score may be beyond 0 or 1


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
