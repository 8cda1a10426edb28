"""Optimisation: gradient descent on the physics result."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import optax

from diffea.errors import ParameterError
from diffea.files.locks import locked
from diffea.optimise.auto import auto
from diffea.optimise.blackbox import black_box
from diffea.optimise.box import Box
from diffea.optimise.checkpoints import fingerprint
from diffea.optimise.composite import Composite
from diffea.optimise.constraints import Augmented, Constraint, constrained, read_constraints
from diffea.optimise.evaluation import LossAndGradient
from diffea.optimise.gauss_newton import gauss_newton
from diffea.optimise.loops import Run, quasi_newton, step_by_step
from diffea.optimise.result import Result, Scan, Step
from diffea.optimise.schedules import Schedule, anneal, scheduled
from diffea.optimise.updates import Updates
from diffea.parameters import as_arrays, names
from diffea.types import Loss, Params, PyTree

__all__ = ["Composite", "Constraint", "Result", "Scan", "Schedule", "Step", "anneal", "optimise"]

AUTO = "auto"
L_BFGS_B = "l-bfgs-b"
GAUSS_NEWTON = "gauss-newton"
BLACK_BOXES = ("cma", "tpe")
NAMES = (AUTO, L_BFGS_B, GAUSS_NEWTON, *BLACK_BOXES)
MOST_PASSES = 10_000  # of auto, which ends by itself long before


def optimise(
    loss: Loss,
    params: Params,
    *,
    optimizer: optax.GradientTransformation | str = AUTO,
    steps: int | None = None,
    bounds: PyTree = None,
    widths: Schedule | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    batches: int = 1,
    constraint: Constraint | Sequence[Constraint] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Step], None] | None = None,
    validate: Loss | None = None,
    validate_every: int = 1,
    patience: int | None = None,
) -> Result:
    """Minimise a loss by gradient descent, or by a search that begins and ends with exact cuts.

    Args:
        loss: a JAX function of the parameters, such as ``lambda p: objectives.cls(model(templates(p)))``; for ``"auto"``,
            ``"gauss-newton"``, ``"cma"`` and ``"tpe"`` a ``Composite``.
        params: where to start, any pytree of numbers and arrays.
        optimizer: ``"auto"`` looks at quasi-random points within the bounds with exact cuts, descends from the best ones along gradients
            of ever sharper soft cuts, and ends with a population (CMA-ES) and a local search with exact cuts; each step is a pass at many points. Parameters
            without two bounds are only descended along. Or one of optax; ``"l-bfgs-b"`` (few parameters; one step is one evaluation of
            loss and gradient); ``"gauss-newton"`` (few parameters; one step is one pass over the data); ``"cma"`` or ``"tpe"`` (black
            boxes that only see exact cuts, of the packages cmaes and optuna; one step is a pass at some points, within bounds).
        steps: how many at most; ``"auto"`` ends by itself, all others need to be told.
        bounds: a pytree like the parameters with (low, high) as leaves. A parameter with two bounds is stepped in units
            of its range, so a learning rate of 0.05 moves it by at most about 5 % of that.
        widths: what the widths of all soft cuts are multiplied by in the course of the run, such as ``diffea.anneal(1.0, 0.2)``.
            ``"l-bfgs-b"`` and ``"gauss-newton"`` start anew at each of three widths; ``"auto"`` has widths of its own.
        schedules: parameters that are set instead of optimised, such as ``{"width": diffea.anneal(10.0, 0.5)}``.
        batches: for an optimizer of optax: into how many mini-batches the events of ``diffea.distribute`` are divided. Each step takes the
            next one, for about that part of the price of a step; after all of them they are divided anew. The result is then the
            last point, or that of the lowest ``validate``, which takes all of its events.
        constraint: working points to hold, of a ``Composite``, for ``"l-bfgs-b"`` and optimizers of optax without a line search: an augmented
            Lagrangian in eight rounds, which share the steps, and in each of which the optimizer starts anew.
        checkpoint: folder for checkpoints, one after every step.
        resume: go on from the newest checkpoint, to the same bits as an uninterrupted run.
        progress: called with every ``Step``.
        validate: loss on events that are not trained on; the result is then its lowest point. ``"auto"``, ``"cma"`` and ``"tpe"``
            ask it at the end, with exact cuts, about every point that was the best once.
        validate_every: steps between two validations.
        patience: stop after so many validations without improvement.

    Raises:
        ParameterError: if parameters, bounds or schedules make no sense.
        LossError, NotFiniteError: if the loss or its gradient is not a finite number.
        FlatLossError: if the loss does not change at all around the start, so that all gradients are zero.
        CheckpointError: if checkpoints are there to resume from, but none fits.
        LockedError: if another run keeps its checkpoints in the same folder.
        OutputError: if a checkpoint cannot be written.
    """
    start = as_arrays(params)
    box = Box.of(start, bounds)
    name = optimizer.lower() if isinstance(optimizer, str) else ""
    is_optax = not isinstance(optimizer, str | type) and all(hasattr(optimizer, part) for part in ("init", "update"))
    if not is_optax and name not in NAMES:
        msg = f"optimizer is an optax transformation, {' or '.join(map(repr, NAMES))}, got {optimizer!r}"
        raise ParameterError(msg)
    steps = MOST_PASSES if steps is None and name == AUTO else steps
    count = check_count("steps", steps, 0)
    check_count("validate_every", validate_every, 1)
    if check_count("batches", batches, 1, "mini-batches") > 1 and not is_optax:
        msg = f"{name!r} compares losses of its steps, which mini-batches make another each time: use an optax optimizer, or leave out batches"
        raise ParameterError(msg)
    if patience is not None:
        check_count("patience", patience, 1, "validations")
    for what, function in {"loss": loss, "progress": progress, "validate": validate}.items():
        if not callable(function) and (what == "loss" or function is not None):
            msg = f"{what} is a function, got {function!r}"
            raise ParameterError(msg)
    if widths is not None and not callable(widths):
        msg = f"widths is a function of the fraction of the run, such as diffea.anneal(1.0, 0.2), got {widths!r}"
        raise ParameterError(msg)
    if schedules is not None and not isinstance(schedules, Mapping):
        msg = f"schedules is a dict of functions by parameter, such as {{'width': diffea.anneal(10.0, 0.5)}}, got {schedules!r}"
        raise ParameterError(msg)
    if resume and checkpoint is None:
        msg = "resume goes on from a checkpoint: name its folder with checkpoint"
        raise ParameterError(msg)
    if count and not jax.tree.leaves(start):
        msg = f"there is no parameter to optimise in {params!r}"
        raise ParameterError(msg)
    run = Run(
        evaluate=LossAndGradient(loss, box),
        box=box,
        steps=count,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
        fingerprint=fingerprint(
            names(start),
            *map(np.asarray, jax.tree.leaves((start, box.low, box.high))),
            name if batches == 1 else (name, int(batches)),
        ),
        progress=progress or (lambda _: None),
        validate=None if validate is None else jax.jit(validate),
        validate_every=int(validate_every),
        patience=int(count + 1 if patience is None else patience),
        widths=widths,
        batches=int(batches),
    )
    if widths is not None and name in (AUTO, *BLACK_BOXES):
        msg = f"{name!r} {'has widths of its own' if name == AUTO else 'sees exact cuts only, which have no width'}: leave out widths"
        raise ParameterError(msg)
    constraints = read_constraints(constraint)
    if constraints and not (isinstance(loss, Composite) and (is_optax or name == L_BFGS_B)):
        msg = f"constraint needs diffea.Composite(templates, objective) as loss, and {L_BFGS_B!r} or an optimizer of optax, got {optimizer!r}"
        raise ParameterError(msg)
    if constraints and (validate is not None or schedules):
        msg = "constraint goes neither with validate nor with schedules: which point is best would depend on more than one loss"
        raise ParameterError(msg)
    with locked(run.checkpoint) if run.checkpoint else contextlib.nullcontext():
        return _minimise(run, loss, start, optimizer, schedules or {}, constraints)


def _minimise(
    run: Run,
    loss: Loss,
    start: Params,
    optimizer: optax.GradientTransformation | str,
    schedules: Mapping[str, Schedule],
    constraints: Sequence[Constraint],
) -> Result:
    if isinstance(optimizer, str):
        name = optimizer.lower()
        if schedules:
            msg = f"schedules change the loss from step to step, which {name!r} cannot follow: use an optax optimizer"
            raise ParameterError(msg)
        if name == L_BFGS_B and isinstance(loss, Composite) and constraints:
            return constrained(run, Augmented(loss, run.box, constraints), start, quasi_newton)
        if name == L_BFGS_B:
            return quasi_newton(run, start)
        if not isinstance(loss, Composite):
            msg = f"{name!r} needs templates and objective one by one: give diffea.Composite(templates, objective) as loss"
            raise ParameterError(msg)
        if name == GAUSS_NEWTON:
            return gauss_newton(run, loss, start)
        return auto(run, loss, start) if name == AUTO else black_box(run, loss, start, name)

    def schedule(params: Params, step: int) -> Params:
        found = scheduled(schedules, params, step, run.steps)
        run.box.check(found)
        return found

    updates = Updates(optimizer, loss, run.box)
    if isinstance(loss, Composite) and constraints:
        if updates.searches(run.box.to_steps(start)):
            msg = "constraint changes the loss that a line search looks at: take an optimizer of optax without one, or 'l-bfgs-b'"
            raise ParameterError(msg)
        in_rounds = functools.partial(step_by_step, updates=updates, schedule=None)
        return constrained(run, Augmented(loss, run.box, constraints), start, in_rounds)
    return step_by_step(run, start, updates, schedule if schedules else None)


def check_count(what: str, count: object, least: int, of: str = "steps") -> int:
    """Something that is a whole number, and not too small.

    Raises:
        ParameterError: if not.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
        msg = f"{what} is a number of {of}, {least} or more, got {count!r}"
        raise ParameterError(msg)
    return int(count)
