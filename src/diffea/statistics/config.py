"""What pyhf users know as ``model.config``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jax import Array

from diffea.errors import SpecError
from diffea.statistics.layout import Layout
from diffea.statistics.parameters import ParameterSet
from diffea.statistics.rates import Prepared
from diffea.statistics.settings import Settings


class ModelConfig:
    """Names, order and settings of a model's channels, samples, modifiers and parameters, named as in pyhf.

    `auxdata` and `suggested_fixed` depend on the yields (through shapesys and staterror).
    """

    def __init__(self, layout: Layout, settings: Settings, prepared: Prepared) -> None:
        self.layout = layout
        self.settings = settings
        self.prepared = prepared

    @property
    def channels(self) -> list[str]:
        """Channels, sorted."""
        return list(self.layout.channels)

    @property
    def samples(self) -> list[str]:
        """Samples of all channels, sorted."""
        return list(self.layout.samples)

    @property
    def modifiers(self) -> list[tuple[str, str]]:
        """(name, type) of the modifiers, sorted."""
        return list(self.layout.modifiers)

    @property
    def channel_nbins(self) -> dict[str, int]:
        """Number of bins of every channel."""
        return dict(self.layout.nbins)

    @property
    def channel_slices(self) -> Mapping[str, slice]:
        """Where the bins of every channel are in the data."""
        return dict(self.layout.slices)

    @property
    def par_order(self) -> list[str]:
        """Names of the parameter sets, in order."""
        return list(self.layout.sets)

    @property
    def par_names(self) -> list[str]:
        """Name of every parameter, with the bin for those of a set."""
        return parameter_names(self.layout)

    @property
    def npars(self) -> int:
        """Number of parameters."""
        return self.layout.npars

    @property
    def nmaindata(self) -> int:
        """Number of bins."""
        return self.layout.nbins_total

    @property
    def nauxdata(self) -> int:
        """Number of auxiliary measurements."""
        return self.layout.nauxdata

    @property
    def auxdata(self) -> Array:
        """Auxiliary data, shape (nauxdata,)."""
        return self.prepared.auxdata

    @property
    def auxdata_order(self) -> list[str]:
        """Names of the constrained parameter sets, in the order of the auxiliary data."""
        return list(self.layout.auxdata_order)

    @property
    def poi_name(self) -> str | None:
        """Name of the parameter of interest."""
        return self.settings.poi_name

    @property
    def poi_index(self) -> int | None:
        """Place of the parameter of interest among the parameters."""
        return None if self.poi_name is None else self.layout.sets[self.poi_name].slice.start

    def param_set(self, name: str) -> ParameterSet:
        """The parameter set of this name.

        Raises:
            SpecError: if there is none.
        """
        if name not in self.layout.sets:
            msg = f"no parameter {name!r}, the model has {self.par_order}"
            raise SpecError(msg)
        return self.layout.sets[name]

    def par_slice(self, name: str) -> slice:
        """Where the parameters of a set are among all."""
        return self.param_set(name).slice

    def suggested_init(self) -> list[float]:
        """Initial values."""
        return np.concatenate([item.inits for item in self.layout.sets.values()]).tolist()

    def suggested_bounds(self) -> list[tuple[float, float]]:
        """(low, high) of every parameter."""
        return [(low, high) for item in self.layout.sets.values() for low, high in item.bounds.tolist()]

    def suggested_fixed(self) -> Array:
        """Whether each parameter stays at its initial value, shape (npars,)."""
        return self.prepared.fixed


def parameter_names(layout: Layout) -> list[str]:
    """Name of every parameter, with the bin for those of a set."""
    return [
        name if item.is_scalar else f"{name}[{i}]"
        for name, item in layout.sets.items()
        for i in range(item.n_parameters)
    ]


def poi_index(layout: Layout, settings: Settings) -> int:
    """Place of the parameter of interest.

    Raises:
        SpecError: if the model has none.
    """
    if settings.poi_name is None:
        msg = "the model has no parameter of interest: name one with poi_name=… or in the measurement"
        raise SpecError(msg)
    return layout.sets[settings.poi_name].slice.start


def free_poi_index(layout: Layout, settings: Settings) -> int:
    """Place of the parameter of interest, for what makes no sense if it cannot move: tests, limits, its uncertainty.

    Raises:
        SpecError: if the model has none, or the measurement fixes it.
    """
    index = poi_index(layout, settings)
    fixed = layout.sets[str(settings.poi_name)].fixed
    if fixed is not None and fixed.any():
        msg = (
            f"the parameter of interest {settings.poi_name!r} is fixed by the measurement (parameters[{settings.poi_name!r}]/"
            "fixed), so it cannot be fitted, tested or limited: take 'fixed' away, or name another with poi_name=…"
        )
        raise SpecError(msg)
    return index


def refuse_several_pois(layout: Layout, settings: Settings) -> None:
    """See that the parameter of interest is one.

    Raises:
        SpecError: if it is a set of one for each bin.
    """
    if settings.poi_name is not None and (item := layout.sets[settings.poi_name]).n_parameters > 1:
        msg = f"the parameter of interest {settings.poi_name!r} is a {item.kinds[0]} with {item.n_parameters} parameters, one a bin"
        raise SpecError(msg)
