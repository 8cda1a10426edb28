"""Survey: what is in a folder of ROOT files, and which of its branches tell signal from background."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import awkward as ak
import numpy as np
import scipy
import uproot

from diffea.errors import AnalysisError

BINS = 6
FEW = 3  # cuts that a first draft has
ROWS = 20_000  # entries of a file that are looked at
SIGNAL = re.compile(r"sig|higgs|hto|zprime|susy|_m\d{3,4}", re.IGNORECASE)
DATA = re.compile(r"(^|[_-])(data|collision|run20\d\d|single(muon|electron)|double)", re.IGNORECASE)
BOOKKEEPING = re.compile(r"weight|^run$|event|lumi|^n[A-Z]|gen_|^MC|pdgid|trigger|id$|charge|^q_", re.IGNORECASE)

Columns: TypeAlias = dict[str, tuple[str, np.ndarray]]
"""Python that computes a column, and its values, by name."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A file of simulated events.

    Attributes:
        name: of the file, without its ending.
        file: its name in the folder.
        tree: with most entries.
        entries: of it.
        signal: whether it is taken for the signal.
    """

    name: str
    file: str
    tree: str
    entries: int
    signal: bool


@dataclasses.dataclass(frozen=True)
class Cut:
    """A first draft of a cut on a branch.

    Attributes:
        name: of the column.
        source: Python that computes it from ``events``.
        side: that is kept.
        start: where to begin.
        low, high: within which to look.
        width: of the transition.
    """

    name: str
    source: str
    side: Literal["above", "below"]
    start: float
    low: float
    high: float
    width: float


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a first draft is made of.

    Attributes:
        samples: the simulated ones.
        data: files that look like collision data, which are left out.
        observable: name of the column that is fitted; empty where none was looked for.
        source: Python that computes it from ``events``.
        edges: of its bins.
        cuts: on other columns.
        weight: branch of the events' weights, if there is one.
        size: of these weights of the heaviest background, on average.
    """

    samples: tuple[Sample, ...]
    data: tuple[str, ...]
    observable: str = ""
    source: str = ""
    edges: tuple[float, ...] = ()
    cuts: tuple[Cut, ...] = ()
    weight: str | None = None
    size: float = 1.0


def survey(folder: Path, *, signal: str | None = None, flat: bool = True) -> Survey:
    """Look at the ROOT files of a folder.

    Args:
        folder: of the files, one or more of each sample.
        signal: name of the file that is the signal; by default the first whose name looks like one, or the first.
        flat: whether to look for columns to cut on.

    Raises:
        AnalysisError: if there are no such files, none is the signal, or no column tells anything.
    """
    paths = sorted(folder.glob("*.root"))
    data = [path for path in paths if DATA.search(path.stem) and path.stem != signal]
    simulated = [path for path in paths if path not in data]
    if len(simulated) < 2:
        msg = f"expected ROOT files of a signal and of a background in {folder}, got {len(simulated)} simulated ones: {_names(simulated)}"
        raise AnalysisError(msg)
    chosen = signal or next((path.stem for path in simulated if SIGNAL.search(path.stem)), simulated[0].stem)
    if chosen not in {path.stem for path in simulated}:
        msg = f"--signal names one of the files {_names(simulated)}, got {chosen!r}"
        raise AnalysisError(msg)
    samples = tuple(_sample(path, path.stem == chosen) for path in simulated)
    found = Survey(samples, tuple(path.name for path in data))
    return _with_branches(found, folder) if flat else found


def _sample(path: Path, signal: bool) -> Sample:
    with uproot.open(path) as root:
        kinds = root.classnames(recursive=False)
        trees = {name.split(";")[0] for name, kind in kinds.items() if kind in ("TTree", "ROOT::RNTuple")}
        if not trees:
            msg = f"{path} has no tree: {', '.join(kinds) or 'it is empty'}"
            raise AnalysisError(msg)
        tree, entries = max(((name, root[name].num_entries) for name in sorted(trees)), key=lambda pair: pair[1])
    return Sample(path.stem, path.name, tree, int(entries), signal)


