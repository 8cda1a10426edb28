"""A likelihood of one's own: any negative log-likelihood in JAX, with the fits and derivatives of the others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from diffea.errors import MethodError, ParameterError, SpecError
from diffea.statistics.bound import BoundModel
from diffea.statistics.fits import Fit, Held, ensure
from diffea.statistics.given import strength
from diffea.statistics.implicit import solution
from diffea.statistics.information import covariance
from diffea.statistics.likelihood import Expansion
from diffea.statistics.solver import Minimum, Solver, scoring
from diffea.types import PyTree

Function = Callable[[PyTree, PyTree], Array]


@dataclass(frozen=True, eq=False)
class Likelihood:
    """A negative log-likelihood ``nll(parameters, templates)``; ``likelihood(templates)`` binds it.

    Everything that the likelihood is of stands in ``templates``, its data too: any pytree of arrays, in which it is differentiable.
    Constraints are terms of ``nll``. Bound, it is what `diffea.objectives` take: ``cls``, ``log_cls``, ``upper_limit``, ``discovery``,
    ``discovery_significance``, ``poi_uncertainty`` and ``generalised_variance``.

    Args:
        nll: $-\\ln L$, a scalar, up to what does not depend on the parameters; twice differentiable by JAX.
        start: the parameters where fits start, a pytree of floats or arrays, or one array.
        bounds: (low, high) by parameter, None for no bound: ``{"mu": (0, None)}``. A set's name stands for all of its entries.
        poi: name of the parameter of interest.
        expected: ``expected(parameters, templates)``: the templates with the data that are expected at these parameters (Asimov
            data; auxiliary data too) in the place of their own. Without it there are only fits, uncertainties and likelihood ratios.

    Raises:
        ParameterError: if bounds make no sense, or the start is outside of them.
        SpecError: for a name that is none.
    """

    nll: Function
    start: PyTree
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None
    poi: str | None = None
    expected: Callable[[PyTree, PyTree], PyTree] | None = None

    def __post_init__(self) -> None:
        if not self.names:
            msg = "Likelihood: the start has no parameter"
            raise SpecError(msg)
        if self.poi is not None and len(self.places(self.poi)) != 1:
            msg = f"Likelihood: the parameter of interest {self.poi!r} is a set of {len(self.places(self.poi))} parameters"
            raise SpecError(msg)
        low, high = self.limits
        first = self.flat
        for i in np.flatnonzero(~((low <= first) & (first <= high) & np.isfinite(first))):
            msg = f"Likelihood: {self.names[i]!r} starts at {first[i]}, which is not inside of its bounds ({low[i]}, {high[i]})"
            raise ParameterError(msg)

    def __call__(self, templates: PyTree) -> BoundLikelihood:
        """The likelihood of these templates."""
        return BoundLikelihood(self, templates)

    @functools.cached_property
    def flat(self) -> np.ndarray:
        """The start as one array, shape (parameters,)."""
        return np.concatenate([np.ravel(np.asarray(leaf, float)) for _, leaf in self._leaves])

    def parameters(self, flat: Array) -> PyTree:
        """A flat array of parameters in the form of the start."""
        return ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), self.start))[1](flat)

    @functools.cached_property
    def names(self) -> list[str]:
        """Name of every parameter, with an index for the entries of an array."""
        return [
            f"{name}[{','.join(map(str, index))}]" if index else name
            for name, leaf in self._leaves
            for index in np.ndindex(np.shape(leaf))
        ]

    def places(self, name: str) -> list[int]:
        """Where a parameter, or all those of an array, are in the flat array.

        Raises:
            SpecError: if there is none of this name.
        """
        found = [i for i, known in enumerate(self.names) if known == name or known.startswith(f"{name}[")]
        if not found:
            msg = f"no parameter {name!r}, the likelihood has {self.names}"
            raise SpecError(msg)
        return found

    @functools.cached_property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of all parameters."""
        low, high = np.full(len(self.names), -np.inf), np.full(len(self.names), np.inf)
        for name, (least, most) in (self.bounds or {}).items():
            low[self.places(name)] = -np.inf if least is None else least
            high[self.places(name)] = np.inf if most is None else most
        return low, high

    @property
    def _leaves(self) -> list[tuple[str, PyTree]]:
        paths = jax.tree_util.tree_flatten_with_path(self.start)[0]
        return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class BoundLikelihood:
    """A likelihood with its templates, a JAX pytree whose leaves are these."""

    likelihood: Likelihood
    templates: PyTree

    def tree_flatten(self) -> tuple[tuple[PyTree], Likelihood]:
        """The templates; everything else is static."""
        return (self.templates,), self.likelihood

    @classmethod
    def tree_unflatten(cls, static: Likelihood, children: tuple[PyTree]) -> BoundLikelihood:
        """Inverse of `tree_flatten`."""
        return cls(static, children[0])

    def fit(self, *, poi: float | Array | None = None, solver: Solver | None = None) -> Fit:
        """Maximum-likelihood fit: ``.pars`` is flat (`Likelihood.parameters` gives it its form), ``.deviance`` the least −ln L.

        Args:
            poi: value at which the parameter of interest is held; None to fit it.
            solver: how.

        Raises:
            FitError: if the fit does not converge.
            SpecError: if a parameter of interest is held and there is none.
        """
        solver = solver or Solver()
        result = _fit(self, None if poi is None else strength(poi, "poi"), solver)
        ensure(None, solver, {"of one's own likelihood": result})
        return result


