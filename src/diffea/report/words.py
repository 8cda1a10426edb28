"""Words for what result.json says in code."""

from __future__ import annotations

import re

NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
STAGES = {
    "read": "reading columns, all workers",
    "compile": "compiling, all workers",
    "compute": "computing, all workers",
    "reduce": "adding up, all workers",
    "wall": "passes from end to end",
    "driver": "between passes: statistics, optimizer",
}
EXPLAINED = {
    "cls": "the expected CLs: how probable data as background-like as the median experiment without signal are with the signal, over how probable they are without it; below 0.05 that signal is excluded at 95 % CL",
    "log_cls": "the logarithm of CLs, which does not underflow where the signal is strong: below −3.0 the tested signal is excluded at 95 % CL",
    "upper_limit": "the signal strength that would be excluded at 95 % CL if there were no signal, in the median of many experiments",
    "discovery": "the p-value of the background alone for data that have the expected signal",
    "poi_uncertainty": "the expected uncertainty of the parameter of interest, with all that is uncertain in the model",
    "generalised_variance": "the determinant of the parameters’ expected covariance: for two of them, the squared area of their error ellipse over π²",
    "cross_entropy": "how badly the bins tell signal from background: 0 where they do not overlap, ln 2 where both look alike; systematic uncertainties do not count",
    "cross_entropy_with_variations": "how badly the bins tell signal from background, with systematic variations mixed into the background: 0 where they do not overlap, ln 2 where both look alike",
}


def objective_in_words(objective: str) -> str:
    """An objective in a physicist's words where it is one of the two common ones, such as ``Expected CLs at μ = 1``."""
    if match := re.fullmatch(rf"cls(?:\(poi_test=({NUMBER})\))?", objective):
        return f"Expected CLs at μ = {float(match[1] or 1):g}"
    return "Expected upper limit" if re.fullmatch(r"upper_limit(\(cl=0\.95\))?", objective) else objective


def objective_explained(objective: str) -> str:
    """What is minimised, in a sentence."""
    plain = re.fullmatch(r"(\w+)(\(poi_test=[^,]*\)|\(cl=0\.95\)|)", objective)
    what = EXPLAINED.get(plain[1]) if plain else None
    if what is None:
        return f"Minimised is {objective}, a function of the statistical model of this analysis: smaller is better."
    return f"Minimised is {what}. Smaller is better."
