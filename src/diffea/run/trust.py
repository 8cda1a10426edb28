"""Trust: whether a result holds, from rules that are stated here, and the numbers behind them.

A result *holds* if none of these is true:

- the objective, with hard cuts on events not trained on, is not better than before by twice the error of the difference;
- events that were trained on give a better objective than others, by more than twice the error of the difference;
- a bin of the model has fewer than ``FEW`` effective simulated events where statistics count (staterror);
- the bias of the limit, or of the objective where no limit is quoted, exceeds its error;
- a signal that is put into Asimov data is not found again;
- a number could not be judged, files were left out, or parameters changed after observed events were looked at.

Errors are those of replicas; without them the first two rules are without errors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from diffea import objectives, statistics
from diffea.analysis import Variant
from diffea.bootstrap import Measured, with_error
from diffea.complaints import Compiled
from diffea.errors import DiffeaError
from diffea.evaluate import Evaluation
from diffea.optimise.bounds import read_bounds
from diffea.parameters import as_arrays, name_of
from diffea.run.folds import Fold
from diffea.run.nuisances import fitted
from diffea.run.sensitivity import sensitivity
from diffea.run.states import State
from diffea.statistics.bound import BoundModel
from diffea.templates import TemplateSet
from diffea.types import JSONDict, Params, Scalar

FEW = 10.0
INJECTED = (0.0, 1.0, 3.0)
ERRORS = 2.0
NOTHING = "nothing was optimised"
UNKNOWN = {
    "improvement": "whether events not trained on gained",
    "overtraining": "whether it learnt its training events by heart",
}
AT = 1e-3  # of the range between two bounds
SAME = 1e-12  # to which parameters come back from the units of their bounds


def trust_of(variant: Variant, loss: Compiled, folds: Sequence[Fold], before: State, after: State) -> JSONDict:
    """The numbers by which a result is to be trusted; those that could not be judged are None."""

    def attempt(judge: Callable[[], object]) -> object:
        try:
            found = judge()
        except DiffeaError:
            return None
        numbers = [leaf for leaf in jax.tree.leaves(found) if not isinstance(leaf, str)]
        return found if np.isfinite(numbers).all() else None

    bound = variant.model(after.test.templates)
    objective = variant.objective
    return {
        "improvement": attempt(lambda: _difference([(before.test, after.test)], objective)),
        "overtraining": attempt(lambda: _difference([_alike(fold, len(folds)) for fold in folds], objective)),
        "soft_less_hard": attempt(lambda: _gap([fold.gap for fold in folds])),
        "bias": attempt(lambda: _bias(after, variant)),
        "at_bounds": [name for fold in folds for name in at_bounds(fold.found.params, variant.bounds)],
        "few_events": few_events(bound),
        "injected": attempt(lambda: injected(bound)),
        "sensitivity": attempt(lambda: sensitivity(variant.model, after.test.templates, loss)),
        "fit": attempt(lambda: fitted(bound)),
    }


def verdict(trust: JSONDict, folds: Sequence[Fold], start: Params, doubts: Sequence[str]) -> str:
    """``holds``, ``doubtful because …`` or ``nothing was optimised``.

    Args:
        trust: the numbers.
        folds: what was found.
        start: the parameters it was found from.
        doubts: what else is in the way.
    """
    if all(_same(fold.found.params, start) for fold in folds):
        return NOTHING
    reasons = [*_reasons(trust), *doubts]
    return f"doubtful because {'; '.join(reasons)}" if reasons else "holds"


def at_bounds(params: Params, bounds: Params) -> Iterator[str]:
    """Names of parameters, such as ``mt`` or ``edges[2]``, that lie at one of their bounds."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), pair in zip(leaves, read_bounds(leaves, bounds) if leaves else [], strict=True):
        low, high, values = np.broadcast_arrays(*pair, np.asarray(leaf, float))
        reach = np.where(np.isfinite(high - low), AT * (high - low), 0.0)
        for place in np.argwhere((values <= low + reach) | (values >= high - reach)):
            yield name_of(path) + "".join(f"[{index}]" for index in place)


def few_events(bound: BoundModel) -> list[JSONDict]:
    """The bins with statistics of fewer than ``FEW`` effective simulated events, each with that number."""
    found = np.asarray(statistics.effective_events(bound))
    names = bound.layout.bin_names
    return [{"bin": names[place], "events": float(found[place])} for place in np.flatnonzero(found < FEW)]


