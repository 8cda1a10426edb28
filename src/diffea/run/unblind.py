"""Unblinding: the results of observed events, at the parameters of a blinded run that is finished."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from distributed import Client

from diffea.analysis import Analysis, Variant
from diffea.errors import DiffeaError, UnblindedWarning, UnblindError
from diffea.evaluate import Evaluation, evaluate
from diffea.files import whole
from diffea.files.locks import locked
from diffea.observed import Observed
from diffea.run.digests import digest_of
from diffea.run.nuisances import fitted
from diffea.run.numbers import numbers, params_of
from diffea.run.states import histograms
from diffea.types import JSONDict, JSONMapping, Params

RESULT, TEMPLATES, WORKSPACE = "result.json", "templates.json", "workspace-observed.json"
RECORDED = ("when", "commit", "analysis_digest", "params", "forced")
SAME = 1e-9  # of templates, relative to the largest


def unblind_variant(
    analysis: Analysis, name: str, *, data: Path, out: Path, client: Client | None = None, force: bool = False
) -> JSONDict:
    """Write what the observed events say into the result of a finished run, at its parameters; nothing is trained.

    Args:
        analysis: that was run.
        name: of the variant.
        data: folder of the data, with the observed ones.
        out: folder of the run's results.
        client: a ``dask.distributed.Client``; without one everything stays in this process.
        force: although the analysis or its simulated events changed since the run.

    Returns:
        the content of result.json, with ``observed``.

    Raises:
        UnblindError: if there is no finished run in ``out``, or the analysis or its simulated events changed since.
        ObservationError: if nothing is marked as data, or what is has weights.
    """
    variant, split = analysis.variants[name], analysis.split
    with locked(out, nested=True):
        result, blinded = (_read(out / file) for file in (RESULT, TEMPLATES))
        if result.get("analysis_digest") != digest_of(analysis, variant) and not force:
            msg = (
                f"the analysis changed since the run in {out} (its code, model, start or split): run it again, blinded, or look at the observed "
                "events of this one all the same with --force"
            )
            raise UnblindError(msg)
        final = evaluate(
            variant.processor,
            analysis.fileset(data),
            _params(result, variant, out),
            variant.model,
            client=client,
            schemaclass=analysis.schemaclass,
            chunksize=analysis.chunksize,
            split=split,
            on_bad_file=analysis.on_bad_file,
            memory=analysis.memory,
            uproot_options=analysis.uproot_options,
            observed=True,
        )
        if not _alike(final, blinded["after"]["hard_test"]) and not force:
            msg = (
                f"the simulated events are not those that the run in {out} judged: run the analysis again, blinded, or look at the observed events "
                "with these all the same with --force"
            )
            raise UnblindError(msg)
        if final.observed is None:  # which evaluate gives where it is asked to
            msg = f"no observed events in {data}"
            raise UnblindError(msg)
        seen = final.observed
        record = {**record_of(variant, result), "forced": force, **summary(seen)}
        result = {**result, "unblinded": looks_of(result), "observed": record}
        for file, content in ((WORKSPACE, seen.workspace()), (RESULT, result)):
            with whole(out / file) as opened:
                opened.write(json.dumps(content, indent=1, allow_nan=False).encode())
    return result


def summary(seen: Observed) -> JSONDict:
    """What observed events say, as JSON values; ``not_judged`` says why a number is None."""
    failures: dict[str, str] = {}

    def attempt(name: str) -> object:
        try:
            return numbers(getattr(seen, name))
        except DiffeaError as error:
            failures[name] = str(error)
            return None

    found: JSONDict = {name: attempt(name) for name in ("cls", "limit", "expected", "band", "significance", "best_fit")}
    try:
        test = seen.goodness_of_fit
        found["goodness_of_fit"] = {
            "statistic": float(test.statistic),
            "degrees": int(test.degrees),
            "p_value": float(test.p_value),
        }
    except DiffeaError as error:
        failures["goodness_of_fit"], found["goodness_of_fit"] = str(error), None
    try:
        bound = seen.model(seen.templates)
        found["fit"] = fitted(bound, bound.data(seen.observations))
    except DiffeaError as error:
        failures["fit"], found["fit"] = str(error), None
    observations = {channel: bins.tolist() for channel, bins in seen.observations.items()}
    return {**found, "observations": observations, "events": dict(seen.events), "not_judged": failures}


def record_of(variant: Variant, result: JSONMapping) -> JSONDict:
    """When observed events were looked at, with which version of the analysis, and at which parameters."""
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit_of(variant),
        "analysis_digest": result.get("analysis_digest"),
        "params": [fold["params"] for fold in result["folds"]] if result.get("folds") else result["params"]["after"],
    }


def unblinded_before(out: Path, params: object) -> list[JSONDict]:
    """The records of observed events that were looked at in this folder before a run that is to be written there.

    Args:
        out: folder of the results.
        params: that the run found, one for each fold where there are folds.

    Warns:
        UnblindedWarning: if the parameters are others than those at which observed events were looked at.
    """
    try:
        earlier = json.loads((out / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    kept = looks_of(earlier)
    if kept and kept[-1]["params"] != params:
        msg = (
            f"the parameters in {out} changed after observed events were looked at, on {kept[-1]['when']}: results of observed events are "
            "no longer blind to them"
        )
        warnings.warn(msg, UnblindedWarning, stacklevel=2)
    return kept


def looks_of(result: JSONMapping) -> list[JSONDict]:
    """The records of all looks at observed events that a result.json tells of, in their order."""
    records = [*(result.get("unblinded") or []), *([result["observed"]] if result.get("observed") else [])]
    return [{key: record.get(key) for key in RECORDED} for record in records]


def commit_of(variant: Variant) -> str | None:
    """The git commit of the processor's file, with a + where files differ from it; None where there is no repository."""
    path = getattr(sys.modules.get(type(variant.processor).__module__), "__file__", None)
    if path is None:
        return None
    asked = [["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."]]
    try:
        answers = [
            subprocess.run(
                ["git", *command], cwd=Path(path).parent, capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in asked
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return answers[0] + ("+" if answers[1] else "")


def _read(path: Path) -> JSONDict:
    try:
        content: JSONDict = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"observed events are looked at where a blinded run is finished, got no {path.name} in {path.parent} ({error}): run it first"
        raise UnblindError(msg) from error
    return content


def _params(result: JSONMapping, variant: Variant, out: Path) -> Params | list[Params]:
    try:
        if result.get("folds"):
            return [params_of(fold["params"], variant.params) for fold in result["folds"]]
        return params_of(result["params"]["after"], variant.params)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        msg = f"the parameters in {out / RESULT} are not those of the analysis ({type(error).__name__}: {error}): run it again"
        raise UnblindError(msg) from error


def _alike(final: Evaluation, stored: JSONMapping) -> bool:
    """Whether the templates are those of the run."""
    found = histograms(final.templates)
    if set(found) != set(stored):
        return False
    pairs = [(np.asarray(found[key]["values"]), np.asarray(stored[key]["values"])) for key in found]
    return all(one.shape == other.shape and np.allclose(one, other, rtol=SAME, atol=SAME) for one, other in pairs)