def _with_branches(found: Survey, folder: Path) -> Survey:
    """Add the observable that separates best, and cuts on those that come next."""
    columns = [_columns(folder / sample.file, sample.tree) for sample in found.samples]
    names = sorted(set.intersection(*(set(column) for column in columns)))
    pairs = {name: _pair(found.samples, columns, name) for name in names if not BOOKKEEPING.search(name)}
    pairs = {name: pair for name, pair in pairs.items() if all(np.unique(side).size > 10 for side in pair)}
    if not pairs:
        msg = f"the files have no branch in common that tells events apart, other than weights and identifiers: {', '.join(names) or 'none'}"
        raise AnalysisError(msg)
    order = sorted(pairs, key=lambda name: -float(scipy.stats.ks_2samp(*pairs[name]).statistic))
    observable, *others = order
    sources = {name: source for column in columns for name, (source, _) in column.items()}
    edges = _edges(np.concatenate(pairs[observable]))
    weight = next(
        (
            name
            for name in names
            if sources[name] == f"events.{name}" and re.fullmatch(r"(event_?|gen_?)?weight", name, re.IGNORECASE)
        ),
        None,
    )
    backgrounds = [column for column, sample in zip(columns, found.samples, strict=True) if not sample.signal]
    size = max(float(np.mean(np.abs(column[weight][1]))) for column in backgrounds) if weight else 1.0
    chosen = others[:FEW] or [observable]
    cuts = tuple(_cut(name, sources[name], *pairs[name]) for name in chosen)
    return dataclasses.replace(
        found,
        observable=observable,
        source=sources[observable],
        edges=tuple(edges),
        cuts=cuts,
        weight=weight,
        size=float(f"{size:.3g}"),
    )


def _edges(values: np.ndarray) -> list[float]:
    """Of bins with about as many events each, the outer ones wide enough for a shifted observable."""
    edges = np.unique([float(f"{edge:.4g}") for edge in np.quantile(values, np.linspace(0.0, 1.0, BINS + 1))])
    margin = 0.1 * (edges[-1] - edges[0])
    return [float(f"{edges[0] - margin:.4g}"), *edges[1:-1].tolist(), float(f"{edges[-1] + margin:.4g}")]


def _columns(path: Path, tree: str) -> Columns:
    """A number an event: branches as they are, and the largest entry of jagged ones."""
    found: Columns = {}
    with uproot.open(path) as root:
        branches = root[tree]
        for name in filter(str.isidentifier, branches.keys(recursive=False)):
            array = branches[name].array(entry_stop=ROWS)
            if not array.fields and ak.to_numpy(ak.flatten(array, axis=None)).dtype.kind in "fiu":
                match array.ndim:
                    case 1:
                        found[name] = f"events.{name}", np.asarray(array)
                    case 2:
                        source = f"ak.fill_none(ak.max(events.{name}, axis=1), 0.0)"
                        found[f"max_{name}"] = source, np.asarray(ak.fill_none(ak.max(array, axis=1), 0.0))
    return found


def _pair(samples: Sequence[Sample], columns: Sequence[Columns], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Finite values in signal and in background."""
    values = [np.asarray(column[name][1], float) for column in columns]
    sides = (
        np.concatenate([one for one, sample in zip(values, samples, strict=True) if sample.signal is signal])
        for signal in (True, False)
    )
    signal, background = (side[np.isfinite(side)] for side in sides)
    return signal, background


def _cut(name: str, source: str, signal: np.ndarray, background: np.ndarray) -> Cut:
    """That keeps most of the signal at first."""
    above = bool(np.median(signal) > np.median(background))
    both = np.concatenate([signal, background])
    low, high = np.quantile(both, [0.02, 0.98])
    start = np.clip(np.quantile(signal, 0.15 if above else 0.85), low, high)
    size = float(f"{(np.quantile(both, 0.84) - np.quantile(both, 0.16)) / 20:.2g}") or 1e-3
    numbers = (float(f"{number:.4g}") for number in (min(max(start, low), high), low, high))
    first, lowest, highest = numbers
    return Cut(name, source, "above" if above else "below", min(max(first, lowest), highest), lowest, highest, size)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.stem for path in paths) or "none"
