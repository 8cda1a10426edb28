"""The program: everything that is compiled of a processor."""

from __future__ import annotations

from diffea.program.cuts import reading, selected, surveyed
from diffea.program.exact import rounded
from diffea.program.hard import hard_sums
from diffea.program.program import Mode, Program
from diffea.program.replicated import replicated_sums
from diffea.program.runner import ProcessorAt
from diffea.program.structure import Structure, pieces, structured

__all__ = [
    "Mode",
    "ProcessorAt",
    "Program",
    "Structure",
    "hard_sums",
    "pieces",
    "reading",
    "replicated_sums",
    "rounded",
    "selected",
    "structured",
    "surveyed",
]
