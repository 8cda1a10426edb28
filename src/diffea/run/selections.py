"""Selections in result.json: N−1 distribution and threshold of every cut, and the cutflow of every channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from diffea.distributed import Templates
from diffea.distributed.selections import BINS, Selection, Survey, selection_of
from diffea.errors import DiffeaError
from diffea.program.cuts import Cut
from diffea.run.numbers import numbers
from diffea.statistics import HistFactory
from diffea.types import JSONDict, Params

SIGNS = {"above": ">", "below": "<", "between": "between", "outside": "outside of"}
NONE = "`fill` makes no cut by soft.above, below, between or outside on a number of each event or object, so that there is no cutflow"


@dataclasses.dataclass(frozen=True)
class Cuts:
    """What the cuts do at fixed parameters; or why that is not known."""

    selection: Selection | None
    reason: str | None = None

    @classmethod
    def of(
        cls,
        templates: Templates,
        params: Params,
        model: HistFactory,
        *,
        ranges: Cuts | None = None,
        like: Cuts | None = None,
    ) -> Cuts:
        """Of events, with the ranges of the values of earlier ones, or so that both add up."""
        channels = [channel.name for channel in model.spec.channels]
        try:
            found = selection_of(templates, params, channels, ranges=_survey(ranges), like=_survey(like))
        except DiffeaError as error:
            return cls(None, str(error))
        return cls(found, None if found else NONE)


def _survey(cuts: Cuts | None) -> Survey | None:
    return cuts.selection.survey if cuts and cuts.selection else None


def summary(parts: Sequence[Cuts]) -> JSONDict:
    """As JSON values; ``not_judged`` says why there are none."""
    selections = [part.selection for part in parts if part.selection]
    if len(selections) < len(parts):
        return {"cuts": [], "cutflow": {}, "not_judged": next(part.reason for part in parts if part.reason)}
    whole = selections[0]
    for other in selections[1:]:
        whole = whole + other
    flows = {channel: _flow(whole, channel) for channel in whole.added}
    return {"cuts": [_cut(whole, cut) for cut in whole.cuts], "cutflow": flows, "not_judged": None}


def in_words(cut: Cut) -> str:
    """What is cut on, such as ``3rd largest jet_pt``."""
    names = ", ".join(name for name in cut.parameters if name)
    column = cut.column or (f"what {names} cuts on" if names else f"a quantity of {cut.kind}")
    if cut.object is not None:
        column = f"{_ordinal(cut.object)}{'smallest' if cut.kind == 'below' else 'largest'} {column}"
    return column + (f" ({cut.repeat + 1})" if cut.repeat else "")


def _ordinal(number: int) -> str:
    if number == 1:
        return ""
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') } "


def _cut(whole: Selection, cut: Cut) -> JSONDict:
    low, high = whole.survey.ranges[cut.name]
    decided = {sample: sums for (name, sample), sums in whole.decided.items() if name == cut.name}
    return {
        "name": cut.name,
        "on": in_words(cut),
        "sign": SIGNS[cut.kind],
        "parameters": list(cut.parameters),
        "thresholds": numbers(whole.thresholds[cut.name]),
        "edges": np.linspace(low, high, BINS + 1).tolist(),
        "decided": {
            sample: {"values": sums[:, 0].tolist(), "variances": sums[:, 1].tolist()}
            for sample, sums in decided.items()
        },
    }


def _flow(whole: Selection, channel: str) -> JSONDict:
    """The sums before all cuts that matter to the channel, and after each."""
    if whole.added[channel]:
        reason = (
            f"one after the other says nothing: {whole.added[channel]} times an event comes into the channel by a cut"
        )
        return {"cuts": [], "samples": {}, "not_judged": reason}
    rows = [number for number, cut in enumerate(whole.cuts) if whole.survey.directions[channel, cut.name]]
    kept = [0, *(number + 1 for number in rows)]
    return {
        "cuts": [whole.cuts[number].name for number in rows],
        "inverted": [whole.survey.directions[channel, whole.cuts[number].name] < 0 for number in rows],
        "samples": {
            sample: {
                "yields": sums[kept, 0].tolist(),
                "errors": np.sqrt(sums[kept, 1]).tolist(),
                "events": sums[kept, 2].astype(int).tolist(),
            }
            for (of, sample, _), sums in whole.left.items()
            if of == channel
        },
        "not_judged": None,
    }
