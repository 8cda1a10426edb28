"""Constraints: working points that an optimisation holds, by the method of multipliers.

Hestenes, JOTA 4 (1969) 303; Powell, in Optimization (1969) 283; for inequalities Rockafellar, Math. Programming 5 (1973) 354. Each round
minimises the loss plus terms of its constraints, starting from the last round's end; then the multipliers are updated, and the weight of the
squares grows where a violation has not become much smaller. Nothing compiles again between rounds.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import ConstraintWarning, ParameterError
from diffea.optimise.box import Box
from diffea.optimise.checkpoints import clear, fingerprint
from diffea.optimise.composite import Composite
from diffea.optimise.evaluation import LossAndGradient, Part, of_part, scalar, sharpened_by
from diffea.optimise.loops import Run
from diffea.optimise.result import Result, Step
from diffea.parameters import not_numbers
from diffea.runtime import named_errors
from diffea.types import Params, PyTree, Scalar

ROUNDS = 8
WEIGHT = 10.0  # of squared relative violations, in units of the loss at the start
GROWTH = 4.0  # of that weight, where a violation has not become this much smaller in a round
HELD = 0.01  # relative violation below which a constraint counts as held


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A working point: what a quantity of the templates is to be.

    ::

        efficiency = lambda T: T["sr", "signal"].values.sum() / 120.0
        diffea.optimise(diffea.Composite(templates, objective), …, constraint=diffea.Constraint(efficiency, at_least=0.8))

    Args:
        quantity: of the templates, such as a signal efficiency or the background's yield.
        at_least, at_most, exactly: one of them, and not 0; violations are measured relative to it.

    Raises:
        ParameterError: if these are none, or more than one of them.
    """

    quantity: Callable[[PyTree], Scalar]
    _: dataclasses.KW_ONLY
    at_least: float | None = None
    at_most: float | None = None
    exactly: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.at_least, self.at_most, self.exactly) if value is not None]
        number = given[0] if len(given) == 1 and not not_numbers(given[0]) and np.shape(given[0]) == () else 0.0
        quantity: object = self.quantity
        if not (callable(quantity) and 0 < abs(float(number)) < math.inf):
            msg = (
                "a constraint is diffea.Constraint(quantity, at_least=…) with a function of the templates, and one of at_least, at_most and "
                f"exactly, a finite number other than 0; got {self!r}"
            )
            raise ParameterError(msg)

    @property
    def asked(self) -> str:
        """In words."""
        return next(
            f"{name.replace('_', ' ')} {value:.6g}"
            for name in ("at_least", "at_most", "exactly")
            if (value := getattr(self, name)) is not None
        )

    def excess(self, quantity: Scalar) -> jax.Array:
        """The relative violation: positive where it is one; of an equality of either sign."""
        target = next(value for value in (self.at_least, self.at_most, self.exactly) if value is not None)
        sign = -1.0 if self.at_least is not None else 1.0
        return sign * (jnp.asarray(quantity) - target) / abs(target)


def read_constraints(given: object) -> tuple[Constraint, ...]:
    """One or more constraints, or none.

    Raises:
        ParameterError: for anything else.
    """
    several = () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)
    for constraint in several:
        if not isinstance(constraint, Constraint):
            msg = f"constraint is a diffea.Constraint, or a list of them, got {constraint!r}"
            raise ParameterError(msg)
    return several


