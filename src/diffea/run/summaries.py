"""Parts of result.json: limits with their errors, and the stages of a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from diffea.errors import DiffeaError
from diffea.run.folds import Fold
from diffea.run.numbers import numbers
from diffea.run.states import State
from diffea.types import JSONDict

WORDS = {
    "soft": "the objective with soft cuts",
    "hard_train": "the objective on events trained on",
    "hard_test": "the objective on other events",
    "hard_test_error": "the error of the objective",
    "limit": "the limit",
    "limit_error": "the error of the limit",
    "gain_error": "the error of the gain",
    "errors": "the errors",
}


def limits_of(before: State, after: State) -> JSONDict:
    """Both limits and their ratio, each with its error; of the ratio it is that of the replicas that both share."""
    found: JSONDict = {}
    for when, state in {"before": before, "after": after}.items():
        found[f"limit_{when}"] = state.limit
        found[f"limit_{when}_error"] = state.errors.get("limit")
    if before.limit is None or after.limit is None:
        return {**found, "gain": None, "gain_error": None}
    gain, error = after.limit / before.limit, None
    try:
        if before.test.replicas is not None and after.test.replicas is not None:
            error = after.test.gain_over(before.test).error
    except DiffeaError as failure:
        after.failures["gain_error"] = str(failure)
    return {**found, "gain": gain, "gain_error": error}


def doubts_of(
    after: State, fold: Fold, unblinded: Sequence[JSONDict], params: Sequence[object], suspects: Sequence[str]
) -> list[str]:
    """What makes a result doubtful beside its numbers."""
    unjudged = [WORDS[what] for what in after.failures]
    doubts = [f"{', '.join(unjudged)} could not be judged"] if unjudged else []
    doubts += [f"{share:.1%} of {dataset} was left out" for dataset, share in fold.train.ledger.lost.items()]
    if suspects:
        doubts.append(
            f"{', '.join(suspects)}, which the model does not name, look like observed events that are not marked as data"
        )
    if unblinded and unblinded[-1]["params"] not in (list(params), params[0]):
        doubts.append(f"parameters changed after observed events were looked at, on {unblinded[-1]['when']}")
    return doubts


def stages_of(fold: Fold) -> JSONDict:
    """How a training went, and the hard objective along each parameter: around the end of ``"auto"``, and between the bounds."""
    found, pretrained = fold.found, fold.pretrained
    return {
        "history": [dataclasses.asdict(step) for step in found.history],
        **({"pretraining": [dataclasses.asdict(step) for step in pretrained.history]} if pretrained else {}),
        "message": found.message,
        "scans": {
            parameter: {"values": scan.values, "losses": numbers(scan.losses), "at": scan.at}
            for parameter, scan in found.scans.items()
        },
        "along": fold.along,
    }


def summary_of(fold: Fold) -> JSONDict:
    """What was found without one fold."""
    return {
        "params": numbers(fold.found.params),
        "events": {"train": fold.train.events, "test": fold.test.events},
        "passes_over_data": fold.train.passes,
        **stages_of(fold),
    }
