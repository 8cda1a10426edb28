"""Differentiable coffea: one JAX function over all of the data of an analysis."""

from __future__ import annotations

from diffea import runtime as _runtime  # noqa: F401  (64-bit JAX before anything traces)

# isort: split
from diffea import errors, exchange, learning, objectives, soft
from diffea.analysis import Analysis, Pretraining, Variant
from diffea.distributed import distribute
from diffea.evaluate import evaluate
from diffea.events.ragged import Ragged
from diffea.events.splits import Split
from diffea.histograms import histogram
from diffea.optimise import Composite, Constraint, anneal, optimise
from diffea.processor import DifferentiableProcessor, Fill
from diffea.statistics import HistFactory
from diffea.templates import Template, TemplateSet

__all__ = [
    "Analysis",
    "Composite",
    "Constraint",
    "DifferentiableProcessor",
    "Fill",
    "HistFactory",
    "Pretraining",
    "Ragged",
    "Split",
    "Template",
    "TemplateSet",
    "Variant",
    "anneal",
    "distribute",
    "errors",
    "evaluate",
    "exchange",
    "histogram",
    "learning",
    "objectives",
    "optimise",
    "soft",
]


def __dir__() -> list[str]:
    return __all__
