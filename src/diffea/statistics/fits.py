r"""Maximum-likelihood fits whose results are differentiable to any order.

The loop itself is not differentiated. Two facts about the minimum are used instead:

- its *value* $D(\hat\theta(T), T)$ has derivative $\partial D/\partial T$ at fixed $\hat\theta$ (the envelope theorem);
- its *position* has derivative $-H^{-1}\,\partial^2 D/\partial\theta\,\partial T$ (the implicit function theorem), over
  the parameters that are neither fixed nor held at a bound.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.complaints import complain
from diffea.errors import FitError, SpecError, YieldError
from diffea.statistics import jaxopt_solvers, kinks, likelihood, starts
from diffea.statistics.bound import BoundModel
from diffea.statistics.config import poi_index
from diffea.statistics.given import strength
from diffea.statistics.implicit import solution
from diffea.statistics.layout import Layout
from diffea.statistics.rates import Prepared, rates
from diffea.statistics.settings import Settings
from diffea.statistics.solver import CONVERGED, NO_BACKGROUND, REASONS, Minimum, Solver, scoring
from diffea.statistics.yields import is_concrete


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fit:
    """What a fit found.

    Attributes:
        pars: best-fit parameters, shape (npars,); differentiable.
        deviance: the minimum of `likelihood.deviance`; differentiable.
        free: parameters that are neither fixed nor at a bound, shape (npars,).
        status: 0 converged; `reason` says in words what else.
        iterations: number of steps.
        culprit: first bin that makes the likelihood infinite at the initial values, or −1.
    """

    pars: Array
    deviance: Array
    free: Array
    status: Array
    iterations: Array
    culprit: Array

    @property
    def reason(self) -> str:
        """Why this fit failed, and what to do; empty if it converged. Of one fit, outside of compiled functions."""
        return REASONS.get(int(self.status), "")


class Range(NamedTuple):
    """Where a fit may find the parameter of interest."""

    low: Array | float
    high: Array | float = np.inf


def own_range(bound: BoundModel) -> Range | None:
    """From the lower bound of the parameter of interest up; None for a model without.

    What is said about a best fit (its uncertainties, how well it describes the data) must not be said about the point
    where a fit stopped for a bound that is 10 because nobody gave another.
    """
    if bound.settings.poi_name is None:
        return None
    return Range(float(bounds(bound.layout)[0][poi_index(bound.layout, bound.settings)]))


class Held(NamedTuple):
    """Parameters that a fit leaves where they are told to be, inside of their bounds or not.

    Attributes:
        mask: which of them, shape (npars,).
        values: where, for all of them or shape (npars,); only those of held parameters count.
    """

    mask: np.ndarray | Array
    values: Array | float


def at_poi(bound: BoundModel, poi: Array | float) -> Held:
    """The parameter of interest at this value."""
    return Held(np.arange(bound.layout.npars) == poi_index(bound.layout, bound.settings), poi)


def bounds(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of all parameters."""
    table = np.concatenate([item.bounds for item in layout.sets.values()])
    return table[:, 0], table[:, 1]


def initial(layout: Layout) -> np.ndarray:
    """Initial values of all parameters."""
    return np.concatenate([item.inits for item in layout.sets.values()])


def profile(
    bound: BoundModel,
    prepared: Prepared,
    data: Array,
    held: Held | None,
    solver: Solver,
    start: Array | None = None,
    poi_range: Range | None = None,
) -> Fit:
    """Minimise the deviance; traceable, raises nothing.

    Args:
        bound: the model.
        prepared: its numbers.
        data: shape (nmaindata + nauxdata,).
        held: parameters that are not fitted; None to fit all.
        solver: how.
        start: initial values other than the model's.
        poi_range: where a free parameter of interest may be; within its bounds by default.
    """
    problem = _problem(bound, prepared, held, start, poi_range)
    return _finish(bound, prepared, data, held, _solve(bound, prepared, data, problem, solver, 1e-2))


def minimise(
    bound: BoundModel,
    prepared: Prepared,
    data: Array,
    held: Held | None,
    solver: Solver,
    start: Array | None = None,
    poi_range: Range | None = None,
    damping: float = 1e-2,
) -> Minimum:
    """As `profile`, without derivatives."""
    return _solve(bound, prepared, data, _problem(bound, prepared, held, start, poi_range), solver, damping)


def profiles(
    bound: BoundModel,
    prepared: Prepared,
    data: Array,
    pois: Sequence[Array | float | None],
    solver: Solver,
    poi_range: Range,
) -> list[Fit]:
    """Several fits to the same data in one loop: `profile` at each value, None for the free fit within `poi_range`."""
    all_held = [None if poi is None else at_poi(bound, poi) for poi in pois]
    problems = [_problem(bound, prepared, held, None, poi_range) for held in all_held]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    ends = jax.vmap(lambda problem: _solve(bound, prepared, data, problem, solver, 1e-2))(stacked)
    return [
        _finish(bound, prepared, data, held, jax.tree.map(lambda leaf, n=number: leaf[n], ends))
        for number, held in enumerate(all_held)
    ]


