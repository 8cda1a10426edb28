"""Folds of a run: parameters are trained on some of the events and judged on the others, once for each fold."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from distributed import Client

from diffea.analysis import Analysis, Variant
from diffea.distributed import Templates, distribute
from diffea.errors import DiffeaError
from diffea.events.folds import check_samples
from diffea.events.splits import Part, Split
from diffea.optimise import Result
from diffea.program import Program
from diffea.run.gap import along, soft_less_hard
from diffea.run.selections import Cuts
from diffea.run.states import Piece
from diffea.run.training import MeasuredStep, Watch, checkpoint_folders, train_variant
from diffea.types import JSONDict, Params

log = logging.getLogger("diffea.run")


@dataclasses.dataclass(frozen=True)
class Fold:
    """What was trained without one of the folds; without folds, all there is.

    Attributes:
        found: the end of the optimisation.
        pretrained: that of the stage before, if there is one.
        before, after: the analysis at the parameters that it is compared with, and at those found.
        cuts: what they do to the events judged, ``before`` and ``after``.
        gap: the objective with soft cuts less that with exact ones, of the events trained on, with its error; None if it fails.
        along: the objective with exact cuts along each parameter that has bounds.
        train, test: the events, let go of by now.
        driver: seconds of steps outside of passes over the data.
    """

    found: Result
    pretrained: Result | None
    before: Piece
    after: Piece
    cuts: Mapping[str, Cuts]
    gap: Mapping[str, float] | None
    along: JSONDict
    train: Templates
    test: Templates
    driver: float


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads the events of an analysis.

    Attributes:
        data: folder of the data.
        client: of the cluster; None in process.
    """

    analysis: Analysis
    data: Path
    client: Client | None

    def __call__(self, program: Program, split: Split | None, part: Part) -> Templates:
        """A part of the events; all of them without a split."""
        analysis = self.analysis
        return distribute(
            program,
            analysis.fileset(self.data),
            client=self.client,
            schemaclass=analysis.schemaclass,
            chunksize=analysis.chunksize,
            on_bad_file=analysis.on_bad_file,
            memory=analysis.memory,
            uproot_options=analysis.uproot_options,
            split=split and split.of(part),
            identify=bool(analysis.replicas),
        )


def trained(
    variant: Variant,
    split: Split | None,
    read: Reader,
    out: Path,
    *,
    steps: int | None,
    resume: bool,
    progress: Callable[[MeasuredStep], None] | None,
    like: Fold | None = None,
) -> Fold:
    """Train a variant without one fold, and judge it on that, before and after.

    Args:
        variant: of the analysis.
        split: that names the fold, one without folds, or None to train and judge on the same events.
        read: its events.
        out: folder for the checkpoints.
        steps, resume, progress: as for ``run_variant``.
        like: an earlier fold, to whose counts these are added.

    Raises:
        SplitError: if the fold, or what is trained on, has no events of a sample.
    """
    replicas = read.analysis.replicas
    judged: Part = "fold" if split and split.folds else "test"
    number = split.fold if split else None
    with contextlib.ExitStack() as stack:
        program = Program(variant.processor)  # one, so that the same code trains and judges
        train = stack.enter_context(read(program, split, "train"))
        validation = stack.enter_context(read(program, split, "validation")) if split and split.validation else None
        test = stack.enter_context(read(program, split, judged)) if split else train
        if split and split.folds:
            check_samples(split, [train.ledger.chunks, test.ledger.chunks])
        which = "" if number is None else f" without fold {number}"
        log.info("judging the start%s, with exact cuts and %d replicas", which, replicas)
        if variant.baseline is None:
            before = Piece.of(variant.model, train, test, variant.params, replicas)
            cuts = Cuts.of(test, variant.params, variant.model, like=like.cuts["before"] if like else None)
        else:
            baseline = variant.baseline
            with contextlib.ExitStack() as shortly:
                other_program = Program(baseline.processor)
                first = shortly.enter_context(read(other_program, split, "train"))
                other = shortly.enter_context(read(other_program, split, judged)) if split else first
                before = Piece.of(baseline.model, first, other, baseline.params, replicas)
                cuts = Cuts.of(other, baseline.params, baseline.model, like=like.cuts["before"] if like else None)
        watch = Watch(train, validation, progress, number)
        folders = checkpoint_folders(out, number)
        log.info("training%s", which)
        found, pretrained = train_variant(variant, train, validation, folders, steps, resume, watch)
        log.info("judging what was found%s, with exact cuts and %d replicas", which, replicas)
        after = Piece.of(variant.model, train, test, found.params, replicas)
        later = Cuts.of(test, found.params, variant.model, ranges=cuts, like=like.cuts["after"] if like else None)
        gap = _gap(train, found.params, variant)
        scans = along(train, found.params, variant.bounds, variant.model, variant.objective)
    stages = {"before": cuts, "after": later}
    return Fold(found, pretrained, before, after, stages, gap, scans, train, test, watch.driver)


def _gap(train: Templates, params: Params, variant: Variant) -> dict[str, float] | None:
    try:
        return soft_less_hard(train, params, variant.model, variant.objective)
    except DiffeaError:
        return None
