r"""Gauss–Newton for few parameters: a pass over the data gives templates and Jacobian, the curvature costs no pass.

For a loss $h(T(x))$ with $J = \partial T/\partial x$ the Hessian is $J^T (\partial^2 h/\partial T^2) J + A$. The first part is exact, by
automatic differentiation of the statistics alone. The second, $A = \sum_b (\partial h/\partial T_b)\, \partial^2 T_b/\partial x^2$, is learned
from what a step $s$ changed: $A s = (J_+ - J)^T \partial h/\partial T$ (Dennis, Gay, Welsch, ACM TOMS 7 (1981) 348), by symmetric
rank-one updates within a trust region (Nocedal, Wright, Numerical Optimization, 2006, algorithm 6.2), whose shape is a box
like that of the bounds.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax.flatten_util import ravel_pytree

from diffea.errors import CheckpointError, FitError, YieldError
from diffea.optimise.checkpoints import Checkpoint
from diffea.optimise.composite import Composite
from diffea.optimise.evaluation import norm, scalar, sharpened_by
from diffea.optimise.loops import NO_LONGER_BETTER, Run
from diffea.optimise.result import Result, Step
from diffea.optimise.states import OTHER, finite
from diffea.parameters import told
from diffea.runtime import named_errors
from diffea.types import Params, PyTree, Scalar

RADIUS = 0.2  # of the range of a parameter
WIDEST, NARROWEST = 1.0, 1e-5
ACCEPT, GOOD = 1e-4, 0.75  # actual over predicted decrease
SINGULAR = 1e-8
TOLERANCE = 1e-9  # predicted decrease, relative to the loss
FLAT = 1e-8  # largest component of the projected gradient


@dataclasses.dataclass(frozen=True)
class Point:
    """One pass over the data and what the statistics make of it; arrays in the units of steps, n parameters, m bins.

    Attributes:
        x: the parameters, shape (n,).
        loss: there.
        gradient: of the loss, shape (n,).
        curvature: $J^T h'' J$, shape (n, n).
        jacobian: of the templates, shape (m, n).
        slope: of the objective by the templates, shape (m,).
    """

    x: np.ndarray
    loss: float
    gradient: np.ndarray
    curvature: np.ndarray
    jacobian: np.ndarray
    slope: np.ndarray


@dataclasses.dataclass(frozen=True)
class State:
    """Where the optimisation stands.

    Attributes:
        at: the best point so far.
        learned: the secant part $A$ of the Hessian, shape (n, n).
        radius: of the trust region.
    """

    at: Point
    learned: np.ndarray
    radius: float

    def arrays(self) -> list[np.ndarray]:
        """All of it, for a checkpoint."""
        return [np.asarray(part) for part in (*dataclasses.astuple(self.at), self.learned, self.radius)]

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> State:
        """The inverse of ``arrays``.

        Raises:
            CheckpointError: if they are another optimizer's, or not finite.
        """
        if len(arrays) != len(dataclasses.fields(Point)) + 2:
            raise CheckpointError(OTHER)
        *parts, learned, radius = arrays
        x, loss, gradient, curvature, jacobian, slope = parts
        size, bins = x.size, slope.size
        expected = [(size,), (), (size,), (size, size), (bins, size), (bins,), (size, size), ()]
        if [array.shape for array in arrays] != expected:
            raise CheckpointError(OTHER)
        finite(*arrays)
        return cls(Point(x, float(loss), gradient, curvature, jacobian, slope), learned, float(radius))


def gauss_newton(run: Run, loss: Composite, start: Params) -> Result:
    """Minimise a composite loss within the bounds; one evaluation is one pass over the data.

    Args:
        run: what to minimise.
        loss: the same loss, in its two parts.
        start: parameters.

    Raises:
        FitError, YieldError: if the statistics fail at the start, or wherever a step leads, however short.
    """
    begin, unravel = ravel_pytree(run.box.to_steps(start))
    low, high = (np.asarray(ravel_pytree(run.box.to_steps(end))[0]) for end in (run.box.low, run.box.high))
    evaluate = _Evaluation(run, loss, unravel)
    history: list[Step] = []
    at, best, lowest, state, stage = np.asarray(begin), np.asarray(begin), np.inf, None, 0

    def read(checkpoint: Checkpoint) -> tuple[State, np.ndarray, float, int, list[Step]]:
        if len(checkpoint.arrays) < 3:
            raise CheckpointError(OTHER)
        *arrays, best, lowest, stage = checkpoint.arrays
        found = State.of(arrays)
        if not found.at.x.shape == best.shape == begin.shape or lowest.shape != () or stage.shape != ():
            raise CheckpointError(OTHER)
        for place in (found.at.x, best):
            run.check_place(unravel(jnp.asarray(place)))
        finite(lowest)
        return found, best, float(lowest), int(stage), list(checkpoint.history)

    if begun := run.begin(read):
        state, best, lowest, stage, history = begun
        run.check_loss(state.at.loss, evaluate(state.at.x, history[-1].widths).loss)
    message = f"all {run.steps} evaluations made"
    stages = run.stages
    while len(history) < run.steps and not run.stale(history):
        widths, until = stages[stage]
        began = time.perf_counter()
        step, predicted = (np.zeros_like(begin), 0.0) if state is None else _subproblem(state, low, high)
        converged = state is not None and _converged(state, predicted, low, high)
        if state is not None and stage + 1 < len(stages) and (converged or len(history) >= until):
            at, state, stage = state.at.x, None, stage + 1
            best, lowest = (best, lowest) if run.validate else (at, np.inf)
            continue
        if converged:
            message = f"Gauss–Newton: {converged}"
            break
        try:
            trial = evaluate(at if state is None else np.clip(state.at.x + step, low, high), widths)
        except (FitError, YieldError):
            if state is None or state.radius < NARROWEST:
                raise
            state = dataclasses.replace(state, radius=0.25 * float(np.abs(step).max()))
            continue
        state = _first(trial) if state is None else _next(state, trial, predicted)
        validation = run.validation(unravel(jnp.asarray(trial.x)), len(history) + 1)
        criterion = validation if run.validate else trial.loss
        if criterion is not None and criterion < lowest:
            best, lowest = trial.x, criterion
        seconds = time.perf_counter() - began
        number = len(history) + 1
        here = run.box.to_params(unravel(jnp.asarray(trial.x)))
        history.append(
            Step(
                number,
                run.steps,
                trial.loss,
                norm(trial.gradient),
                seconds,
                validation,
                widths=widths,
                params=told(here),
            )
        )
        run.progress(history[-1])
        run.keep(history, [*state.arrays(), best, np.asarray(lowest), np.asarray(stage)], here)
    if run.stale(history):
        message = NO_LONGER_BETTER.format(run.patience)
    return Result(run.box.to_params(unravel(jnp.asarray(best))), tuple(history), message)


class _Evaluation:
    """Everything about a point, jitted once."""

    def __init__(self, run: Run, loss: Composite, unravel: Callable[[jax.Array], Params]) -> None:
        templates = getattr(loss.templates, "forward", loss.templates)
        units = ravel_pytree(run.box.units)[0]

        def evaluate(x: jax.Array, widths: Scalar | None) -> tuple[jax.Array, ...]:
            with sharpened_by(widths):
                return at(x)

        def at(x: jax.Array) -> tuple[jax.Array, ...]:
            params, to_params = ravel_pytree(run.box.to_params(unravel(x)))
            found, push = jax.linearize(lambda params: ravel_pytree(templates(to_params(params)))[0], params)
            jacobian = jax.vmap(push, out_axes=1)(jnp.eye(params.size)) * units
            shape = jax.eval_shape(lambda params: templates(to_params(params)), params)
            objective = functools.partial(_of_flat, loss.objective, shape)
            value, slope = jax.value_and_grad(objective)(found)
            curvature = jax.hessian(lambda step: objective(found + jacobian @ step))(jnp.zeros_like(x))
            return value, slope @ jacobian, curvature, jacobian, slope

        self._evaluate = jax.jit(evaluate)
        self._check = run.evaluate.check
        self._unravel = unravel

    def __call__(self, x: np.ndarray, widths: float | None) -> Point:
        with named_errors():
            value, gradient, *others = jax.tree.map(np.asarray, self._evaluate(jnp.asarray(x), widths))
        self._check(float(value), self._unravel(jnp.asarray(gradient)), self._unravel(jnp.asarray(x)), widths)
        return Point(x, float(value), gradient, *others)


def _of_flat(objective: Callable[[PyTree], Scalar], shape: PyTree, flat: jax.Array) -> jax.Array:
    leaves, tree = jax.tree.flatten(shape)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = [flat[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
    return scalar(objective(jax.tree.unflatten(tree, parts)))


def _first(point: Point) -> State:
    return State(point, np.zeros_like(point.curvature), RADIUS)


def _next(state: State, trial: Point, predicted: float) -> State:
    """Accept or reject the trial point, learn from it either way, and set the trust region."""
    step = trial.x - state.at.x
    learned = _secant(state.learned, step, (trial.jacobian - state.at.jacobian).T @ trial.slope)
    ratio = (state.at.loss - trial.loss) / predicted
    length = float(np.abs(step).max())
    if ratio < 0.25:
        radius = 0.5 * length if ratio > 0 else 0.25 * length
    elif ratio > GOOD and length > 0.9 * state.radius:
        radius = min(2.0 * state.radius, WIDEST)
    else:
        radius = state.radius
    return State(trial if ratio > ACCEPT else state.at, learned, radius)


def _secant(learned: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The symmetric rank-one update by which ``learned @ step`` becomes ``change``."""
    rest = change - learned @ step
    scale = float(rest @ step)
    if abs(scale) < SINGULAR * float(np.linalg.norm(rest) * np.linalg.norm(step)) or scale == 0.0:
        return learned
    return learned + np.outer(rest, rest) / scale


def _subproblem(state: State, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, float]:
    """The step within bounds and trust region that lowers the quadratic model most, and by how much."""
    at = state.at
    hessian = at.curvature + state.learned
    bounds = scipy.optimize.Bounds(np.maximum(low - at.x, -state.radius), np.minimum(high - at.x, state.radius))

    def model(step: np.ndarray) -> tuple[float, np.ndarray]:
        product = hessian @ step
        return float(at.gradient @ step + 0.5 * step @ product), at.gradient + product

    scale = max(float(np.abs(at.gradient).max()), 1e-300)
    found = scipy.optimize.minimize(
        lambda step: tuple(part / scale for part in model(step)),
        np.zeros_like(at.x),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    return found.x, -model(found.x)[0]


def _converged(state: State, predicted: float, low: np.ndarray, high: np.ndarray) -> str | None:
    at = state.at
    if np.abs(at.x - np.clip(at.x - at.gradient, low, high)).max() <= FLAT:
        return "the projected gradient vanishes"
    if predicted <= TOLERANCE * abs(at.loss):
        return "no step lowers the loss further"
    return None
