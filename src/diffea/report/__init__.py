"""The report of a run: one self-contained HTML page made from the files that the run left behind."""

from __future__ import annotations

from diffea.report.page import write

__all__ = ["write"]
