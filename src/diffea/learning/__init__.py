"""Learning: what networks need beside a physics result to minimise."""

from __future__ import annotations

from diffea.learning.cross_entropy import CrossEntropy

__all__ = ["CrossEntropy"]


def __dir__() -> list[str]:
    return __all__
