"""Learning: what networks need beside a physics result to minimise."""

from __future__ import annotations

from diffea.learning.bins import quantile_edges, with_axis
from diffea.learning.cross_entropy import CrossEntropy
from diffea.learning.floor import with_floor

__all__ = ["CrossEntropy", "quantile_edges", "with_axis", "with_floor"]


def __dir__() -> list[str]:
    return __all__
