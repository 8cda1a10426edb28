"""Where everything is: bins, samples, parameters and auxiliary data of a model as static index tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diffea.statistics.parameters import ParameterSet, parameter_sets
from diffea.statistics.spec import Modifier, Source, Spec

FIELDS = ("nominal", "histosys_hi", "histosys_lo", "normsys_hi", "normsys_lo", "shapesys", "staterror")
_FIELD_OF = {
    ("histosys", "hi_data"): "histosys_hi",
    ("histosys", "lo_data"): "histosys_lo",
    ("normsys", "hi"): "normsys_hi",
    ("normsys", "lo"): "normsys_lo",
    ("shapesys", "data"): "shapesys",
    ("staterror", "data"): "staterror",
}


def field_of(modifier: Modifier | None, name: str) -> str:
    """The field of `Yields` that holds a source of the specification."""
    return "nominal" if modifier is None else _FIELD_OF[modifier.type, name]


@dataclass(frozen=True, eq=False)
class Layout:
    """Static tables of a model; arrays are (sample, bin) over all samples and all channels' bins, as in pyhf.

    An index table points into one flat field of `Yields` with its padding value appended (the last entry).

    Attributes:
        pieces: for each field of `Yields`, the sources in order with their lengths.
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
    pieces: Mapping[str, tuple[tuple[Source, int], ...]]
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


def make_layout(spec: Spec, nbins: Mapping[str, int]) -> Layout:
    """The tables of a specification whose channels have these numbers of bins.

    Raises:
        SpecError: if modifiers and parameters do not fit together.
    """
    channels = tuple(channel.name for channel in spec.channels)
    samples = tuple(sorted({name for channel in spec.channels for name in channel.samples}))
    modifiers = tuple(sorted({id_ for c in spec.channels for s in c.samples.values() for id_ in s.modifiers}))
    starts = dict(zip(channels, np.cumsum([0, *(nbins[c] for c in channels)])[:-1].tolist(), strict=True))
    slices = {c: slice(starts[c], starts[c] + nbins[c]) for c in channels}
    total = sum(nbins[c] for c in channels)
    sets = parameter_sets(spec, nbins)
    npars = sum(s.n_parameters for s in sets.values())

    pieces: dict[str, list[tuple[Source, int]]] = {name: [] for name in FIELDS}
    lengths = dict.fromkeys(FIELDS, 0)
    offsets: dict[str, int] = {}
    for channel, _, modifier, name, source in spec.sources():
        target = field_of(modifier, name)
        length = 1 if target.startswith("normsys") else nbins[channel.name]
        pieces[target].append((source, length))
        offsets[source.place] = lengths[target]
        lengths[target] += length

    ids = {kind: [name for name, k in modifiers if k == kind] for kind in {k for _, k in modifiers}}
    histosys_names, normsys_names = ids.get("histosys", []), ids.get("normsys", [])
    scales = [(name, kind) for name, kind in modifiers if kind in ("normfactor", "lumi")]
    shape = (len(samples), total)
    nominal = np.full(shape, lengths["nominal"])
    histosys = np.full((len(histosys_names), *shape), lengths["histosys_hi"])
    normsys = np.full((len(normsys_names), len(samples), len(channels)), lengths["normsys_hi"])
    scale = np.zeros((len(scales), len(samples), len(channels)), bool)
    gammas: list[list[list[int]]] = [[[] for _ in range(total)] for _ in samples]
    staterror: dict[str, np.ndarray] = {}
    shapesys = []
    for c, channel in enumerate(spec.channels):
        bins = slices[channel.name]
        width = np.arange(nbins[channel.name])
        for s, sample in ((samples.index(name), sample) for name, sample in channel.samples.items()):
            nominal[s, bins] = offsets[sample.data.place] + width
            for (name, kind), modifier in sample.modifiers.items():
                first = sets[name].slice.start
                if kind == "histosys":
                    offset = offsets[modifier.sources["hi_data"].place]
                    histosys[histosys_names.index(name), s, bins] = offset + width
                elif kind == "normsys":
                    normsys[normsys_names.index(name), s, c] = offsets[modifier.sources["hi"].place]
                elif kind in ("normfactor", "lumi"):
                    scale[scales.index((name, kind)), s, c] = True
                elif kind == "staterror":
                    table = staterror.setdefault(name, np.full(shape, lengths["staterror"]))
                    table[s, bins] = offsets[modifier.sources["data"].place] + width
                else:
                    if kind == "shapesys":
                        table = offsets[modifier.sources["data"].place] + width
                        shapesys.append((s, np.arange(total)[bins], table, first + width))
                    for b in width:
                        gammas[s][bins.start + b].append(first + b)
    stat = []
    for name in ids.get("staterror", []):
        table = staterror[name]
        used = table < lengths["staterror"]
        mask = np.asarray(used.any(axis=0))
        parameters = np.arange(sets[name].slice.start, sets[name].slice.stop)
        stat.append((table, mask, parameters))
        for s in range(len(samples)):
            for parameter, place in zip(parameters, np.flatnonzero(mask), strict=True):
                if used[s, place]:
                    gammas[s][place].append(int(parameter))
    overlap = max((len(cell) for row in gammas for cell in row), default=0)
    gamma = np.full((overlap, *shape), npars)
    for s, row in enumerate(gammas):
        for column, cell in enumerate(row):
            gamma[: len(cell), s, column] = cell

    order = tuple(name for name, parameter_set in sets.items() if parameter_set.constraint)
    constraints: dict[str, tuple[list[int], list[int]]] = {"normal": ([], []), "poisson": ([], [])}
    first = 0
    for name in order:
        constraint, n = sets[name].constraint, sets[name].n_parameters
        assert constraint is not None
        constraints[constraint][0].extend(range(sets[name].slice.start, sets[name].slice.stop))
        constraints[constraint][1].extend(range(first, first + n))
        first += n
    normal, poisson = (
        (np.array(constraints[kind][0], int), np.array(constraints[kind][1], int)) for kind in ("normal", "poisson")
    )
    return Layout(
        channels=channels,
        samples=samples,
        modifiers=modifiers,
        nbins=dict(nbins),
        slices=slices,
        sets=sets,
        pieces={name: tuple(items) for name, items in pieces.items()},
        nominal=nominal,
        histosys=histosys,
        histosys_parameter=np.array([sets[name].slice.start for name in histosys_names], int),
        normsys=normsys,
        normsys_parameter=np.array([sets[name].slice.start for name in normsys_names], int),
        scale=scale,
        scale_parameter=np.array([sets[name].slice.start for name, _ in scales], int),
        gamma=gamma,
        staterror=tuple(stat),
        shapesys=tuple(shapesys),
        auxdata_order=order,
        normal=normal,
        poisson=poisson,
        channel_of_bin=np.repeat(np.arange(len(channels)), [nbins[c] for c in channels]),
        bin_names=tuple(f"{c}[{b}]" for c in channels for b in range(nbins[c])),
    )