Bound = BoundModel | BoundLikelihood


def poi_place(bound: BoundLikelihood) -> int:
    """Place of the parameter of interest.

    Raises:
        SpecError: if there is none.
    """
    if bound.likelihood.poi is None:
        msg = "the likelihood has no parameter of interest: name one, Likelihood(…, poi=…)"
        raise SpecError(msg)
    return bound.likelihood.places(bound.likelihood.poi)[0]


def at_poi(bound: BoundLikelihood, poi: float | Array) -> Held:
    """The parameter of interest held at this value."""
    return Held(np.arange(len(bound.likelihood.names)) == poi_place(bound), poi)


def asimov(bound: BoundLikelihood, pars: Array) -> PyTree:
    """Templates with the data that are expected at these parameters.

    Raises:
        MethodError: if the likelihood does not say what is expected.
    """
    own = bound.likelihood
    if own.expected is None:
        msg = (
            "this needs Asimov data, and the likelihood does not say which data it expects: give "
            "Likelihood(…, expected=…), or data=… where only these are looked at"
        )
        raise MethodError(msg)
    return own.expected(own.parameters(pars), bound.templates)


def value(own: Likelihood, pars: Array, templates: PyTree) -> Array:
    """−ln L at a flat array of parameters."""
    return own.nll(own.parameters(pars), templates)


class Box(NamedTuple):
    """Where a fit may find the parameter of interest, in the place of its bounds."""

    low: float
    high: float = np.inf


def minimise(
    bound: BoundLikelihood,
    held: Held | None,
    solver: Solver,
    start: Array | None = None,
    box: Box | None = None,
    damping: float = 1e-2,
) -> Minimum:
    """The minimum of −ln L, without derivatives."""
    own, templates = bound.likelihood, jax.lax.stop_gradient(bound.templates)
    lowest, highest = (np.array(edge) for edge in own.limits)
    if box is not None:
        lowest[poi_place(bound)], highest[poi_place(bound)] = box
    low, high = jnp.asarray(lowest), jnp.asarray(highest)
    first = jnp.clip(jnp.asarray(own.flat if start is None else start), low, high)
    free = jnp.ones(first.shape, bool)
    if held is not None:
        first = jnp.where(held.mask, held.values, first)
        low, high, free = jnp.where(held.mask, first, low), jnp.where(held.mask, first, high), free & ~held.mask

    def expand(pars: Array) -> Expansion:
        function = functools.partial(value, own, templates=templates)
        height, slope = jax.value_and_grad(function)(pars)
        hessian = jax.hessian(function)(pars)
        bend = jnp.abs(jnp.diagonal(hessian))
        return Expansion(height, slope, hessian, jnp.where(bend > 0, bend, slope**2))

    first, low, high, free = jax.lax.stop_gradient((first, low, high, free))
    return scoring(expand, first, low, high, free, solver, damping)