def _finish(bound: BoundModel, prepared: Prepared, data: Array, held: Held | None, end: Minimum) -> Fit:
    pars, value = anchored(bound, prepared, data, held, end)
    culprit = _culprit(bound.layout, bound.settings, prepared, data, pars)
    return Fit(pars, value, end.free, end.status, end.iterations, culprit)


class _Problem(NamedTuple):
    start: Array
    low: Array
    high: Array
    free: Array


def _problem(
    bound: BoundModel, prepared: Prepared, held: Held | None, start: Array | None, poi_range: Range | None
) -> _Problem:
    _refuse_start_outside(bound, held)
    low, high = map(jnp.asarray, bounds(bound.layout))
    first = jnp.asarray(initial(bound.layout) if start is None else start)
    free = ~prepared.fixed
    if poi_range is not None:
        index = poi_index(bound.layout, bound.settings)
        low, high = low.at[index].set(poi_range.low), high.at[index].set(poi_range.high)
        first = first.at[index].set(jnp.clip(first[index], *poi_range))
    if held is not None:
        first = jnp.where(held.mask, held.values, first)
        low, high = jnp.where(held.mask, first, low), jnp.where(held.mask, first, high)
        free &= ~held.mask
    return jax.lax.stop_gradient(_Problem(first, low, high, free))


def _refuse_start_outside(bound: BoundModel, held: Held | None) -> None:
    """As pyhf, which takes the model and refuses to fit it; a parameter that is known to be held does not start there."""
    if held is None or not is_concrete(held.mask):
        elsewhere = np.zeros(bound.layout.npars, bool)
    else:
        elsewhere = np.asarray(held.mask)
    for name, item in bound.layout.sets.items():
        inside = (item.bounds[:, 0] <= item.inits) & (item.inits <= item.bounds[:, 1])
        if not np.all(inside | elsewhere[item.slice]):
            msg = (
                f"parameters[{name!r}]: a fit starts at inits {item.inits.tolist()}, outside of bounds "
                f"{item.bounds.tolist()}: change one of them"
            )
            raise SpecError(msg)


def _solve(
    bound: BoundModel, prepared: Prepared, data: Array, problem: _Problem, solver: Solver, damping: float
) -> Minimum:
    layout, settings = bound.layout, bound.settings
    prepared, data = jax.lax.stop_gradient((prepared, data))
    if solver.method == "scoring":
        start, low, high, free = problem
        where = kinks.kinked(layout, settings)

        def once(start: Array, floor: Array) -> Minimum:
            seen = starts.with_floor(layout, rates(layout, settings, prepared, start), data, floor)
            expand = functools.partial(likelihood.expansion, layout, settings, prepared, data=seen)

            def within(function: kinks.Expand, begin: Array, low: Array, high: Array) -> Minimum:
                return scoring(function, begin, low, high, free, solver, damping)

            if not where.any():
                return within(lambda pars: expand(pars=pars), start, low, high)
            return kinks.minimise(within, lambda pars: expand(pars=pars), start, low, high, free, where)

        def from_start(start: Array) -> Minimum:
            aside = jnp.where(free, start + starts.ASIDE, start)
            return starts.up_to_the_edge(once, jnp.clip(start, low, high), jnp.clip(aside, low, high))

        def doubt(end: Minimum) -> starts.Doubt:
            return starts.doubt(layout, settings, prepared, data, free, end)

        if not starts.has_shifts(layout):
            return from_start(start)
        return starts.from_several(from_start, doubt, start, around_zero=starts.has_few_shifts(layout))
    return jaxopt_solvers.minimise(
        lambda pars: likelihood.deviance(layout, settings, prepared, pars, data), *problem, solver
    )


def anchored(
    bound: BoundModel, prepared: Prepared, data: Array, held: Held | None, end: Minimum
) -> tuple[Array, Array]:
    """Parameters at a minimum, and the deviance there, with their derivatives.

    Args:
        bound, prepared, data: what was fitted.
        held: parameters that were not fitted.
        end: where the minimisation ended.
    """
    layout, settings = bound.layout, bound.settings
    end = jax.lax.stop_gradient(end)
    pars, free = end.pars, end.free
    seen = starts.with_floor(layout, rates(layout, settings, jax.lax.stop_gradient(prepared), pars), data, end.floor)
    target = pars if held is None else jnp.where(held.mask, held.values, pars)
    pars = solution(functools.partial(_optimality, layout, settings), pars, (prepared, seen, free, target))
    return pars, profiled(layout, settings, prepared, seen, pars, target, free)


