"""A HistFactory model with its numbers, which may be traced: densities and expected data."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import DataError, SpecError
from diffea.notebook import tables
from diffea.statistics import likelihood
from diffea.statistics.config import ModelConfig
from diffea.statistics.given import numbers
from diffea.statistics.layout import Layout
from diffea.statistics.rates import Prepared, by_sample, prepare, rates
from diffea.statistics.settings import Settings
from diffea.statistics.yields import Yields, is_concrete
from diffea.types import PyTree


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class BoundModel:
    """A model with numbers: a likelihood, differentiable in its parameters, its data and all of its yields.

    A JAX pytree whose leaves are the yields and the observations, so it may cross `jax.jit`, and `jax.grad` of a function of
    it is a `BoundModel` of derivatives.
    """

    layout: Layout
    settings: Settings
    yields: Yields
    observations: np.ndarray | Array | None = None

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Layout, Settings]]:
        """The numbers; their structure is static."""
        return (self.yields, self.observations), (self.layout, self.settings)

    @classmethod
    def tree_unflatten(cls, static: tuple[Layout, Settings], children: tuple[Any, ...]) -> BoundModel:
        """Inverse of `tree_flatten`."""
        return cls(*static, *children)

    def _repr_html_(self) -> str:
        return tables.of_bound(self)

    def prepared(self) -> Prepared:
        """The yields spread over samples and bins."""
        return _prepare(self.layout, self.yields)

    @property
    def config(self) -> ModelConfig:
        """Names, order and settings, as ``pyhf.Model.config``."""
        return ModelConfig(self.layout, self.settings, self.prepared())

    def with_yields(self, yields: Yields) -> BoundModel:
        """The same model with other numbers."""
        return replace(self, yields=yields)

    def only(self, channels: Sequence[str]) -> BoundModel:
        """The same model with a likelihood of these channels alone: fits look at them, `expected_data` predicts all.

        Data keep their form, and what is in the other channels does not count. All auxiliary data still do, so a parameter
        that acts in other channels alone stays at its own, with its prior width.

        Args:
            channels: names of those that are fitted.

        Raises:
            SpecError: for a channel that is none, or no channel at all.
        """
        unknown = [name for name in channels if name not in self.layout.channels]
        if unknown or not channels or isinstance(channels, str):
            msg = f"only: expected a list of some of the channels {list(self.layout.channels)}, got {channels!r}"
            raise SpecError(msg)
        fitted = tuple(name for name in self.layout.channels if name in channels)
        return replace(self, settings=replace(self.settings, fitted=fitted))

    def logpdf(self, pars: Any, data: Any) -> Array:
        """Logarithm of the density, a scalar; of the fitted channels (`only`) and all auxiliary data.

        Args:
            pars: parameters in the order of `config.par_names`, shape (npars,).
            data: events of all bins, then auxiliary data, shape (nmaindata + nauxdata,).

        Raises:
            DataError: if a length is wrong.
        """
        return _log_density(self, self._pars(pars), self.whole(data))

    def expected_data(self, pars: Any, include_auxdata: bool = True) -> Array:
        """Events expected in all bins, followed by the expected auxiliary data."""
        both = _expected_data(self, self._pars(pars))
        return both if include_auxdata else both[: self.layout.nbins_total]

    def expected_by_sample(self, pars: Any) -> Array:
        """Events expected of every sample in every bin, shape (samples, bins)."""
        return by_sample(self.layout, self.settings, self.prepared(), self._pars(pars))

    def data(self, observations: PyTree) -> Array:
        """Observed events of all bins (flat, or by channel) with the model's auxiliary data appended.

        Raises:
            DataError: if bins are missing, or a number is negative or NaN.
        """
        if isinstance(observations, Mapping):
            missing = [name for name in self.layout.channels if name not in observations]
            if missing:
                msg = f"no observations for channel(s) {missing}; expected all of {list(self.layout.channels)}"
                raise DataError(msg)
            observations = jnp.concatenate([self._of_channel(c, observations[c]) for c in self.layout.channels])
        main = numbers(observations, "observations", DataError)
        if main.shape != (self.layout.nbins_total,):
            msg = f"expected observations of {self.layout.nbins_total} bins ({self.layout.nbins}), got {main.shape}"
            raise DataError(msg)
        self._check_counts(main)
        return jnp.concatenate([main, self.prepared().auxdata])

    def whole(self, data: Any) -> Array:
        """Data as an array, once it is seen that they are whole: events of all bins, then auxiliary data.

        Raises:
            DataError: if there are too few or too many, or one that is known is NaN or negative (an auxiliary one: not finite).
        """
        data = numbers(data, "data", DataError)
        bins, aux = self.layout.nbins_total, self.layout.nauxdata
        if data.shape != (bins + aux,):
            msg = f"expected {bins} bins and {aux} auxiliary data, got shape {data.shape}: bound.data(observations) appends these"
            raise DataError(msg)
        self._check_counts(data)
        return data

    def observed_data(self) -> Array:
        """The observations of the workspace with auxiliary data: asked for by name, for results that are unblinded.

        Raises:
            DataError: if the model was not made from a workspace with observations.
        """
        if self.observations is None:
            msg = "this model has no observations: make it with HistFactory.from_workspace, or use data(observations)"
            raise DataError(msg)
        return self.data(jnp.asarray(self.observations))

    def _of_channel(self, channel: str, observations: PyTree) -> Array:
        found = jnp.ravel(numbers(observations, f"observations of {channel!r}", DataError))
        if found.size != self.layout.nbins[channel]:
            msg = f"observations of {channel!r}: expected {self.layout.nbins[channel]} bins, got {found.size}"
            raise DataError(msg)
        return found

    def _check_counts(self, data: Array) -> None:
        """See that events of bins, and auxiliary data after them, are numbers that an experiment can give."""
        if not is_concrete(data):
            return
        known, bins = np.asarray(data), self.layout.nbins_total
        bad = ~np.isfinite(known)
        bad[:bins] |= known[:bins] < 0
        if bad.any():
            first = int(np.argmax(bad))
            where = self.layout.bin_names[first] if first < bins else f"the auxiliary datum {first - bins}"
            msg = f"observations must be finite and not negative, got {known[first]} in {where}"
            raise DataError(msg)

    def _pars(self, pars: Any) -> Array:
        pars = numbers(pars, "parameters", DataError)
        if pars.shape != (self.layout.npars,):
            msg = f"expected {self.layout.npars} parameters ({', '.join(self.layout.sets)}), got shape {pars.shape}"
            raise DataError(msg)
        return pars


_prepare = jax.jit(prepare, static_argnums=0, inline=True)


@functools.partial(jax.jit, inline=True)
def _log_density(bound: BoundModel, pars: Array, data: Array) -> Array:
    return likelihood.log_density(bound.layout, bound.settings, bound.prepared(), pars, data)


@functools.partial(jax.jit, inline=True)
def _expected_data(bound: BoundModel, pars: Array) -> Array:
    prepared = bound.prepared()
    main = rates(bound.layout, bound.settings, prepared, pars)
    return jnp.concatenate([main, likelihood.expected_auxdata(bound.layout, prepared, pars)])
