"""Where everything is: bins, samples, parameters and auxiliary data of a model as static index tables."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from diffea.statistics.parameters import ParameterSet, parameter_sets
from diffea.statistics.pieces import FIELDS, Pieces
from diffea.statistics.spec import Channel, Modifier, Sample, Spec


@dataclass(frozen=True, eq=False)
class Layout:
    """Static tables of a model; arrays are (sample, bin) over all samples and all channels' bins, as in pyhf.

    An index table points into one flat field of `Yields` with its padding value appended (the last entry). Layouts with the
    same tables are equal, whatever the numbers of their models, so that JAX compiles for the first one only.

    Attributes:
        nominal: (samples, bins).
        histosys: (modifiers, samples, bins); `histosys_parameter` (modifiers,).
        normsys: (modifiers, samples, channels); `normsys_parameter` (modifiers,).
        scale: mask (modifiers, samples, channels) of normfactor and lumi; `scale_parameter` (modifiers,).
        gamma: (overlap, samples, bins) indices of per-bin parameters; the number of parameters where there is none.
        staterror: list of (table (samples, bins) into the field, mask (bins,), parameters (n,)).
        shapesys: list of (sample, bins (n,), table (n,) into the field, parameters (n,)).
        normal, poisson: parameters of the constraints and their places in the auxiliary data.
    """

    channels: tuple[str, ...]
    samples: tuple[str, ...]
    modifiers: tuple[tuple[str, str], ...]
    nbins: Mapping[str, int]
    slices: Mapping[str, slice]
    sets: Mapping[str, ParameterSet]
    nominal: np.ndarray
    histosys: np.ndarray
    histosys_parameter: np.ndarray
    normsys: np.ndarray
    normsys_parameter: np.ndarray
    scale: np.ndarray
    scale_parameter: np.ndarray
    gamma: np.ndarray
    staterror: tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]
    shapesys: tuple[tuple[int, np.ndarray, np.ndarray, np.ndarray], ...]
    auxdata_order: tuple[str, ...]
    normal: tuple[np.ndarray, np.ndarray]
    poisson: tuple[np.ndarray, np.ndarray]
    channel_of_bin: np.ndarray
    bin_names: tuple[str, ...]

    @functools.cached_property
    def _content(self) -> Hashable:
        return _hashable(tuple(getattr(self, field.name) for field in fields(self)))

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layout):
            return NotImplemented
        return self is other or (self._hash == other._hash and self._content == other._content)

    def __hash__(self) -> int:
        return self._hash

    @property
    def npars(self) -> int:
        """Number of parameters."""
        return sum(s.n_parameters for s in self.sets.values())

    @property
    def nbins_total(self) -> int:
        """Number of bins of all channels."""
        return sum(self.nbins.values())

    @property
    def nauxdata(self) -> int:
        """Number of auxiliary measurements."""
        return sum(self.sets[name].n_parameters for name in self.auxdata_order)


def _hashable(value: Any) -> Hashable:
    """A value that is equal to another's if arrays, dicts and dataclasses hold the same."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, Mapping):
        return tuple((key, _hashable(entry)) for key, entry in value.items())
    if isinstance(value, slice):
        return value.start, value.stop
    if isinstance(value, tuple):
        return tuple(map(_hashable, value))
    if is_dataclass(value):
        return tuple(_hashable(getattr(value, field.name)) for field in fields(value))
    return value  # type: ignore[no-any-return]


def make_layout(spec: Spec, nbins: Mapping[str, int], pieces: Pieces) -> Layout:
    """The tables of a specification.

    Args:
        spec: the specification.
        nbins: number of bins of every channel.
        pieces: its sources, `pieces_of` it.

    Raises:
        SpecError: if modifiers and parameters do not fit together.
    """
    tables = _Tables(spec, nbins, pieces)
    for c, channel in enumerate(spec.channels):
        for sample in channel.samples.values():
            tables.enter(c, channel, sample)
    tables.enter_staterrors()
    order = tuple(name for name, parameters in tables.sets.items() if parameters.constraint)
    channels = tables.channels
    return Layout(
        channels=channels,
        samples=tables.samples,
        modifiers=tables.modifiers,
        nbins=dict(nbins),
        slices=tables.slices,
        sets=tables.sets,
        nominal=tables.nominal,
        histosys=tables.histosys,
        histosys_parameter=tables.starts(tables.histosys_names),
        normsys=tables.normsys,
        normsys_parameter=tables.starts(tables.normsys_names),
        scale=tables.scale,
        scale_parameter=tables.starts([name for name, _ in tables.scales]),
        gamma=tables.gamma(),
        staterror=tuple(tables.stat),
        shapesys=tuple(tables.shapesys),
        auxdata_order=order,
        normal=_constrained(tables.sets, order, "normal"),
        poisson=_constrained(tables.sets, order, "poisson"),
        channel_of_bin=np.repeat(np.arange(len(channels)), [nbins[c] for c in channels]),
        bin_names=tuple(f"{c}[{b}]" for c in channels for b in range(nbins[c])),
    )