def _optimality(layout: Layout, settings: Settings, pars: Array, given: tuple[Prepared, Array, Array, Array]) -> Array:
    """Zero at a minimum: the gradient, or the distance from `target` where not free."""
    prepared, data, free, target = given
    slope = jax.grad(likelihood.deviance, argnums=3)(layout, settings, prepared, pars, data)
    return jnp.where(free, slope, pars - target)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def profiled(
    layout: Layout, settings: Settings, prepared: Prepared, data: Array, pars: Array, target: Array, free: Array
) -> Array:
    """Deviance at a minimum over the free parameters, whose own derivative does not count (envelope theorem).

    The others are at `target`, and have its derivative.
    """
    del target, free
    return likelihood.deviance(layout, settings, prepared, pars, data)


@profiled.defjvp
def _profiled_jvp(layout: Layout, settings: Settings, primals: Any, tangents: Any) -> tuple[Array, Array]:
    prepared, data, pars, target, free = primals
    d_prepared, d_data, _, d_target, _ = tangents
    value = profiled(layout, settings, prepared, data, pars, target, free)
    _, tangent = jax.jvp(
        lambda a, b, c: likelihood.deviance(layout, settings, a, c, b),
        (prepared, data, pars),
        (d_prepared, d_data, jnp.where(free, 0.0, d_target)),
    )
    return value, tangent


def _culprit(layout: Layout, settings: Settings, prepared: Prepared, data: Array, pars: Array) -> Array:
    nu = rates(layout, settings, prepared, pars)
    main = data[: layout.nbins_total]
    bad = ~jnp.isfinite(likelihood.poisson_deviance(main, nu)) | ~jnp.isfinite(main)
    which = likelihood.counted(layout, settings)
    bad = bad if which is None else bad & which
    return jnp.where(bad.any(), jnp.argmax(bad), -1)


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _fit(bound: BoundModel, data: Array, poi: Array | None, solver: Solver) -> Fit:
    return profile(bound, bound.prepared(), data, None if poi is None else at_poi(bound, poi), solver)


def fit(bound: BoundModel, data: Any, *, poi: float | Array | None = None, solver: Solver | None = None) -> Fit:
    """Maximum-likelihood fit within the parameters' bounds (``pyhf.infer.mle.fit`` and ``fixed_poi_fit``).

    >>> data = [60.0, 65.0, 0.0]  # events of the two bins, then the auxiliary measurement of norm
    >>> found = statistics.fit(bound, data)
    >>> dict(zip(bound.config.par_names, np.round(found.pars, 3).tolist()))
    {'mu': 0.723, 'norm': 0.196}

    Args:
        bound: the model.
        data: events of all bins and auxiliary data, shape (nmaindata + nauxdata,).
        poi: value at which the parameter of interest is held, within its bounds or not; None to fit it.
        solver: how.

    Raises:
        DataError: if data are too few or too many.
        FitError: if the fit does not converge.
    """
    solver = solver or Solver()
    held = None if poi is None else strength(poi, "poi")
    result = _fit(bound, bound.whole(data), held, solver)
    ensure(bound.layout, solver, {"to data": result})
    return result


def ensure(layout: Layout | None, solver: Solver, fits: Mapping[str, Fit]) -> None:
    """Raise for fits that did not converge: at once if their status is known, else when the compiled function runs.

    Raises:
        FitError: (inside of `jax.jit`, JAX's own error with this text; `runtime.named_errors` restores it).
    """
    ensure_codes(layout, solver, codes(fits))


def codes(fits: Mapping[str, Fit]) -> dict[str, tuple[Array, Array]]:
    """(Status, culprit) of fits, by what they are."""
    return {f"the fit {name}": (fit.status, fit.culprit) for name, fit in fits.items()}


def ensure_codes(layout: Layout | None, solver: Solver, ends: Mapping[str, tuple[Array, Array]]) -> None:
    """As `ensure`, for (status, culprit) of anything that may fail; the keys say what it is."""
    if not solver.throw:
        return
    if is_concrete(ends):
        _complain(layout, ends)
        return
    bad = functools.reduce(jnp.logical_or, [jnp.any(status != CONVERGED) for status, _ in ends.values()])
    complain(functools.partial(_complain, layout), bad, dict(ends))


def _complain(layout: Layout | None, ends: Mapping[str, tuple[Any, Any]]) -> None:
    for name, (status, culprit) in ends.items():
        failed = np.flatnonzero(np.ravel(status) != CONVERGED)
        if failed.size:
            code, bin_ = int(np.ravel(status)[failed[0]]), int(np.ravel(culprit)[failed[0]])
            many = f" ({failed.size} of {np.size(status)})" if np.size(status) > 1 else ""
            where = f" in bin {layout.bin_names[bin_]}" if layout is not None and bin_ >= 0 else ""
            msg = f"{name}{many} failed: {REASONS[code]}{where}"
            raise YieldError(msg) if code == NO_BACKGROUND else FitError(msg)