class Augmented(LossAndGradient):
    """The loss with the terms of its constraints, whose multipliers change from round to round.

    Args:
        loss: whose templates the constraints look at.
        box: the units of steps.
        constraints: at least one.
    """

    def __init__(self, loss: Composite, box: Box, constraints: Sequence[Constraint]) -> None:
        super().__init__(loss, box)
        self._constraints = constraints
        self._equal = np.array([constraint.exactly is not None for constraint in constraints])

        def with_terms(
            steps: Params, widths: Scalar | None, part: Part | None, multipliers: jax.Array, weight: Scalar
        ) -> tuple[jax.Array, jax.Array]:
            with sharpened_by(widths), of_part(part):
                templates = loss.templates(box.to_params(steps))
                value = scalar(loss.objective(templates))
            quantities = jnp.stack([scalar(constraint.quantity(templates)) for constraint in constraints])
            excess = jnp.stack([c.excess(quantity) for c, quantity in zip(constraints, quantities, strict=True)])
            return value + _terms(excess, multipliers, weight, self._equal), quantities

        compiled = jax.jit(jax.value_and_grad(with_terms, has_aux=True))

        def value_and_grad(steps: Params, widths: Scalar | None, part: Part | None) -> tuple[jax.Array, Params]:
            (value, self.quantities), gradient = compiled(steps, widths, part, self.multipliers, self.weight)
            return value, gradient

        self._value_and_grad = value_and_grad

    def weigh(self, steps: Params, widths: float | None) -> None:
        """Begin with a weight of violations that fits the loss at the start."""
        self.multipliers, self.weight = np.zeros(len(self._constraints)), 0.0
        self._violations = np.full(len(self._constraints), np.inf)
        with named_errors():
            value = float(self._value_and_grad(steps, widths, None)[0])
        self.weight = WEIGHT * (abs(value) or 1.0)

    def update(self, steps: Params, widths: float | None) -> None:
        """Go on to the next round: multipliers and weight by the violations where the last one ended, on all events."""
        excess = self._excess(self._quantities(steps, widths))
        updated = self.multipliers + self.weight * excess
        self.multipliers = np.where(self._equal, updated, np.maximum(updated, 0.0))
        violations = self._violated(excess)
        if np.any(violations > self._violations / GROWTH):
            self.weight *= GROWTH
        self._violations = violations

    def held(self, steps: Params, widths: float | None) -> tuple[tuple[float, ...], str]:
        """The quantities of the constraints, and in words which of these do not hold."""
        quantities = self._quantities(steps, widths)
        off = self._violated(self._excess(quantities)) > HELD
        broken = (
            f"constraint {number} is {quantities[number]:.6g}, asked {self._constraints[number].asked}"
            for number in map(int, np.flatnonzero(off))
        )
        return tuple(map(float, quantities)), "; ".join(broken)

    def _quantities(self, steps: Params, widths: float | None) -> np.ndarray:
        with named_errors():
            self._value_and_grad(steps, widths, None)
        return np.asarray(self.quantities)

    def _excess(self, quantities: np.ndarray) -> np.ndarray:
        return np.array([float(c.excess(q)) for c, q in zip(self._constraints, quantities, strict=True)])

    def _violated(self, excess: np.ndarray) -> np.ndarray:
        """By how much each constraint is violated, relative and not below 0."""
        return np.where(self._equal, np.abs(excess), np.maximum(excess, 0.0))


def _terms(excess: jax.Array, multipliers: jax.Array, weight: Scalar, equal: np.ndarray) -> jax.Array:
    """What constraints add to the loss: λc + ½ρc², of an inequality where λ + ρc > 0, and −λ²/2ρ elsewhere."""
    active = equal | (multipliers + weight * excess > 0)
    known = jnp.where(weight > 0, weight, 1.0)
    return jnp.sum(
        jnp.where(active, multipliers * excess + 0.5 * weight * excess**2, -(multipliers**2) / (2.0 * known))
    )


def constrained(run: Run, evaluate: Augmented, start: Params, minimise: Callable[[Run, Params], Result]) -> Result:
    """Rounds of an optimizer, all steps in equal shares, each with a folder of its own for its checkpoints.

    Args:
        run: of all rounds together.
        evaluate: the loss with terms of its constraints.
        start: parameters.
        minimise: the optimizer, of a round.

    Warns:
        ConstraintWarning: if a constraint does not hold at the end.
    """
    rounds = min(ROUNDS, run.steps)
    folders = [run.checkpoint and run.checkpoint / f"round-{number}" for number in range(ROUNDS)]
    for folder in folders:
        if folder and not run.resume:
            clear(folder)
    evaluate.weigh(run.box.to_steps(start), run.scale(0.0))
    point, history, message = start, tuple[Step, ...](), "no step taken"
    for number in range(rounds):
        round_run = _round(run, evaluate, point, number, rounds, len(history), folders[number])
        found = minimise(round_run, point)
        history += tuple(_renumbered(step, len(history), run.steps) for step in found.history)
        point, message = found.params, found.message
        evaluate.update(run.box.to_steps(point), round_run.scale(1.0))
    quantities, broken = evaluate.held(run.box.to_steps(point), run.scale(1.0))
    if broken:
        message = f"{message}; {broken}"
        warnings.warn(f"the optimisation ended where {broken}", ConstraintWarning, stacklevel=4)
    return Result(point, history, message, constraints=quantities)


def _round(
    run: Run, evaluate: Augmented, point: Params, number: int, rounds: int, done: int, folder: Path | None
) -> Run:
    """One round of a run, which continues its numbers of steps and its widths."""
    state = [*map(np.asarray, jax.tree.leaves(point)), evaluate.multipliers, np.asarray(evaluate.weight)]
    widths, share = run.widths, run.steps * (number + 1) // rounds - run.steps * number // rounds
    return dataclasses.replace(
        run,
        evaluate=evaluate,
        steps=share,
        checkpoint=folder,
        fingerprint=fingerprint(run.fingerprint, number, *state),
        progress=lambda step: run.progress(_renumbered(step, done, run.steps)),
        widths=widths and (lambda fraction: widths((number + fraction) / rounds)),
    )


def _renumbered(step: Step, done: int, steps: int) -> Step:
    return dataclasses.replace(step, step=done + step.step, steps=steps)
