"""Check: what is wrong with an analysis, told before anything is trained."""

from __future__ import annotations

from diffea.check.findings import Finding, findings
from diffea.check.look import Look, look

__all__ = ["Finding", "Look", "findings", "look"]
