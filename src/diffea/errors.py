"""Every error that diffea raises, each with what was expected, what was got, where, and what to do."""

from __future__ import annotations


class DiffeaError(Exception):
    """Base of every error of diffea."""
