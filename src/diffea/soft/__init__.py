"""Soft operations: what an analyst does to events, made differentiable, each with its exact hard twin."""

from __future__ import annotations

from diffea.soft.choices import choice
from diffea.soft.combinatorics import away_from, pairs
from diffea.soft.context import hard, is_hard, sharpened
from diffea.soft.corrections import ScaleFactor, reweight
from diffea.soft.counts import at_least, at_most, count, exactly
from diffea.soft.cuts import above, all_of, any_of, below, between, not_, outside
from diffea.soft.kinematics import delta_phi, delta_r, invariant_mass
from diffea.soft.objects import leading, max, min, nth, sum
from diffea.soft.sorting import rank, sort

__all__ = [
    "ScaleFactor",
    "above",
    "all_of",
    "any_of",
    "at_least",
    "at_most",
    "away_from",
    "below",
    "between",
    "choice",
    "count",
    "delta_phi",
    "delta_r",
    "exactly",
    "hard",
    "invariant_mass",
    "is_hard",
    "leading",
    "max",
    "min",
    "not_",
    "nth",
    "outside",
    "pairs",
    "rank",
    "reweight",
    "sharpened",
    "sort",
    "sum",
]
