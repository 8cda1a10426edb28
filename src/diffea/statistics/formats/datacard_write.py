"""Writing a model as a datacard of CMS' Combine, with its histograms in a ROOT file.

What `datacard_read` makes of the card is what Combine makes of it, but for what is said there. That is the model itself where normsys have code 1 and
histosys have code 4p and move no events in or out of the channel; otherwise both agree at −1, 0 and +1 of each parameter alone,
and an `InterpolationWarning` names the parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from diffea.errors import FormatError, InterpolationWarning
from diffea.files import root_histograms
from diffea.statistics.config import ModelConfig
from diffea.statistics.formats.datacard_read import POI
from diffea.statistics.formats.datacard_shapes import DATA
from diffea.types import JSONDict, JSONMapping

CARD, HISTOGRAMS = "datacard.txt", "shapes.root"
_SMALLEST = 1e-3
_INSTEAD = {
    "lumi": "write it as normsys (lnN)",
    "shapesys": "write it as staterror, or as a histosys a bin",
    "shapefactor": "write it as a normfactor of a channel of one bin for every bin",
}
_KINDS = ("histosys", "normfactor", "normsys", "staterror")

Entry = tuple[str, str]


def write_datacard(folder: str | Path, workspace: JSONMapping, config: ModelConfig) -> Path:
    """Write ``datacard.txt`` and ``shapes.root`` into a folder; the path of the first.

    Args:
        folder: made if it is not there.
        workspace: the model's pyhf workspace.
        config: its configuration.

    Raises:
        FormatError: if Combine has no counterpart; with the parameter or sample.
    """
    folder = Path(folder)
    writer = _Writer(workspace, config)
    text = writer.text()
    folder.mkdir(parents=True, exist_ok=True)
    root_histograms.write(folder / HISTOGRAMS, writer.histograms)
    path = folder / CARD
    path.write_text(text)
    if writer.differing:
        msg = (
            f"Combine interpolates {sorted(writer.differing)} otherwise than this model (a normalisation exponentially, apart from the "
            "shape): they agree at -1, 0 and 1; HistFactory.from_datacard reads what Combine makes of the card"
        )
        warnings.warn(msg, InterpolationWarning, stacklevel=3)
    return path


class _Writer:
    def __init__(self, workspace: JSONMapping, config: ModelConfig) -> None:
        self.channels = workspace["channels"]
        self.observed = {item["name"]: item["data"] for item in workspace["observations"]}
        self.layout, self.config, self.settings = config.layout, config, config.settings
        self.poi = str(config.poi_name)
        self.columns = [(channel["name"], sample) for channel in self.channels for sample in channel["samples"]]
        self.histograms: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.differing: set[str] = set()
        self._refuse_names()
        self._refuse_parameters()
        self.signals = self._signals()

    def _refuse_names(self) -> None:
        names = {name for name, _ in self.columns} | {s["name"] for _, s in self.columns} | set(self.layout.sets)
        for name in sorted(names):
            if not name or any(c.isspace() or c in "/:;*#[]" for c in name) or name.startswith("--"):
                msg = f"the name {name!r} cannot be a word of a datacard: rename the channel, sample or modifier"
                raise FormatError(msg)

    def _refuse_parameters(self) -> None:
        for name, item in self.layout.sets.items():
            if absent := [kind for kind in item.kinds if kind not in _KINDS]:
                msg = f"the {absent[0]} {name!r} has no counterpart in a datacard; {_INSTEAD[absent[0]]}"
                raise FormatError(msg)
            if item.fixed is not None and item.fixed.any():
                msg = f"parameters[{name!r}]/fixed: a datacard has no fixed parameters; scale the templates instead, or take 'fixed' away"
                raise FormatError(msg)
            usual = 1.0 if "staterror" in item.kinds else 0.0
            if item.constraint is not None and item.auxdata is not None and np.any(item.auxdata != usual):
                msg = f"parameters[{name!r}]/auxdata: constraints of a datacard are at their nominal value, here at {item.auxdata.tolist()}"
                raise FormatError(msg)
            if "staterror" in item.kinds and item.sigmas is not None:
                msg = f"parameters[{name!r}]/sigmas: a datacard's statistical errors are those of its histograms"
                raise FormatError(msg)
            if name == POI != self.poi:
                msg = f"{POI!r} is the parameter of interest of every datacard, and here another parameter: rename it"
                raise FormatError(msg)

    def _signals(self) -> set[str]:
        """Samples that the parameter of interest scales."""
        scaled: dict[str, set[bool]] = {}
        for _, sample in self.columns:
            has = any(m["name"] == self.poi and m["type"] == "normfactor" for m in sample["modifiers"])
            scaled.setdefault(sample["name"], set()).add(has)
        for name, kinds in scaled.items():
            if len(kinds) > 1:
                msg = f"sample {name!r} is scaled by {self.poi!r} in some channels only: a process of a datacard is signal in all or none"
                raise FormatError(msg)
        signals = {name for name, kinds in scaled.items() if True in kinds}
        if not signals:
            msg = f"no sample has a normfactor {self.poi!r}: a datacard needs a signal and a parameter of interest that scales it"
            raise FormatError(msg)
        return signals

    def text(self) -> str:
        """The card; fills `histograms` on the way."""
        effects: dict[str, dict[int, Entry]] = {}
        for i, (channel, sample) in enumerate(self.columns):
            for name, entry in self._effects(channel, sample):
                effects.setdefault(name, {})[i] = entry
        for channel, observed in self.observed.items():
            self._keep(channel, DATA, observed, np.sqrt(observed))
        numbers = {name: -i for i, name in enumerate(sorted(self.signals))}
        backgrounds = sorted({sample["name"] for _, sample in self.columns} - self.signals)
        numbers |= {name: i for i, name in enumerate(backgrounds, 1)}
        processes = [sample["name"] for _, sample in self.columns]
        rows = [
            ["bin", "", *(channel for channel, _ in self.columns)],
            ["process", "", *processes],
            ["process", "", *(str(numbers[name]) for name in processes)],
            ["rate", "", *("-1" for _ in processes)],
        ]
        lines = []
        for name, entries in effects.items():
            kinds = {kind for kind, _ in entries.values()}
            words = [entries[i][1] if i in entries else "-" for i in range(len(processes))]
            lines.append([name, kinds.pop() if len(kinds) == 1 else "shape?", *words])
        names = [channel["name"] for channel in self.channels]
        head = [
            f"imax {len(names)}",
            f"jmax {len(numbers) - 1}",
            f"kmax {len(lines)}",
            f"shapes * * {HISTOGRAMS} $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC",
        ]
        data = [["bin", *names], ["observation", *("-1" for _ in names)]]
        return (
            "\n".join([*head, *_aligned(data), *_aligned([*rows, *lines]), *self._rates(), *self._statistics()]) + "\n"
        )

    def _keep(self, channel: str, name: str, values: ArrayLike, errors: ArrayLike | None = None) -> None:
        path = f"{channel}/{name}"
        if path in self.histograms:
            msg = f"two histograms would be named {path!r}: rename a sample or modifier"
            raise FormatError(msg)
        values = np.asarray(values, float)
        self.histograms[path] = values, np.zeros_like(values) if errors is None else np.asarray(errors, float)

    def _effects(self, channel: str, sample: JSONMapping) -> Iterator[tuple[str, Entry]]:
        """The entries of lnN and shape of a sample; keeps its histograms."""
        nominal, place = np.array(sample["data"]), f"sample {sample['name']!r} in channel {channel!r}"
        by_kind: dict[str, JSONDict] = {kind: {} for kind in _KINDS}
        for modifier in sample["modifiers"]:
            by_kind[modifier["type"]][modifier["name"]] = modifier["data"]
        if len(by_kind["staterror"]) > 1:
            msg = f"{place} has staterrors {sorted(by_kind['staterror'])}: a datacard has one a channel"
            raise FormatError(msg)
        self._keep(channel, sample["name"], nominal, next(iter(by_kind["staterror"].values()), None))
        for name, data in by_kind["normsys"].items():
            symmetric = bool(np.isclose(data["hi"] * data["lo"], 1.0, rtol=1e-14, atol=0.0))
            if self.settings.normsys != "code1":
                self.differing.add(name)
            if name not in by_kind["histosys"]:
                yield name, ("lnN", repr(data["hi"]) if symmetric else f"{data['lo']!r}/{data['hi']!r}")
        for name, data in by_kind["histosys"].items():
            factor = by_kind["normsys"].get(name, {"hi": 1.0, "lo": 1.0})
            both = {side: np.array(data[f"{side}_data"]) * factor[side] for side in ("hi", "lo")}
            if not min(nominal.sum(), *(values.sum() for values in both.values())) > 0:
                msg = f"histosys {name!r} of {place}: Combine normalises its histograms, so each needs events"
                raise FormatError(msg)
            moved = [abs(np.sum(data[f"{side}_data"]) / nominal.sum() - 1) for side in ("hi", "lo")]
            dropped = max(abs(factor[side] - 1.0) for side in ("hi", "lo"))
            if self.settings.histosys != "code4p" or max(moved) > 1e-12 or 0 < dropped < _SMALLEST:
                self.differing.add(name)
            for side, word in (("hi", "Up"), ("lo", "Down")):
                self._keep(channel, f"{sample['name']}_{name}{word}", both[side])
            yield name, ("shape", "1")

    def _rates(self) -> Iterator[str]:
        for channel, sample in self.columns:
            for modifier in sample["modifiers"]:
                if modifier["type"] == "normfactor" and modifier["name"] != self.poi:
                    item = self.config.param_set(modifier["name"])
                    low, high = item.bounds[0].tolist()
                    yield f"{item.name} rateParam {channel} {sample['name']} {item.inits[0].item()!r} [{low!r},{high!r}]"

    def _statistics(self) -> Iterator[str]:
        for channel in self.channels:
            covered = {s["name"]: m for s in channel["samples"] for m in s["modifiers"] if m["type"] == "staterror"}
            if not covered:
                continue
            name = channel["name"]
            if len({modifier["name"] for modifier in covered.values()}) > 1:
                msg = f"channel {name!r} has several staterrors: a datacard has one a channel"
                raise FormatError(msg)
            errors = np.array([modifier["data"] for modifier in covered.values()])
            if not errors.any(axis=1).all():
                msg = f"channel {name!r}: a staterror of zeros is none in a datacard; take it away from the sample"
                raise FormatError(msg)
            total = np.sum([sample["data"] for sample in channel["samples"]], axis=0)
            error = np.sqrt(np.square(errors).sum(axis=0))
            if np.any((error > 0) & (np.square(total) < 0.5 * np.square(error))):
                msg = f"channel {name!r}: a bin has less than half an effective event, for which Combine makes a parameter for every process; merge it"
                raise FormatError(msg)
            yield f"{name} autoMCStats 0 1"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [" ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