class _Tables:
    """The tables while they are made, sample by sample."""

    def __init__(self, spec: Spec, nbins: Mapping[str, int], pieces: Pieces) -> None:
        self.channels = tuple(channel.name for channel in spec.channels)
        self.samples = tuple(sorted({name for channel in spec.channels for name in channel.samples}))
        self.modifiers = tuple(sorted({id_ for c in spec.channels for s in c.samples.values() for id_ in s.modifiers}))
        ends = np.cumsum([nbins[c] for c in self.channels]).tolist()
        self.slices = {c: slice(end - nbins[c], end) for c, end in zip(self.channels, ends, strict=True)}
        self.sets = parameter_sets(spec, nbins)
        self._offsets: dict[str, int] = {}
        self._lengths: dict[str, int] = {}
        for name in FIELDS:
            offset = 0
            for source, length in pieces[name]:
                self._offsets[source.place] = offset
                offset += length
            self._lengths[name] = offset
        ids = {kind: [name for name, k in self.modifiers if k == kind] for _, kind in self.modifiers}
        self.histosys_names, self.normsys_names = ids.get("histosys", []), ids.get("normsys", [])
        self._staterror_names = ids.get("staterror", [])
        self.scales = [(name, kind) for name, kind in self.modifiers if kind in ("normfactor", "lumi")]
        bins, by_channel = (len(self.samples), ends[-1] if ends else 0), (len(self.samples), len(self.channels))
        self.nominal = np.full(bins, self._lengths["nominal"])
        self.histosys = np.full((len(self.histosys_names), *bins), self._lengths["histosys_hi"])
        self.normsys = np.full((len(self.normsys_names), *by_channel), self._lengths["normsys_hi"])
        self.scale = np.zeros((len(self.scales), *by_channel), bool)
        self.stat: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.shapesys: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        self._staterror: dict[str, np.ndarray] = {}
        self._gammas: list[list[list[int]]] = [[[] for _ in range(bins[1])] for _ in self.samples]

    def enter(self, c: int, channel: Channel, sample: Sample) -> None:
        """A sample of a channel, with its modifiers."""
        s, bins = self.samples.index(sample.name), self.slices[channel.name]
        width = np.arange(bins.stop - bins.start)
        self.nominal[s, bins] = self._offsets[sample.data.place] + width
        for (name, kind), modifier in sample.modifiers.items():

            def places(source: str, modifier: Modifier = modifier) -> np.ndarray:
                return self._offsets[modifier.sources[source].place] + width

            if kind == "histosys":
                self.histosys[self.histosys_names.index(name), s, bins] = places("hi_data")
            elif kind == "normsys":
                self.normsys[self.normsys_names.index(name), s, c] = self._offsets[modifier.sources["hi"].place]
            elif kind in ("normfactor", "lumi"):
                self.scale[self.scales.index((name, kind)), s, c] = True
            elif kind == "staterror":
                table = self._staterror.setdefault(name, np.full(self.nominal.shape, self._lengths["staterror"]))
                table[s, bins] = places("data")
            else:
                parameters = self.sets[name].slice.start + width
                if kind == "shapesys":
                    self.shapesys.append((s, bins.start + width, places("data"), parameters))
                self._multiply(s, bins.start + width, parameters)

    def enter_staterrors(self) -> None:
        """The parameters of statistical errors, one for each bin that any sample shares in."""
        for name in self._staterror_names:
            used = self._staterror[name] < self._lengths["staterror"]
            mask = np.asarray(used.any(axis=0))
            parameters = np.arange(self.sets[name].slice.start, self.sets[name].slice.stop)
            self.stat.append((self._staterror[name], mask, parameters))
            for s in range(len(self.samples)):
                here = used[s, mask]
                self._multiply(s, np.flatnonzero(mask)[here], parameters[here])

    def gamma(self) -> np.ndarray:
        """See ``Layout.gamma``."""
        overlap = max((len(cell) for row in self._gammas for cell in row), default=0)
        gamma = np.full((overlap, *self.nominal.shape), sum(s.n_parameters for s in self.sets.values()))
        for s, row in enumerate(self._gammas):
            for column, cell in enumerate(row):
                gamma[: len(cell), s, column] = cell
        return gamma

    def starts(self, names: list[str]) -> np.ndarray:
        """The first parameter of each set."""
        return np.array([self.sets[name].slice.start for name in names], int)

    def _multiply(self, sample: int, bins: np.ndarray, parameters: np.ndarray) -> None:
        for place, parameter in zip(bins.tolist(), parameters.tolist(), strict=True):
            self._gammas[sample][place].append(parameter)


def _constrained(sets: Mapping[str, ParameterSet], order: tuple[str, ...], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The parameters under a constraint of this kind, and their places in the auxiliary data."""
    parameters: list[int] = []
    places: list[int] = []
    first = 0
    for name in order:
        own = sets[name]
        if own.constraint == kind:
            parameters.extend(range(own.slice.start, own.slice.stop))
            places.extend(range(first, first + own.n_parameters))
        first += own.n_parameters
    return np.array(parameters, int), np.array(places, int)
