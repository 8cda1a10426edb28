"""Words for what result.json says in code."""

from __future__ import annotations

import re

NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"


def objective_in_words(objective: str) -> str:
    """An objective in a physicist's words where it is one of the two common ones, such as ``Expected CLs at μ = 1``."""
    if match := re.fullmatch(rf"cls(?:\(poi_test=({NUMBER})\))?", objective):
        return f"Expected CLs at μ = {float(match[1] or 1):g}"
    return "Expected upper limit" if re.fullmatch(r"upper_limit(\(cl=0\.95\))?", objective) else objective
