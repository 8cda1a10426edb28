r"""Reading a datacard of CMS' Combine as a pyhf workspace.

lnN
    A normsys with code 1: $\kappa^\theta$. An asymmetric one, ``down/up``, is $\kappa_\pm^{|\theta|}$; Combine smooths that within
    $|\theta| < 1/2$, where its logarithm differs by at most 7 % of $\ln(\kappa_+ \kappa_-)/2$.
shape
    Combine morphs the shape, normalised to 1, with the polynomial of code 4p, and the normalisation as an asymmetric lnN, which it drops
    below a thousandth: a histosys whose variations have the nominal number of events, and a normsys of the same name. Bins that
    Combine would clip at 0 are not clipped.
rateParam
    A normfactor with the card's range; 0 to 10 times its value (at least 10) if it gives none.
autoMCStats
    Where the backgrounds of a bin have more effective events than the threshold, a staterror of all samples that have errors. It
    multiplies their expectation at any parameters, while Combine adds an error made anew from the samples' factors: the same where all
    samples are scaled alike. Elsewhere every process of its own: a shapesys (Poisson) if it has at most the threshold of effective
    events, else a staterror. A process without events in such a bin is left alone.
Processes with a number not above 0 are signal, scaled by the parameter of interest ``r``.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

import numpy as np

from diffea.errors import FormatError
from diffea.statistics.formats.datacard_shapes import DATA, Shape, Shapes
from diffea.statistics.formats.datacard_text import Card, Column, Line, number, read_card, refuse
from diffea.types import JSONDict

POI, POI_BOUNDS = "r", (0.0, 20.0)
_SMALLEST = 1e-3
CODES = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code4p"}}


def read_datacard(path: str | Path) -> JSONDict:
    """The pyhf workspace of a datacard, whose interpolation codes are `CODES`.

    Raises:
        FormatError: for what has no counterpart in HistFactory; with the file, the line and what to do.
    """
    card = read_card(Path(path))
    return _Reader(card).workspace()


class _Reader:
    def __init__(self, card: Card) -> None:
        self.card, self.shapes = card, Shapes(card)
        self.nominal = {column: self._nominal(column) for column in card.columns}
        self.modifiers: dict[Column, list[JSONDict]] = {column: [] for column in card.columns}
        self.parameters: list[JSONDict] = []

    def workspace(self) -> JSONDict:
        """Channels, observations and measurement."""
        has_signal = any(column.number <= 0 for column in self.card.columns)
        if has_signal:
            self.parameters.append({"name": POI, "inits": [1.0], "bounds": [list(POI_BOUNDS)]})
        for column, modifiers in self.modifiers.items():
            if column.number <= 0:
                modifiers.append({"name": POI, "type": "normfactor", "data": None})
        for line in self.card.rates:
            self._rate(line)
        self._effects()
        for channel in self.card.observations:
            if (last := self._statistics(channel)) is not None:
                self._errors(channel, last)
        channels = [
            {
                "name": channel,
                "samples": [
                    {"name": c.process, "data": self.nominal[c].values.tolist(), "modifiers": self.modifiers[c]}
                    for c in self._of(channel)
                ],
            }
            for channel in self.card.observations
        ]
        config = {"poi": POI if has_signal else "", "parameters": self.parameters}
        return {
            "channels": channels,
            "observations": [{"name": name, "data": self._observed(name)} for name in self.card.observations],
            "measurements": [{"name": self.card.path.stem, "config": config}],
            "version": "1.0.0",
        }

    def _of(self, channel: str) -> list[Column]:
        return [column for column in self.card.columns if column.channel == channel]

    def _nominal(self, column: Column) -> Shape:
        line = self.shapes.rule(column.channel, column.process)
        where = f"process {column.process!r} in channel {column.channel!r}"
        if line is None:
            if column.rate < 0:
                msg = (
                    f"{self.card.path}: the rate of {where} is {column.rate:g}, and no shapes line names its histogram"
                )
                raise FormatError(msg)
            return Shape(np.array([column.rate]), np.zeros(1))
        found = self.shapes.find(column.channel, column.process)
        _agree(line, column.rate, found.values.sum(), f"the rate of {where}")
        return found

    def _observed(self, channel: str) -> list[float]:
        seen, line = self.card.observations[channel], self.shapes.rule(channel, DATA)
        size = len(self.nominal[self._of(channel)[0]].values)
        if line is None:
            if seen < 0 or size > 1:
                msg = f"{self.card.path}: channel {channel!r} of {size} bin(s) has the observation {seen:g}, and no shapes line names {DATA}"
                raise FormatError(msg)
            return [seen]
        values = self.shapes.find(channel, DATA).values
        _agree(line, seen, values.sum(), f"the observation of channel {channel!r}")
        return values.tolist()

    def _rate(self, line: Line) -> None:
        words = line.words
        if len(words) not in (5, 6) or ":" in words[4] or not _is_number(words[4]):
            raise refuse(
                line,
                "a rateParam that is a formula or from a workspace has no counterpart: expected 'name rateParam channel process value [low,high]'",
            )
        value, bounds = number(line, words[4]), [0.0, 10.0 * max(1.0, number(line, words[4]))]
        if len(words) == 6:
            bounds = [number(line, word) for word in words[5].strip("[]").split(",")]
        entry = {"name": words[0], "inits": [value], "bounds": [bounds]}
        same = [other for other in self.parameters if other["name"] == words[0]]
        if len(bounds) != 2 or any(other != entry for other in same):
            raise refuse(
                line, f"the rateParam {words[0]!r} has the range {bounds} and value {value:g}, elsewhere {same}"
            )
        if not same:
            self.parameters.append(entry)
        for column in self.card.columns:
            if fnmatch.fnmatch(column.channel, words[2]) and fnmatch.fnmatch(column.process, words[3]):
                self.modifiers[column].append({"name": words[0], "type": "normfactor", "data": None})

    def _effects(self) -> None:
        factors: dict[Column, dict[str, tuple[float, float]]] = {column: {} for column in self.card.columns}
        for line, name, kind, entries in self.card.effects:
            for column, word in entries.items():
                is_shape = kind == "shape" or (
                    kind == "shape?" and self.shapes.has(column.channel, column.process, f"{name}Up")
                )
                low, high = self._shape(line, name, column, word) if is_shape else _kappa(line, word)
                if (low, high) != (1.0, 1.0):
                    before = factors[column].get(name, (1.0, 1.0))
                    factors[column][name] = (before[0] * low, before[1] * high)
        for column, names in factors.items():
            for name, (low, high) in names.items():
                self.modifiers[column].append({"name": name, "type": "normsys", "data": {"lo": low, "hi": high}})

    def _shape(self, line: Line, name: str, column: Column, word: str) -> tuple[float, float]:
        """Enter the change of shape; what is left is the change of normalisation."""
        where = f"shape {name!r} of process {column.process!r} in channel {column.channel!r}"
        if number(line, word) != 1.0:
            raise refuse(
                line,
                f"{where} has the entry {word}, for which there is no counterpart: scale the histograms, and write 1",
            )
        if self.shapes.rule(column.channel, column.process) is None:
            raise refuse(line, f"{where}: the channel only counts; write lnN")
        nominal = self.nominal[column].values
        both = [self.shapes.find(column.channel, column.process, f"{name}{side}").values for side in ("Down", "Up")]
        sums = [values.sum() for values in both]
        if any(len(values) != len(nominal) for values in both) or not min(nominal.sum(), *sums) > 0:
            raise refuse(
                line,
                f"{where}: expected {len(nominal)} bins and some events, got {[len(v) for v in both]} bins and {sums} events of {nominal.sum():g}",
            )
        low, high = (values * (nominal.sum() / total) for values, total in zip(both, sums, strict=True))
        if any(entry["name"] == name and entry["type"] == "histosys" for entry in self.modifiers[column]):
            raise refuse(line, f"{where} is there already")
        data = {"hi_data": high.tolist(), "lo_data": low.tolist()}
        self.modifiers[column].append({"name": name, "type": "histosys", "data": data})
        factors = sums[0] / nominal.sum(), sums[1] / nominal.sum()
        return (1.0, 1.0) if max(abs(factor - 1.0) for factor in factors) < _SMALLEST else factors

    def _statistics(self, channel: str) -> Line | None:
        """The last line of autoMCStats for this channel; None if there is none, or it switches it off."""
        lines = [line for line in self.card.statistics if line.words[0] in (channel, "*")]
        for line in lines:
            if len(line.words) < 3 or (len(line.words) > 4 and line.words[4] != "1"):
                raise refuse(line, "expected 'channel autoMCStats threshold [include signal]', and hist mode 1")
        if not lines or number(lines[-1], lines[-1].words[2]) < 0:
            return None
        return lines[-1]

    def _errors(self, channel: str, line: Line) -> None:
        """Statistical errors, as in Combine's CMSHistErrorPropagator::setupBinPars."""
        threshold, count = number(line, line.words[2]), line.words[3:4] == ("1",)
        columns = self._of(channel)
        values, errors = (np.array([getattr(self.nominal[c], key) for c in columns]) for key in ("values", "errors"))
        counted = np.array([[self._initial(c) if count or c.number > 0 else 0.0] for c in columns])
        error = np.sqrt(np.square(counted * errors).sum(axis=0))
        few = (error > 0) & (_effective((counted * values).sum(axis=0), error) <= threshold)
        own = few & (errors > 0) & (values > 0)
        poisson = own & (values >= 0.999 * errors) & (_effective(values, errors) <= threshold)
        for row, column in enumerate(columns):
            name, of_process = f"prop_{channel}", f"prop_{channel}_{column.process}"
            if errors[row].any() and np.where((error > 0) & ~few, errors, 0.0).any():
                self._add(column, name, "staterror", np.where((error > 0) & ~few, errors[row], 0.0))
            if (alone := own[row] & ~poisson[row]).any():
                self._add(column, of_process, "staterror", np.where(alone, errors[row], 0.0))
            if poisson[row].any():
                width = values[row] / np.sqrt(np.maximum(_effective(values[row], errors[row]), 1.0))
                self._add(column, f"{of_process}_poisson", "shapesys", np.where(poisson[row], width, 0.0))

    def _add(self, column: Column, name: str, kind: str, data: np.ndarray) -> None:
        self.modifiers[column].append({"name": name, "type": kind, "data": data.tolist()})

    def _initial(self, column: Column) -> float:
        """What the rateParams of a process make of its rate at their initial values."""
        names = {entry["name"] for entry in self.modifiers[column] if entry["type"] == "normfactor"}
        return float(np.prod([entry["inits"][0] for entry in self.parameters if entry["name"] in names]))


def _effective(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Effective events, rounded as in Combine; infinite where there is no error."""
    safe = np.where(errors > 0, errors, 1.0)
    return np.where(errors > 0, np.floor(np.square(values / safe) + 0.5), np.inf)


def _kappa(line: Line, word: str) -> tuple[float, float]:
    """Factors at −1 and +1: ``1.1``, or ``down/up``."""
    parts = [number(line, part) for part in word.split("/")]
    if len(parts) > 2 or min(parts) <= 0:
        raise refuse(line, f"expected a positive factor, or two as 'down/up', got {word!r}")
    return (1.0 / parts[0], parts[0]) if len(parts) == 1 else (parts[0], parts[1])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _agree(line: Line, written: float, found: float, what: str) -> None:
    """Combine's own rule: a hundredth of an event, unless the card leaves it to the histogram."""
    if written != -1 and abs(written - found) > 0.01:
        raise refuse(line, f"{what} is {written:g} in the card, and {found:g} in the histogram; write -1")
