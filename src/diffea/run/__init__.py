"""One run of one variant: train, judge on other events, and write what was found."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

from distributed import Client

from diffea.analysis import Analysis, check_variant_names
from diffea.distributed import Templates, distribute
from diffea.errors import AnalysisError
from diffea.events.splits import Part
from diffea.files import whole
from diffea.files.locks import locked
from diffea.program import Program
from diffea.run.numbers import numbers
from diffea.run.states import State, describe, shifts
from diffea.run.training import MeasuredStep, Watch, clear_checkpoints, train_variant
from diffea.runtime import versions
from diffea.templates.gap import soft_hard_gap
from diffea.types import JSONDict

__all__ = ["MeasuredStep", "describe", "result_folder", "result_folders", "run_variant"]


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
        progress: called at every step.

    Returns:
        the content of result.json.

    Raises:
        AnalysisError: if there is no such variant.
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
    variant = analysis.variants[name]
    began = time.perf_counter()
    model = variant.model
    with contextlib.ExitStack() as stack:

        def read(program: Program, part: Part) -> Templates:
            return distribute(
                program,
                analysis.fileset(data),
                client=client,
                schemaclass=analysis.schemaclass,
                chunksize=analysis.chunksize,
                on_bad_file=analysis.on_bad_file,
                memory=analysis.memory,
                split=analysis.split and analysis.split.of(part),
            )

        program = Program(variant.processor)  # one, so that the same code trains and judges
        train = stack.enter_context(read(program, "train"))
        split = analysis.split
        validation = stack.enter_context(read(program, "validation")) if split and split.validation else None
        test = stack.enter_context(read(program, "test")) if split else train
        judge = functools.partial(State.of, variant.objective, limit=variant.limit)
        if variant.baseline is None:
            before = judge(model, train, test, variant.params)
        else:
            baseline = variant.baseline
            with contextlib.ExitStack() as shortly:
                other_program = Program(baseline.processor)
                first = shortly.enter_context(read(other_program, "train"))
                other = shortly.enter_context(read(other_program, "test")) if analysis.split else first
                before = judge(baseline.model, first, other, baseline.params)
        watch = Watch(train, validation, progress)
        found, pretrained = train_variant(variant, train, validation, out, steps, resume, watch)
        after = judge(model, train, test, found.params)
        states = {"before": before, "after": after}
        result = {
            "analysis": analysis.name,
            "title": analysis.title,
            "variant": name,
            "objective": describe(variant.objective),
            "params": {"before": numbers(variant.params), "after": numbers(found.params)},
            "bounds": numbers(variant.bounds),
            "modifier_settings": model.modifier_settings,
            "shifts": {"before": shifts((variant.baseline or variant).model), "after": shifts(model)},
            **{when: state.values for when, state in states.items()},
            **({f"limit_{when}": state.limit for when, state in states.items()} if variant.limit else {}),
            "not_judged": {when: state.failures for when, state in states.items()},
            "soft_hard_gap": soft_hard_gap(after.soft, after.hard_train),
            "history": [dataclasses.asdict(step) for step in found.history],
            **({"pretraining": [dataclasses.asdict(step) for step in pretrained.history]} if pretrained else {}),
            "message": found.message,
            "passes_over_data": train.passes,
            "fills": train.fills,
            "scans": {
                parameter: {"values": scan.values, "losses": numbers(scan.losses), "at": scan.at}
                for parameter, scan in found.scans.items()
            },
            "split": split and {"train": split.train, "validation": split.validation, "seed": split.seed},
            "events": {"train": train.events, "test": test.events} if split else {"train": train.events},
            "chunks": train.chunks,
            "workers": train.workers,
            "seconds": time.perf_counter() - began,
            "seconds_by_stage": {**train.seconds, "driver": watch.driver},
            "skipped": [dataclasses.asdict(entry) for entry in train.ledger.skipped],
            "skipped_share": train.ledger.lost,
            "versions": versions(),
        }
    return {
        "workspace.json": states["after"].test.workspace(),
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
