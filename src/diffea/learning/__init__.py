"""Learning: what networks need beside a physics result to minimise."""

from __future__ import annotations

from diffea.learning.bins import quantile_edges, with_axis
from diffea.learning.cross_entropy import CrossEntropy
from diffea.learning.floor import with_floor
from diffea.learning.inputs import Standardised, standardised
from diffea.learning.modules import Module

__all__ = ["CrossEntropy", "Module", "Standardised", "quantile_edges", "standardised", "with_axis", "with_floor"]


def __dir__() -> list[str]:
    return __all__
