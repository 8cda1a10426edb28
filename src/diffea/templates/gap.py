"""The soft–hard gap: how far the templates that were optimised are from those that exact cuts give."""

from __future__ import annotations

import warnings

import numpy as np

from diffea.errors import SoftHardGapWarning
from diffea.templates.layout import NOMINAL
from diffea.templates.template_set import TemplateSet

__all__ = ["soft_hard_gap"]


def soft_hard_gap(soft: TemplateSet, hard: TemplateSet, *, warn_above: float = 0.1) -> dict[str, float]:
    """The soft–hard gap of each channel: ``Σ |soft - hard|`` over the bins of its nominal templates, as a share of the yield.

    Args:
        soft: templates of soft cuts and kernels.
        hard: templates of the same events with exact cuts.
        warn_above: the share above which to warn of a channel.

    Returns:
        By channel; the yield is the larger one of ``Σ |soft|`` and ``Σ |hard|``.

    Warns:
        SoftHardGapWarning: for a channel whose gap is above the share.
    """
    found = gaps(soft, hard)
    for channel, gap in found.items():
        if gap > warn_above:
            msg = (
                f"in the channel {channel!r} soft and hard templates differ by {gap:.0%} (above {warn_above:.0%}): "
                "anneal the widths further, or take narrower bandwidths"
            )
            warnings.warn(msg, SoftHardGapWarning, stacklevel=2)
    return found


def gaps(soft: TemplateSet, hard: TemplateSet) -> dict[str, float]:
    """The soft–hard gap of each channel, as of ``soft_hard_gap``, without a warning."""
    sums: dict[str, np.ndarray] = {}
    for key in hard:
        channel, _, variation = key
        if variation == NOMINAL:
            smooth, exact = np.asarray(soft[key].values), np.asarray(hard[key].values)
            found = [np.sum(np.abs(bins)) for bins in (smooth - exact, smooth, exact)]
            sums[channel] = sums.get(channel, 0.0) + np.array(found)
    return {channel: float(apart / max(*yields, 1e-300)) for channel, (apart, *yields) in sums.items()}
