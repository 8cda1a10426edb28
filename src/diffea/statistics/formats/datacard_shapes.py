"""Histograms that the ``shapes`` lines of a datacard name, from ROOT files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffea.errors import FormatError
from diffea.files import root_histograms
from diffea.statistics.formats.datacard_text import Card, Line, refuse

DATA = "data_obs"


@dataclass(frozen=True)
class Shape:
    """Events in the bins of a histogram, and their statistical errors; without under- and overflow, as in Combine."""

    values: np.ndarray
    errors: np.ndarray


class Shapes:
    """Finds the histogram of a process in a channel; opens every file once.

    Raises:
        FormatError: for a line that names something else than histograms in a ROOT file.
    """

    def __init__(self, card: Card) -> None:
        self._folder = card.path.parent
        self._rules: dict[tuple[str, str], Line] = {}
        self._files: dict[str, dict[str, root_histograms.Contents]] = {}
        for line in card.shapes:
            if len(line.words) < 4:
                raise refuse(line, "expected 'shapes process channel file histogram [histogram with $SYSTEMATIC]'")
            if any(":" in word or "$MASS" in word for word in line.words[4:]):
                raise refuse(line, "a workspace or $MASS has no counterpart: name TH1 histograms")
            self._rules[line.words[2], line.words[1]] = line

    def rule(self, channel: str, process: str) -> Line | None:
        """The line for a process in a channel, the most specific one; None for a channel that only counts."""
        for key in ((channel, process), (channel, "*"), ("*", process), ("*", "*")):
            if key in self._rules:
                line = self._rules[key]
                return None if line.words[3] == "FAKE" else line
        return None

    def find(self, channel: str, process: str, systematic: str | None = None) -> Shape:
        """The histogram of a process in a channel; of a systematic, with ``Up`` or ``Down`` at its end.

        Raises:
            FormatError: if there is none of one dimension.
        """
        line = self.rule(channel, process)
        assert line is not None
        file, path = self._path(line, channel, process, systematic)
        found = self._open(line, file).get(path)
        if found is None:
            what = f"systematic {systematic!r} of " if systematic else ""
            raise refuse(line, f"{file} has no TH1 {path!r} ({what}process {process!r} in channel {channel!r})")
        return Shape(*found)

    def has(self, channel: str, process: str, systematic: str) -> bool:
        """Whether there is a histogram of this systematic."""
        line = self.rule(channel, process)
        if line is None or len(line.words) < 6:
            return False
        file, path = self._path(line, channel, process, systematic)
        return path in self._open(line, file)

    def _path(self, line: Line, channel: str, process: str, systematic: str | None) -> tuple[str, str]:
        if len(line.words) < (5 if systematic is None else 6):
            raise refuse(
                line, f"expected a path of histograms{'' if systematic is None else ' with $SYSTEMATIC'} after the file"
            )
        path = line.words[4 if systematic is None else 5]
        both = (line.words[3], path)
        for key, word in (("$CHANNEL", channel), ("$PROCESS", process), ("$SYSTEMATIC", systematic or "")):
            both = (both[0].replace(key, word), both[1].replace(key, word))
        return both

    def _open(self, line: Line, name: str) -> dict[str, root_histograms.Contents]:
        if name not in self._files:
            path = Path(name) if Path(name).is_absolute() else self._folder / name
            try:
                self._files[name] = root_histograms.read(path)
            except (OSError, ValueError) as error:
                msg = f"{line.place}: cannot read the histograms of {path}: {error}"
                raise FormatError(msg) from error
        return self._files[name]
