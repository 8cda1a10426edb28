"""Soft operations: what an analyst does to events, made differentiable, each with its exact hard twin."""

from __future__ import annotations

from diffea.soft.context import hard, is_hard, sharpened
from diffea.soft.counts import at_least, at_most, count, exactly
from diffea.soft.cuts import above, all_of, any_of, below, between, not_, outside

__all__ = [
    "above",
    "all_of",
    "any_of",
    "at_least",
    "at_most",
    "below",
    "between",
    "count",
    "exactly",
    "hard",
    "is_hard",
    "not_",
    "outside",
    "sharpened",
]