def anchored(bound: BoundLikelihood, held: Held | None, end: Minimum) -> tuple[Array, Array]:
    """Parameters at a minimum and −ln L there, with their derivatives: implicit functions and the envelope theorem."""
    own, end = bound.likelihood, jax.lax.stop_gradient(end)
    target = end.pars if held is None else jnp.where(held.mask, held.values, end.pars)
    pars = solution(functools.partial(_optimality, own), end.pars, (bound.templates, end.free, target))
    return pars, _profiled(own, bound.templates, pars, target, end.free)


def _optimality(own: Likelihood, pars: Array, given: tuple[PyTree, Array, Array]) -> Array:
    """As `fits._optimality`."""
    templates, free, target = given
    return jnp.where(free, jax.grad(value, argnums=1)(own, pars, templates), pars - target)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _profiled(own: Likelihood, templates: PyTree, pars: Array, target: Array, free: Array) -> Array:
    """−ln L at a minimum over the free parameters, whose own derivative does not count (envelope theorem)."""
    del target, free
    return value(own, pars, templates)


@_profiled.defjvp
def _profiled_jvp(own: Likelihood, primals: PyTree, tangents: PyTree) -> tuple[Array, Array]:
    templates, pars, target, free = primals
    d_templates, _, d_target, _ = tangents
    height = _profiled(own, templates, pars, target, free)
    moved = (d_templates, jnp.where(free, 0.0, d_target))
    return height, jax.jvp(lambda t, p: value(own, p, t), (templates, pars), moved)[1]


def profile(
    bound: BoundLikelihood, held: Held | None, solver: Solver, start: Array | None = None, box: Box | None = None
) -> Fit:
    """A fit with its derivatives; traceable, raises nothing."""
    end = minimise(bound, held, solver, start, box)
    pars, height = anchored(bound, held, end)
    return Fit(pars, height, end.free, end.status, end.iterations, jnp.asarray(-1))


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _fit(bound: BoundLikelihood, poi: Array | None, solver: Solver) -> Fit:
    return profile(bound, None if poi is None else at_poi(bound, poi), solver)


@functools.partial(jax.jit, static_argnames=("solver",), inline=True)
def _covariance(bound: BoundLikelihood, poi_true: Array, data: PyTree, solver: Solver) -> tuple[Array, Fit | None]:
    own, fit, seen = bound.likelihood, None, data
    pars = jnp.asarray(own.flat)
    pars = pars if own.poi is None else pars.at[poi_place(bound)].set(poi_true)
    if data is None:
        seen = asimov(bound, pars)
    else:
        box = None if own.poi is None else Box(float(own.limits[0][poi_place(bound)]))
        fit = profile(own(data), None, solver, box=box)
        pars = fit.pars
    hessian = jax.hessian(functools.partial(value, own, templates=seen))(pars)
    return covariance(hessian, jnp.ones(pars.shape, bool)), fit


def covariance_of_all(
    bound: BoundLikelihood, data: PyTree, poi_true: float | Array, solver: Solver | None
) -> tuple[Array, Array, Fit | None]:
    """As `estimates.covariance_of_all`; `data` are templates with the data in them, Asimov data by default."""
    solver = solver or Solver()
    cov, fit = _covariance(bound, jnp.asarray(poi_true, float), data, solver)
    if fit is not None:
        ensure(None, solver, {"of all parameters to data": fit})
    return cov, jnp.ones(len(cov), bool), fit


def chosen(bound: BoundLikelihood, parameters: Sequence[str] | None) -> np.ndarray:
    """As `estimates.chosen`."""
    if parameters is None:
        return np.arange(len(bound.likelihood.names))
    places = [place for name in parameters for place in bound.likelihood.places(name)]
    if len(set(places)) < len(places) or not places:
        msg = f"expected names of parameters, each once, got {list(parameters)}"
        raise SpecError(msg)
    return np.array(places)
