"""Categories in several scores: regions that a Gaussian mixture, or planes, divide them into; and penalties for categories of little use.

As gato-hep learns them (Erdmann, Kasaraguppe, Mausolf, arXiv:2601.07756). A channel of such categories has a category axis,
``hist.axis.IntCategory(range(categories))``, and each event fills it with its probability of each category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import OptionError
from diffea.soft.context import is_hard, width_scale
from diffea.soft.transition import checked_width
from diffea.templates import TemplateSet
from diffea.types import AnyArray

Regions = Mapping[str, AnyArray]
EMPTY = 10.0  # the largest error that counts, in units of the one asked for


def gaussian_regions(params: Regions, x: jax.Array, *, temperature: ArrayLike = 1.0) -> jax.Array:
    r"""The probability of each category, softmax(ℓ / temperature) of $\ell_k = \ln\pi_k + \ln N(x; \mu_k, \Sigma_k)$.

    Under ``soft.hard()`` it is 1 for the largest, 0 for all others. Regions end where two of these are equal: at conics.

    ::

        yield diffea.Fill("categories", learning.gaussian_regions(params["regions"], scores), columns["weight"])

    Args:
        params: such as ``gaussians`` makes: ``mean``, shape (categories, scores); ``precision``, (categories, scores, scores): of
            $A_k$ with $A_k^T A_k = \Sigma_k^{-1}$ the lower triangle, the logarithm of the diagonal in its diagonal; ``logit``, (categories,).
        x: shape (events, scores).
        temperature: positive; the smaller, the nearer to one category. ``soft.sharpened`` and ``widths`` scale it like a width.

    Returns:
        shape (events, categories).

    Raises:
        OptionError: if shapes do not fit.
        WidthError: when the temperature is known and not positive.
    """
    mean, precision, logit = (jnp.asarray(params[name]) for name in ("mean", "precision", "logit"))
    categories, scores = mean.shape
    if (
        x.ndim != 2
        or x.shape[1] != scores
        or precision.shape != (categories, scores, scores)
        or logit.shape != (categories,)
    ):
        msg = (
            f"regions of {categories} Gaussians in {scores} scores need x of shape (events, {scores}), precision of shape "
            f"{(categories, scores, scores)} and logit of shape {(categories,)}, got {x.shape}, {precision.shape} and {logit.shape}"
        )
        raise OptionError(msg)
    logs = jnp.diagonal(precision, axis1=1, axis2=2)
    triangle = jnp.tril(precision, -1) + jnp.exp(logs)[:, :, None] * jnp.eye(scores)
    distance = jnp.einsum("kij,ej->eki", triangle, x) - jnp.einsum("kij,kj->ki", triangle, mean)
    return _shares(jax.nn.log_softmax(logit) + jnp.sum(logs, axis=1) - 0.5 * jnp.sum(distance**2, axis=2), temperature)


def plane_regions(params: Regions, x: jax.Array, *, temperature: ArrayLike = 1.0) -> jax.Array:
    """The probability of each category, softmax((x·slope + offset) / temperature); regions end at planes.

    Args:
        params: such as ``planes`` makes: ``slope``, shape (scores, categories), and ``offset``, (categories,).
        x, temperature: as for ``gaussian_regions``, which says the rest.
    """
    slope, offset = jnp.asarray(params["slope"]), jnp.asarray(params["offset"])
    if x.ndim != 2 or slope.shape != (x.shape[1], *offset.shape):
        msg = f"regions between planes need slope of shape (scores, categories) = ({x.shape[-1]}, {offset.size}), got {slope.shape}"
        raise OptionError(msg)
    return _shares(x @ slope + offset, temperature)


def gaussians(categories: int, low: Sequence[float], high: Sequence[float], seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters of ``gaussian_regions`` to start from: centres drawn evenly from a box, widths by which they fill it.

    Args:
        categories: how many.
        low, high: of the box, one number a score.
        seed: of the draw.
    """
    corner, range_ = np.asarray(low, float), np.asarray(high, float) - np.asarray(low, float)
    _check(categories, corner, range_)
    mean = corner + range_ * np.random.default_rng(seed).random((categories, corner.size))
    widths = 0.5 * range_ / categories ** (1.0 / corner.size)
    precision = np.tile(np.diag(-np.log(widths)), (categories, 1, 1))
    return {"mean": mean, "precision": precision, "logit": np.zeros(categories)}


def planes(categories: int, low: Sequence[float], high: Sequence[float], seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters of ``plane_regions`` to start from: the regions nearest to each of the centres of ``gaussians``, all of one width."""
    start = gaussians(categories, low, high, seed)
    squares = np.exp(2.0 * start["precision"][0].diagonal())
    return {"slope": (start["mean"] * squares).T, "offset": -0.5 * np.sum(start["mean"] ** 2 * squares, axis=1)}


def low_yields(templates: TemplateSet, channel: str, background: Sequence[str], at_least: float) -> jax.Array:
    r"""Penalty on bins with little background, $\sum_b \max(0, 1 - B_b / \text{at\_least})^2$.

    Args:
        templates: with the channel.
        background: whose samples count together.
        at_least: events in a bin, above 0.
    """
    values, _ = _together(templates, channel, background, at_least)
    return jnp.sum(jnp.maximum(0.0, 1.0 - values / at_least) ** 2)


def large_errors(templates: TemplateSet, channel: str, background: Sequence[str], at_most: float) -> jax.Array:
    r"""Penalty on bins that too few simulated events carry, $\sum_b \max(0, \sqrt{V_b} / (\text{at\_most} B_b) - 1)^2$.

    No bin counts as one with an error of more than ten times ``at_most``, as an empty one does, where the gradient is zero: ``low_yields``
    leads out of there.

    Args:
        templates: with the channel.
        background: whose samples count together; V is their Σw².
        at_most: relative error, above 0.
    """
    values, variances = _together(templates, channel, background, at_most)
    filled = (values > 0) & (variances > 0)
    error = jnp.sqrt(jnp.where(filled, variances, 1.0)) / jnp.where(filled, values, 1.0)
    relative = jnp.where(filled, error, EMPTY * at_most) / at_most
    return jnp.sum(jnp.clip(relative - 1.0, 0.0, EMPTY - 1.0) ** 2)


def _shares(logits: jax.Array, temperature: ArrayLike) -> jax.Array:
    temperature, scale = checked_width(temperature), width_scale()
    if is_hard():
        return jax.nn.one_hot(jnp.argmax(logits, axis=1), logits.shape[1], dtype=logits.dtype)
    return jax.nn.softmax(logits / (temperature if scale is None else temperature * scale), axis=1)


def _together(
    templates: TemplateSet, channel: str, background: Sequence[str], asked: float
) -> tuple[jax.Array, jax.Array]:
    """Values and variances of some samples."""
    if not background or isinstance(background, str) or not asked > 0:
        msg = f"a penalty needs a list of background samples and a positive number, got {background!r} and {asked!r}"
        raise OptionError(msg)
    found = [templates[channel, sample] for sample in background]
    values, variances = jnp.stack([one.values for one in found]), jnp.stack([one.variances for one in found])
    return jnp.sum(values, axis=0), jnp.sum(variances, axis=0)


def _check(categories: int, corner: np.ndarray, range_: np.ndarray) -> None:
    if corner.ndim != 1 or not (np.isfinite(range_).all() and (range_ > 0).all()) or not categories >= 1:
        msg = f"regions start in a box with low < high for each score, and have at least one category, got {categories}, {corner}, +{range_}"
        raise OptionError(msg)
