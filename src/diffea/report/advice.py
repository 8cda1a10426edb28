"""Advice: what may mend a result that does not hold."""

from __future__ import annotations

from collections.abc import Iterator

from diffea.run.trust import ERRORS, NOTHING
from diffea.types import JSONMapping

WORTH = 0.1  # of the objective: a minimum elsewhere that is lower by less may be scatter
SOFT = 0.1  # of a channel's yield


def mending(result: JSONMapping, command: str) -> Iterator[str]:
    """What to try, from the numbers behind the verdict.

    Args:
        result: of the run.
        command: its analysis and data as given to the command line, such as ``demo`` or ``htautau --data DIR``.
    """
    trust = result.get("trust") or {}
    if result.get("verdict") == NOTHING:
        yield f"diffea check {command}: which parameter moves what, and whether the objective can change at all"
        if result.get("history"):
            yield "start elsewhere, or with wider cuts: gradients are zero where no event is near a threshold"
        else:
            yield "let it take steps: it was run with none"
        return
    if few := trust.get("few_events"):
        names = ", ".join(entry["bin"] for entry in few[:2]) + (", …" if len(few) > 2 else "")
        yield f"join bins, or simulate more: {names} hold{'s' * (len(few) == 1)} too few simulated events"
    worse = trust.get("overtraining")
    if worse and worse["difference"] > ERRORS * (worse["error"] or 0.0):
        yield "tune fewer parameters, or give it more events: it learnt some of their scatter"
    if better := _elsewhere(result):
        yield f'optimizer="auto": along {better[0]}, at {better[1]:.4g}, the objective is lower than where the descent ended'
    if held := sorted({name.split("[")[0] for name in trust.get("at_bounds", ())}):
        yield f"wider bounds of {', '.join(held)}, if the simulation is to be trusted there"
    gaps = {name: gap for name, gap in (result.get("soft_hard_gap") or {}).items() if gap > SOFT}
    if gaps:
        yield f"narrower widths or bandwidths in {', '.join(gaps)}: soft and exact templates differ by {max(gaps.values()):.0%}"
    if result.get("split") and not result["split"].get("folds"):
        yield "split=Split(folds=2) in the analysis: every event is judged, not only those held back"


def _elsewhere(result: JSONMapping) -> tuple[str, float] | None:
    """The parameter, and its value, at which the objective along it is lowest, where a descent missed that."""
    history = result.get("history")
    if not history or history[-1].get("phase"):
        return None
    here, found = result["after"]["hard_train"], None
    for name, scan in (result.get("along") or {}).items():
        for value, loss in zip(scan["values"], scan["losses"], strict=True):
            if here is not None and loss is not None and here - loss > WORTH * abs(here):
                here, found = loss, (name, value)
    return found
