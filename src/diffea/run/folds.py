"""Folds of a run: parameters are trained on some of the events and judged on the others, once for each fold."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from dask.utils import format_bytes
from distributed import Client

from diffea.analysis import Analysis, Variant
from diffea.complaints import Compiled
from diffea.distributed import Templates, distribute
from diffea.distributed.storage import budget_of, room
from diffea.errors import DiffeaError, TemplateError
from diffea.events.folds import check_samples
from diffea.events.splits import Part, Split
from diffea.observed import warn_of_unmarked
from diffea.optimise import Result
from diffea.parameters import as_arrays, name_of
from diffea.processor.base import learned_edges
from diffea.program import Program
from diffea.run.abreast import abreast
from diffea.run.gap import along, soft_less_hard
from diffea.run.selections import Cuts
from diffea.run.states import Piece
from diffea.run.training import MeasuredStep, Watch, checkpoint_folders, loss_of, train_variant
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


@dataclasses.dataclass(frozen=True)
class Begun:
    """A fold whose events are held, and whose start is judged.

    Attributes:
        number: of the fold; None where there are none.
        train, validation, test: the events.
        before, cuts: as of a ``Fold``, before the training.
    """

    number: int | None
    train: Templates
    validation: Templates | None
    test: Templates
    before: Piece
    cuts: Cuts

    @property
    def nbytes(self) -> int:
        """Of all columns."""
        parts = {id(part): part for part in (self.train, self.validation, self.test) if part}
        return sum(sum(part.ledger.nbytes.values()) for part in parts.values())


@dataclasses.dataclass(frozen=True)
class Training:
    """Trains a variant without each of the folds, and judges it on that, before and after.

    Attributes:
        variant: of the analysis.
        read: its events.
        out: folder for the checkpoints.
        steps, resume, progress: as for ``run_variant``.
    """

    variant: Variant
    read: Reader
    out: Path
    steps: int | None
    resume: bool
    progress: Callable[[MeasuredStep], None] | None
    _turn: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @functools.cached_property
    def loss(self) -> Compiled:
        """What is minimised, in all folds."""
        return loss_of(self.variant)

    def __call__(self, splits: Sequence[Split | None]) -> list[Fold]:
        """Of each fold: trained side by side where a cluster has room for the columns of all, otherwise one after the other.

        Args:
            splits: each names a fold; or one without folds, or None to train and judge on the same events.

        Raises:
            SplitError: if a fold, or what is trained on, has no events of a sample.
            TemplateError: if several folds would learn bin edges.
        """
        if len(splits) > 1:
            _check_edges(self.variant, self.steps)
        with contextlib.ExitStack() as held:
            begun = [held.enter_context(self._begun(splits[0], None))]
            if self._room(begun[0], len(splits) - 1):
                begun += [held.enter_context(self._begun(split, begun[0])) for split in splits[1:]]
            folds = self._ended(begun, [])
        for split in splits[len(folds) :]:
            with self._begun(split, begun[0]) as one:
                folds += self._ended([one], folds)
        return folds

    def _room(self, first: Begun, others: int) -> bool:
        """Whether the workers may hold in memory as much again for each of the others."""
        client = self.read.client
        if not others or client is None:
            return False
        free, needed = room(client, budget_of(self.read.analysis.memory)), others * first.nbytes
        how = "side by side" if needed <= free else "one after the other"
        sizes = format_bytes(needed), format_bytes(max(free, 0))
        log.info(
            "training %d folds %s: the others take %s of columns, workers have room for %s", others + 1, how, *sizes
        )
        return needed <= free

    @contextlib.contextmanager
    def _begun(self, split: Split | None, first: Begun | None) -> Iterator[Begun]:
        """Read the events, and judge the start.

        Args:
            split: that names the fold.
            first: the first fold, to whose counts these are added.
        """
        variant, read = self.variant, self.read
        judged: Part = "fold" if split and split.folds else "test"
        number, like = split.fold if split else None, first.cuts if first else None
        scale = split.of(judged).scale if split else 1.0
        with contextlib.ExitStack() as stack:
            program = Program(variant.processor)  # one, so that the same code trains and judges
            train = stack.enter_context(read(program, split, "train"))
            validation = stack.enter_context(read(program, split, "validation")) if split and split.validation else None
            test = stack.enter_context(read(program, split, judged)) if split else train
            if split and split.folds:
                check_samples(split, [train.ledger.chunks, test.ledger.chunks])
            log.info("judging the start%s, with exact cuts and %d replicas", _which(number), read.analysis.replicas)
            if variant.baseline is None:
                before, cuts = self._judged(variant, train, test, variant.params, like=like)
            else:
                baseline = variant.baseline
                with contextlib.ExitStack() as shortly:
                    other_program = Program(baseline.processor)
                    others = shortly.enter_context(read(other_program, split, "train"))
                    other = shortly.enter_context(read(other_program, split, judged)) if split else others
                    before, cuts = self._judged(baseline, others, other, baseline.params, like=like)
            if first is None:
                warn_of_unmarked(variant.model, before.test.templates, scale)
            yield Begun(number, train, validation, test, before, cuts)

    def _ended(self, begun: Sequence[Begun], earlier: Sequence[Fold]) -> list[Fold]:
        """Train without each of these, side by side, and judge what was found."""
        replicas, variant, folds = self.read.analysis.replicas, self.variant, list(earlier)
        trainings = abreast([functools.partial(self._trained, one) for one in begun])
        for one, (found, pretrained, driver) in zip(begun, trainings, strict=True):
            train, test, params = one.train, one.test, found.params
            log.info("judging what was found%s, with exact cuts and %d replicas", _which(one.number), replicas)
            like = folds[0].cuts["after"] if folds else None
            after, cuts = self._judged(variant, train, test, params, ranges=one.cuts, like=like)
            gap = _gap(train, params, variant)
            scans = along(train, params, variant.bounds, variant.model, variant.objective)
            both = {"before": one.cuts, "after": cuts}
            folds.append(Fold(found, pretrained, one.before, after, both, gap, scans, train, test, driver))
        return folds[len(earlier) :]

    def _trained(self, one: Begun, go_on: Callable[[], None]) -> tuple[Result, Result | None, float]:
        """The results of both stages, and the driver's seconds."""

        def tell(step: MeasuredStep) -> None:
            go_on()
            with self._turn:
                if self.progress:
                    self.progress(step)

        log.info("training%s", _which(one.number))
        watch = Watch(one.train, one.validation, tell, one.number)
        folders = checkpoint_folders(self.out, one.number)
        ends = train_variant(
            self.variant, self.loss, one.train, one.validation, folders, self.steps, self.resume, watch
        )
        return *ends, watch.driver

    def _judged(
        self, variant: Variant, train: Templates, test: Templates, params: Params, **others: Cuts | None
    ) -> tuple[Piece, Cuts]:
        piece = Piece.of(variant.model, train, test, params, self.read.analysis.replicas)
        return piece, Cuts.of(test, params, variant.model, **others)


def _check_edges(variant: Variant, steps: int | None) -> None:
    """See, before anything is trained, that folds will not learn bin edges, each its own: their templates would not add up."""
    if variant.steps == 0 or steps == 0:
        return
    params = as_arrays(variant.params)
    edges, pulled = jax.vjp(lambda params: learned_edges(variant.processor, params), params)
    for channel in edges:
        upstream = {name: (jnp.arange(1.0, 1.0 + len(at)) ** 2) * (name == channel) for name, at in edges.items()}
        slopes = jax.tree_util.tree_leaves_with_path(*pulled(upstream))
        moving = [
            name_of(path) for path, slope in slopes if np.any(slope) and name_of(path[:1]) not in variant.schedules
        ]
        if moving:
            msg = (
                f"each fold would learn bin edges of {channel!r} for itself (by {', '.join(moving)}), so that the templates of the folds would not add up: "
                "fix the edges, or run with split=Split(train=0.5)"
            )
            raise TemplateError(msg)


def _which(number: int | None) -> str:
    return "" if number is None else f" without fold {number}"


def _gap(train: Templates, params: Params, variant: Variant) -> dict[str, float] | None:
    try:
        return soft_less_hard(train, params, variant.model, variant.objective)
    except DiffeaError:
        return None
