"""One run of one variant: train, judge on other events, and write what was found."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path

from distributed import Client

from diffea.analysis import Analysis, check_variant_names
from diffea.errors import AnalysisError
from diffea.files import whole
from diffea.files.locks import locked
from diffea.observed import check_marks, unmarked
from diffea.run.digests import digest_of
from diffea.run.folds import Reader, Training, log
from diffea.run.numbers import numbers
from diffea.run.selections import summary as selection_of
from diffea.run.states import State, describe, shifts
from diffea.run.summaries import doubts_of, limits_of, stages_of, summary_of
from diffea.run.training import PRETRAINING, MeasuredStep, clear_checkpoints
from diffea.run.trust import trust_of, verdict
from diffea.run.unblind import unblind_variant, unblinded_before
from diffea.runtime import versions
from diffea.templates.gap import soft_hard_gap
from diffea.types import JSONDict

__all__ = [
    "PRETRAINING",
    "MeasuredStep",
    "describe",
    "result_folder",
    "result_folders",
    "run_variant",
    "unblind_variant",
]


def run_variant(
    analysis: Analysis,
    name: str,
    *,
    data: Path,
    out: Path,
    client: Client | None = None,
    steps: int | None = None,
    resume: bool = False,
    progress: Callable[[MeasuredStep], None] | None = None,
    command: str | None = None,
) -> JSONDict:
    """Optimise a variant and leave result.json, workspace.json, templates.json and checkpoint/ in a folder.

    The files appear whole at the end, or not at all; checkpoints appear step by step. What cannot be judged, such as a limit where
    nothing is excluded, is None there, and ``not_judged`` says why.

    Args:
        analysis: what to run.
        name: of the variant.
        data: folder of the data.
        out: folder for the results.
        client: a ``dask.distributed.Client``; without one everything stays in this process.
        steps: instead of the variant's own number.
        resume: go on from the checkpoints in ``out``.
        progress: called at every step; one after the other, also where folds are trained side by side.
        command: that asked for it, for the record.

    Returns:
        the content of result.json.

    Raises:
        AnalysisError: if there is no such variant.
        ObservationError: if a template of its model is marked as data.
        LockedError: if another run works in ``out``.
        OutputError: if ``out`` cannot be written to.
    """
    if name not in analysis.variants:
        msg = f"the analysis {analysis.name!r} has no variant {name!r}; it has: {', '.join(analysis.variants)}"
        raise AnalysisError(msg)
    with locked(out, nested=True):
        if not resume:  # a later --resume must not find the checkpoints of an older run
            clear_checkpoints(out)
        contents = _contents(analysis, name, data, out, client, steps, resume, progress)
        contents["result.json"] |= {"when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "command": command}
        texts = {out / file: json.dumps(content, indent=1, allow_nan=False) for file, content in contents.items()}
        for path, text in texts.items():
            with whole(path) as opened:
                opened.write(text.encode())
    return contents["result.json"]


def _contents(
    analysis: Analysis,
    name: str,
    data: Path,
    out: Path,
    client: Client | None,
    steps: int | None,
    resume: bool,
    progress: Callable[[MeasuredStep], None] | None,
) -> dict[str, JSONDict]:
    """Train a variant and judge it: what is to be written, by file, the result last."""
    variant, split = analysis.variants[name], analysis.split
    began, digest = time.perf_counter(), digest_of(analysis, variant)  # before anything is remembered in what is run
    model, read = variant.model, Reader(analysis, data, client)
    check_marks(model, analysis.fileset(data))
    training = Training(variant, read, out, steps, resume, progress)
    folds = training(split.each if split else [None])
    log.info("limits, their errors and the verdict")
    baseline, first = variant.baseline or variant, folds[0]
    before = State.of(variant.objective, baseline.model, [fold.before for fold in folds], limit=variant.limit)
    after = State.of(variant.objective, model, [fold.after for fold in folds], limit=variant.limit)
    states = {"before": before, "after": after}
    params = [numbers(fold.found.params) for fold in folds]
    suspects = unmarked(model, after.test.templates, split.of("test").scale if split and not split.folds else 1.0)
    unblinded = unblinded_before(out, params if split and split.folds else params[0])
    trust = trust_of(variant, training.loss, folds, before, after)
    quoted = limits_of(before, after) if variant.limit else {}
    stages = {stage: sum(fold.train.seconds[stage] for fold in folds) for stage in first.train.seconds}
    result = {
        "analysis": analysis.name,
        "title": analysis.title,
        "variant": name,
        "objective": describe(variant.objective),
        "verdict": verdict(trust, folds, variant.params, doubts_of(after, first, unblinded, params, suspects)),
        "trust": trust,
        "selection": {when: selection_of([fold.cuts[when] for fold in folds]) for when in states},
        "params": {"before": numbers(variant.params), "after": numbers(first.found.params)},
        "bounds": numbers(variant.bounds),
        "modifier_settings": model.modifier_settings,
        "shifts": {"before": shifts(baseline.model), "after": shifts(model)},
        **{when: state.values for when, state in states.items()},
        **quoted,
        "errors": {when: state.errors for when, state in states.items()},
        "replicas": analysis.replicas,
        "not_judged": {when: state.failures for when, state in states.items()},
        "soft_hard_gap": soft_hard_gap(after.soft, after.hard_train),
        **stages_of(first),
        "folds": [summary_of(fold) for fold in folds] if split and split.folds else None,
        "observed": None,
        "unblinded": unblinded,
        "analysis_digest": digest,
        "passes_over_data": sum(fold.train.passes for fold in folds),
        "fills": sum(fold.train.fills for fold in folds),
        "split": split
        and {"train": split.train, "validation": split.validation, "seed": split.seed, "folds": split.folds},
        "events": {"train": first.train.events, "test": after.test.events} if split else {"train": first.train.events},
        "chunks": first.train.chunks,
        "workers": first.train.workers,
        "seconds": time.perf_counter() - began,
        "seconds_by_stage": {**stages, "driver": sum(fold.driver for fold in folds)},
        "skipped": [dataclasses.asdict(entry) for entry in first.train.ledger.skipped],
        "skipped_share": first.train.ledger.lost,
        "versions": versions(),
    }
    return {
        "workspace.json": after.test.workspace(),
        "templates.json": {when: state.histograms for when, state in states.items()},
        "result.json": result,
    }


def result_folder(out: Path, variant: str, seed: int = 0) -> Path:
    """Where a run leaves its files: OUT/VARIANT, or OUT/seeds/SEED/VARIANT for a further initialisation.

    Raises:
        AnalysisError: if the variant's name leads elsewhere.
    """
    check_variant_names([variant])
    return (out / "seeds" / str(seed) if seed else out) / variant


def result_folders(out: Path, variant: str) -> list[Path]:
    """The folders of a variant's finished runs, by initialisation."""
    seeds = sorted(int(path.name) for path in (out / "seeds").glob("*") if path.name.isdecimal())
    folders = [result_folder(out, variant, seed) for seed in (0, *seeds)]
    return [folder for folder in folders if (folder / "result.json").is_file()]
