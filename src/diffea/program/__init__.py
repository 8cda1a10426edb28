"""The program: everything that is compiled of a processor."""

from __future__ import annotations

from diffea.program.kernels import Kernels, kernels_of
from diffea.program.runner import ProcessorAt
from diffea.program.structure import Structure, pieces, structured

__all__ = ["Kernels", "ProcessorAt", "Structure", "kernels_of", "pieces", "structured"]
