"""The processor: what a user writes."""

from __future__ import annotations

from diffea.processor.base import DifferentiableProcessor, axes_of
from diffea.processor.fill import Fill

__all__ = ["DifferentiableProcessor", "Fill", "axes_of"]
