"""One run of one variant: train, judge on other events, and write what was found."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffea import objectives
from diffea.analysis import Analysis, Variant
from diffea.distributed import Templates, distribute
from diffea.errors import AnalysisError, DiffeaError
from diffea.evaluate import Evaluation
from diffea.events.splits import Part
from diffea.files import whole
from diffea.histograms.gap import soft_hard_gap
from diffea.histograms.templates import TemplateSet
from diffea.optimise import Composite, Result, Step, optimise
from diffea.optimise.checkpoints import steps_done
from diffea.runtime import named_errors, versions
from diffea.statistics import HistFactory


@dataclasses.dataclass(frozen=True)
class MeasuredStep(Step):
    """A step of a run, with what its passes over the training events took.

    Attributes:
        passes: over the training events so far, those before a resumption not counted.
        events_per_second: counted in all passes of the step.
        moved: bytes of parameters and sums that the step sent between processes.
        memory: bytes resident in the worker that has most of it.
    """

    passes: int = 0
    events_per_second: float = 0.0
    moved: int = 0
    memory: int = 0


def run_variant(
    analysis: Analysis,
    name: str,
    *,
    data: Path,
    out: Path,
    client: Any = None,
    steps: int | None = None,
    resume: bool = False,
    progress: Callable[[MeasuredStep], None] | None = None,
) -> dict[str, Any]:
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
    """
    if name not in analysis.variants:
        msg = f"the analysis {analysis.name!r} has no variant {name!r}; it has: {', '.join(analysis.variants)}"
        raise AnalysisError(msg)
    variant = analysis.variants[name]
    began = time.perf_counter()
    model = variant.model
    with contextlib.ExitStack() as stack:

        def read(part: Part, variant: Variant = variant) -> Templates:
            return distribute(
                variant.processor,
                analysis.fileset(data),
                client=client,
                schemaclass=analysis.schemaclass,
                chunksize=analysis.chunksize,
                on_bad_file=analysis.on_bad_file,
                memory=analysis.memory,
                split=analysis.split and analysis.split.of(part),
            )

        train = stack.enter_context(read("train"))
        split = analysis.split
        validation = stack.enter_context(read("validation")) if split and split.validation else None
        test = stack.enter_context(read("test")) if split else train
        judge = functools.partial(_State.of, variant.objective, limit=variant.limit)
        if variant.baseline is None:
            before = judge(model, train, test, variant.params)
        else:
            baseline = variant.baseline
            with contextlib.ExitStack() as shortly:
                first = shortly.enter_context(read("train", baseline))
                other = shortly.enter_context(read("test", baseline)) if analysis.split else first
                before = judge(baseline.model, first, other, baseline.params)
        watch = _Watch(train, validation, progress)
        found, pretrained = _train(variant, model, train, validation, out, steps, resume, watch)
        after = judge(model, train, test, found.params)
        states = {"before": before, "after": after}
        result = {
            "analysis": analysis.name,
            "title": analysis.title,
            "variant": name,
            "objective": describe(variant.objective),
            "params": {"before": _numbers(variant.params), "after": _numbers(found.params)},
            "bounds": _numbers(variant.bounds),
            "modifier_settings": model.modifier_settings,
            **{when: state.values for when, state in states.items()},
            **({f"limit_{when}": state.limit for when, state in states.items()} if variant.limit else {}),
            "not_judged": {when: state.failures for when, state in states.items()},
            "soft_hard_gap": soft_hard_gap(after.soft, after.hard_train),
            "history": [dataclasses.asdict(step) for step in found.history],
            **({"pretraining": [dataclasses.asdict(step) for step in pretrained.history]} if pretrained else {}),
            "message": found.message,
            "passes_over_data": train.passes,
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
    contents = {
        "workspace.json": states["after"].test.workspace(),
        "templates.json": {when: state.histograms for when, state in states.items()},
        "result.json": result,
    }
    texts = {out / file: json.dumps(content, indent=1, allow_nan=False) for file, content in contents.items()}
    for path, text in texts.items():
        with whole(path) as opened:
            opened.write(text.encode())
    return result


def result_folder(out: Path, variant: str, seed: int = 0) -> Path:
    """Where a run leaves its files: OUT/VARIANT, or OUT/seeds/SEED/VARIANT for a further initialisation."""
    return (out / "seeds" / str(seed) if seed else out) / variant


def result_folders(out: Path, variant: str) -> list[Path]:
    """The folders of a variant's finished runs, by initialisation."""
    seeds = sorted(int(path.name) for path in (out / "seeds").glob("*") if path.name.isdecimal())
    folders = [result_folder(out, variant, seed) for seed in (0, *seeds)]
    return [folder for folder in folders if (folder / "result.json").is_file()]


def describe(objective: Callable[..., Any]) -> str:
    """An objective in words, such as ``cls(poi_test=10.0)``."""
    if isinstance(objective, functools.partial):
        arguments = ", ".join(f"{key}={value}" for key, value in objective.keywords.items())
        return f"{describe(objective.func)}({arguments})"
    return getattr(objective, "__name__", repr(objective))


def judged(objective: Callable[[Any], Any], evaluation: Evaluation) -> float:
    """An objective's value on real histograms: by pyhf where pyhf knows the objective, by ``objectives`` otherwise."""
    plain, keywords = (
        (objective.func, objective.keywords) if isinstance(objective, functools.partial) else (objective, {})
    )
    if plain is objectives.cls and set(keywords) <= {"poi_test"}:
        return evaluation.cls_at(keywords.get("poi_test", 1.0))
    if plain is objectives.upper_limit and keywords.get("cl", 0.95) == 0.95 and set(keywords) <= {"cl"}:
        return evaluation.limit
    return float(objective(evaluation.model(evaluation.templates)))


def _train(
    variant: Variant,
    model: HistFactory,
    train: Templates,
    validation: Templates | None,
    out: Path,
    steps: int | None,
    resume: bool,
    tell: Callable[[Step], None],
) -> tuple[Result, Result | None]:
    """The results of the main stage, and of the pretraining, if there is one."""
    first, start = None, variant.params
    folder = out / "checkpoint"
    if variant.pretraining:
        stage = variant.pretraining
        first_steps = min(stage.steps, steps) if steps is not None else stage.steps
        if resume and steps_done(
            folder
        ):  # the main stage began where this one ended, however many steps are asked for now
            first_steps = steps_done(folder / "pretraining")
        first = optimise(
            Composite(train, stage.objective),
            start,
            optimizer=stage.optimizer,
            steps=first_steps,
            bounds=variant.bounds,
            checkpoint=folder / "pretraining",
            resume=resume,
            progress=tell,
            validate=(lambda params: stage.objective(validation(params))) if validation else None,
            validate_every=variant.validate_every,
            patience=variant.patience,
        )
        start = first.params
    main = optimise(
        Composite(train, lambda templates: variant.objective(model(templates))),
        start,
        optimizer=variant.optimizer,
        steps=variant.steps if steps is None or variant.steps == 0 else steps,
        bounds=variant.bounds,
        schedules=variant.schedules,
        checkpoint=folder,
        resume=resume,
        progress=tell,
        validate=(lambda params: variant.objective(model(validation(params)))) if validation else None,
        validate_every=variant.validate_every,
        patience=variant.patience,
    )
    return main, first


class _Watch:
    """Tells of every step what its passes took, and adds up the time between them.

    Attributes:
        driver: seconds of steps outside of passes over the data: statistics and optimizer.
    """

    def __init__(
        self, train: Templates, validation: Templates | None, progress: Callable[[MeasuredStep], None] | None
    ) -> None:
        self.driver = 0.0
        self._all = [train, *([validation] if validation else [])]
        self._progress = progress
        self._before = self._now()

    def __call__(self, step: Step) -> None:
        train, now = self._all[0], self._now()
        passes, moved, wall = (new - old for new, old in zip(now, self._before, strict=True))
        self._before = now
        # a resumed run checks its loss before the first step
        self.driver += max(step.seconds - wall, 0.0)
        if self._progress:
            speed = passes * sum(train.events.values()) / step.seconds
            self._progress(
                MeasuredStep(
                    **dataclasses.asdict(step),
                    passes=train.passes,
                    events_per_second=speed,
                    moved=int(moved),
                    memory=train.memory,
                )
            )

    def _now(self) -> tuple[float, float, float]:
        train = self._all[0]
        return train.passes, train.moved, sum(templates.seconds["wall"] for templates in self._all)


@dataclasses.dataclass(frozen=True)
class _State:
    """An analysis at fixed parameters: its values, and the histograms behind them.

    Attributes:
        values: of the objective: ``soft``, ``hard_train`` and ``hard_test``; None for what could not be judged.
        limit: expected, on the test events, if it was asked for.
        failures: why a value or ``limit`` is None.
    """

    values: dict[str, float | None]
    limit: float | None
    failures: dict[str, str]
    test: Evaluation
    soft: TemplateSet
    hard_train: TemplateSet

    @classmethod
    def of(
        cls,
        objective: Callable[[Any], Any],
        model: HistFactory,
        train: Templates,
        test: Templates,
        params: Any,
        *,
        limit: bool,
    ) -> _State:
        failures: dict[str, str] = {}

        def attempt(name: str, judge: Callable[[], float]) -> float | None:
            try:
                value = judge()
            except DiffeaError as error:
                failures[name] = str(error)
                return None
            if np.isfinite(value):
                return value
            failures[name] = f"it is {value}"
            return None

        with named_errors():
            soft = jax.tree.map(np.asarray, train(params))
        hard = {
            "hard_train": Evaluation(train.hard(params), model, train.events),
            "hard_test": Evaluation(test.hard(params), model, test.events),
        }
        bound = model(soft)  # a model that does not fit the templates is an error
        values = {"soft": attempt("soft", lambda: float(objective(bound)))}
        for name, evaluation in hard.items():
            values[name] = attempt(name, functools.partial(judged, objective, evaluation))
        limits = attempt("limit", lambda: hard["hard_test"].limit) if limit else None
        return cls(values, limits, failures, hard["hard_test"], soft, hard["hard_train"].templates)

    @property
    def histograms(self) -> dict[str, Any]:
        return {"soft": _histograms(self.soft), "hard_test": _histograms(self.test.templates)}


def _histograms(templates: TemplateSet) -> dict[str, Any]:
    return {
        "/".join(key): {
            "edges": [_numbers(axis.edges) for axis in template.axes],
            "name": " × ".join(axis.name for axis in template.axes),
            "label": " × ".join(axis.label or axis.name for axis in template.axes),
            "values": np.asarray(template.values).tolist(),
            "variances": np.asarray(template.variances).tolist(),
        }
        for key, template in templates.items()
    }


def _numbers(tree: Any) -> Any:
    """A pytree as JSON values; None for what is infinite, such as a bound that is none."""
    if isinstance(tree, Mapping):
        return {str(key): _numbers(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_numbers(value) for value in tree]
    if tree is None:
        return None
    array = np.asarray(tree)
    if np.isfinite(array).all():
        return array.tolist()
    known = array.astype(object)
    known[~np.isfinite(array)] = None
    return known.tolist()
