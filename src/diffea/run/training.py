"""The stages of a training, and what their steps took."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from diffea.analysis import Variant
from diffea.complaints import Compiled
from diffea.distributed import Templates
from diffea.files import named
from diffea.optimise import Composite, Result, Step, optimise
from diffea.optimise.checkpoints import clear, steps_done
from diffea.optimise.evaluation import compiled
from diffea.templates import TemplateSet
from diffea.types import Params, PyTree, Scalar

CHECKPOINT = "checkpoint"
STEPS = "steps.jsonl"
PRETRAINING = "pretraining"


@dataclasses.dataclass(frozen=True)
class MeasuredStep(Step):
    """A step of a run, with what its passes over the training events took.

    Attributes:
        passes: over the training events so far, those before a resumption not counted.
        events_per_second: counted in all passes of the step.
        moved: bytes of parameters and sums that the step sent between processes.
        memory: bytes resident in the worker that has most of it.
        fold: that is not trained on, where there are folds.
        yields: sum of weights of each nominal template, by ``channel/sample``, where the step's last pass was at one point.
    """

    passes: int = 0
    events_per_second: float = 0.0
    moved: int = 0
    memory: int = 0
    fold: int | None = None
    yields: Mapping[str, float] = dataclasses.field(default_factory=dict)


def checkpoint_folders(out: Path, fold: int | None) -> tuple[Path, Path]:
    """Of the main stage and of the pretraining."""
    folder = out / CHECKPOINT if fold is None else out / CHECKPOINT / f"fold-{fold}"
    return folder, folder / "pretraining"


def clear_checkpoints(out: Path) -> None:
    """Remove the checkpoints of an earlier run, and nothing else."""
    folds = (int(path.name[5:]) for path in (out / CHECKPOINT).glob("fold-*") if path.name[5:].isdecimal())
    for fold in (None, *folds):
        for folder in checkpoint_folders(out, fold):
            clear(folder)
            with named(folder):
                (folder / STEPS).unlink(missing_ok=True)


def loss_of(variant: Variant) -> Compiled:
    """The objective as a function of templates, with its programs: for one run, as it is then."""
    return compiled(lambda templates: variant.objective(variant.model(templates)))


def train_variant(
    variant: Variant,
    loss: Compiled,
    train: Templates,
    validation: Templates | None,
    folders: tuple[Path, Path],
    steps: int | None,
    resume: bool,
    tell: Callable[[Step], None],
) -> tuple[Result, Result | None]:
    """The results of the main stage, and of the pretraining, if there is one."""
    folder, before = folders
    kept_apart = validation.with_statistics_of(train) if validation else None

    def descend(
        objective: Callable[[TemplateSet], Scalar], start: Params, tell: Callable[[Step], None], **options: PyTree
    ) -> Result:
        return optimise(
            Composite(train, objective),
            start,
            bounds=variant.bounds,
            resume=resume,
            progress=noted(options["checkpoint"], tell),
            validate=(lambda params: objective(kept_apart(params))) if kept_apart else None,
            validate_every=variant.validate_every,
            patience=variant.patience,
            **options,
        )

    def before_that(step: Step) -> None:
        tell(dataclasses.replace(step, phase=PRETRAINING))

    first, start = None, variant.params
    if stage := variant.pretraining:
        count = stage.steps if steps is None else min(stage.steps, steps)
        if resume and steps_done(folder):  # the main stage began where this one ended, whatever is asked for now
            count = steps_done(before)
        first = descend(
            stage.objective,
            start,
            before_that,
            optimizer=stage.optimizer,
            steps=count,
            batches=stage.batches,
            checkpoint=before,
        )
        start = first.params
    main = descend(
        loss,
        start,
        tell,
        optimizer=variant.optimizer,
        steps=variant.steps if steps is None or variant.steps == 0 else steps,
        batches=variant.batches,
        widths=variant.widths,
        schedules=variant.schedules,
        checkpoint=folder,
    )
    return main, first


def noted(folder: Path, tell: Callable[[Step], None]) -> Callable[[Step], None]:
    """Tell of steps, and write each as a line of JSON while the training goes on; lines of steps that are made again are let go.

    Args:
        folder: of the checkpoints, in which ``steps.jsonl`` is.
        tell: what else is told.

    Raises:
        OutputError: if a line cannot be written.
    """
    place = folder / STEPS
    with named(place):
        folder.mkdir(parents=True, exist_ok=True)
        lines = place.read_text(encoding="utf-8").splitlines(keepends=True) if place.exists() else []
        place.write_text("".join(lines[: steps_done(folder)]), encoding="utf-8")

    def note(step: Step) -> None:
        with named(place), place.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(dataclasses.asdict(step)) + "\n")
        tell(step)

    return note


class Watch:
    """Tells of every step what its passes took, and adds up the time between them.

    Attributes:
        driver: seconds of steps outside of passes over the data: statistics and optimizer.
    """

    def __init__(
        self,
        train: Templates,
        validation: Templates | None,
        progress: Callable[[MeasuredStep], None] | None,
        fold: int | None,
    ) -> None:
        self.driver = 0.0
        self._fold = fold
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
                    fold=self._fold,
                    yields=dict(train.yields) if step.points == 1 else {},
                )
            )

    def _now(self) -> tuple[float, float, float]:
        train = self._all[0]
        return train.passes, train.moved, sum(templates.seconds["wall"] for templates in self._all)
