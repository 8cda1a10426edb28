"""Differentiable coffea: one JAX function over all of the data of an analysis."""

from __future__ import annotations

from diffea import runtime as _runtime  # noqa: F401  (64-bit JAX before anything traces)