def injected(bound: BoundModel) -> list[JSONDict]:
    """Signals put into Asimov data, as far as the parameter of interest's bounds allow, and what a fit finds of each."""
    config = bound.config
    if config.poi_index is None:
        return []
    low, high = config.suggested_bounds()[config.poi_index]
    found = []
    for strength in INJECTED:
        if not low <= strength <= high:
            continue
        pars = np.array(config.suggested_init())
        pars[config.poi_index] = strength
        estimates = statistics.estimates(bound, bound.expected_data(pars), [str(config.poi_name)])
        found.append(
            {
                "strength": strength,
                "found": float(estimates.values[0]),
                "uncertainty": float(estimates.uncertainties[0]),
            }
        )
    return found


def _difference(
    pairs: Sequence[tuple[Evaluation, Evaluation]], objective: Callable[[BoundModel], Scalar]
) -> dict[str, float | None]:
    """An objective of the second less the first of a pair, the mean over pairs, with its error from replicas that they share."""
    value = float(np.mean([_value(second, objective) - _value(first, objective) for first, second in pairs]))
    if any(one.replicas is None for pair in pairs for one in pair):
        return {"difference": value, "error": None}
    replicated = [second.replicated(objective)[1] - first.replicated(objective)[1] for first, second in pairs]
    return {"difference": value, "error": Measured.of(value, value, np.mean(replicated, axis=0)).error}


def _gap(found: Sequence[Mapping[str, float] | None]) -> JSONDict | None:
    """Of all folds, the mean; folds train on the same events but one part, so that its error is no smaller than theirs."""
    known = [gap for gap in found if gap is not None]
    return {key: float(np.mean([gap[key] for gap in known])) for key in known[0]} if known else None


def _value(evaluation: Evaluation, objective: Callable[[BoundModel], Scalar]) -> float:
    return float(objective(evaluation.model(evaluation.templates)))


def _alike(fold: Fold, folds: int) -> tuple[Evaluation, Evaluation]:
    """What was trained on, and the other events weighted to as large a yield."""
    test = fold.after.test
    if folds == 1:
        return fold.after.train, test

    def whole(templates: TemplateSet) -> TemplateSet:
        values, variances = folds * templates.values_flat, folds**2 * templates.variances_flat
        return dataclasses.replace(templates, values_flat=values, variances_flat=variances)

    replicas = None if test.replicas is None else whole(test.replicas)
    return fold.after.train, dataclasses.replace(test, templates=whole(test.templates), replicas=replicas)


def _bias(after: State, variant: Variant) -> dict[str, float] | None:
    if after.test.replicas is None:
        return None
    found = after.test.measured(objectives.upper_limit if variant.limit else variant.objective)
    return {"bias": found.bias, "error": found.error}


def _reasons(trust: JSONDict) -> Iterator[str]:
    better, worse, bias = (trust[name] for name in ("improvement", "overtraining", "bias"))
    if unknown := [words for name, words in UNKNOWN.items() if trust[name] is None]:
        yield f"it could not be judged {' and '.join(unknown)}"
    if better and better["difference"] + ERRORS * (better["error"] or 0.0) >= 0:
        yield f"on events not trained on the objective changed by {_text(better)}, which is no improvement"
    if worse and worse["difference"] > ERRORS * (worse["error"] or 0.0):
        yield f"on other events the objective is higher than on those trained on, by {_text(worse)}"
    if bias and abs(bias["bias"]) > bias["error"]:
        moved = f"{bias['bias']:.2g}".replace("-", "−")
        yield f"the scatter of so few events moves the result by {moved}, more than its error of {bias['error']:.2g}"
    if few := trust["few_events"]:
        names = ", ".join(entry["bin"] for entry in few[:3]) + (", …" if len(few) > 3 else "")
        bins = "a bin holds" if len(few) == 1 else f"{len(few)} bins hold"
        yield f"{bins} fewer than {FEW:g} effective simulated events ({names})"
    for entry in trust["injected"] or []:
        if abs(entry["found"] - entry["strength"]) > 0.1 * max(entry["uncertainty"], 1e-9):
            yield f"of a signal of strength {entry['strength']:g} a fit finds {entry['found']:.3g}"


def _text(found: JSONDict) -> str:
    return with_error(found["difference"], found["error"]).replace("-", "−")


def _same(one: Params, other: Params) -> bool:
    """Whether the first are the other ones, relative to these, which may be in any unit."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(as_arrays(other)), strict=True)
    return all(bool(np.all(np.abs(a - b) <= SAME * np.where(b == 0, 1.0, np.abs(b)))) for a, b in pairs)
