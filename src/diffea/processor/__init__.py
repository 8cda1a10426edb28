"""The processor: what a user writes, and its kernels."""

from __future__ import annotations

from diffea.processor.base import DifferentiableProcessor, axes_of
from diffea.processor.fill import Fill
from diffea.processor.kernels import Kernels, kernels_of
from diffea.processor.structure import Structure, structured

__all__ = ["DifferentiableProcessor", "Fill", "Kernels", "Structure", "axes_of", "kernels_of", "structured"]
