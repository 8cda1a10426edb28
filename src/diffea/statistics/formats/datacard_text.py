"""The text of a datacard of CMS' Combine, read line by line (cms-analysis.github.io/HiggsAnalysis-CombinedLimit)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffea.errors import FormatError

_KINDS = ("lnN", "shape", "shape?")
_ELSEWHERE = {
    "lnU": "write it as lnN, or as rateParam with a range",
    "gmN": "write the control region as a channel, with a rateParam on its process and on this one",
    "param": "write what it does to the rates as lnN or shape",
    "flatParam": "write it as rateParam",
    "extArg": "write it as rateParam with its number and range",
    "nuisance": "edit the lines themselves",
    "discrete": "there is no model without histograms here",
    "shapeN": "write it as shape (Combine interpolates that one logarithmically)",
    "shapeN2": "write it as shape (Combine interpolates that one logarithmically)",
    "shapeU": "write it as shape",
    "shape1": "write it as shape",
}
_IGNORED = ("group",)


@dataclass(frozen=True)
class Line:
    """A line of the card, in words, with its place."""

    place: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A process in a channel; signal if its number is not positive."""

    channel: str
    process: str
    number: int
    rate: float


@dataclass
class Card:
    """A datacard.

    Attributes:
        path: where it is.
        observations: events by channel, −1 where the histogram says.
        columns: processes in channels.
        shapes: lines ``shapes``.
        effects: lines of lnN and shape: (line, name, kind, entries by column).
        rates: lines of rateParam; `statistics`: of autoMCStats.
    """

    path: Path
    observations: dict[str, float] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    shapes: list[Line] = field(default_factory=list)
    effects: list[tuple[Line, str, str, dict[Column, str]]] = field(default_factory=list)
    rates: list[Line] = field(default_factory=list)
    statistics: list[Line] = field(default_factory=list)


def refuse(line: Line, why: str) -> FormatError:
    """The error of a line that cannot be read."""
    return FormatError(f"{line.place}: {why}")


def number(line: Line, word: str) -> float:
    """A number of a line.

    Raises:
        FormatError: if it is none.
    """
    try:
        return float(word)
    except ValueError:
        raise refuse(line, f"expected a number, got {word!r}") from None


def _lines(path: Path) -> Iterator[Line]:
    for count, text in enumerate(path.read_text().splitlines(), 1):
        words = tuple(text.split("#")[0].split())
        if words and not words[0].startswith("--"):
            yield Line(f"{path}, line {count}", words)


def read_card(path: Path) -> Card:
    """The datacard at `path`.

    Raises:
        FormatError: for what is no datacard, or has no counterpart in HistFactory; with the file, the line and what to do.
    """
    card, heads, sizes = Card(path), {}, {}
    table: dict[str, list[Line]] = {"bin": [], "process": [], "observation": [], "rate": []}
    nuisances: list[Line] = []
    for line in _lines(path):
        first = line.words[0]
        if first in ("imax", "jmax", "kmax"):
            sizes[first], heads[first] = line.words[1:2], line
        elif first == "shapes":
            card.shapes.append(line)
        elif first in table:
            table[first].append(line)
        else:
            nuisances.append(line)
    _observations(card, table)
    _columns(card, table)
    for line in nuisances:
        _nuisance(card, line)
    found = {
        "imax": len(card.observations),
        "jmax": len({column.process for column in card.columns}) - 1,
        "kmax": len(card.effects),
    }
    for name, asked in sizes.items():
        if asked and asked[0] != "*" and number(heads[name], asked[0]) != found[name]:
            raise refuse(
                heads[name], f"{name} is {asked[0]}, but the card has {found[name]}; write '*' to have it counted"
            )
    return card


def _one(card: Card, name: str, lines: Sequence[Line], count: int = 1) -> Sequence[Line]:
    if len(lines) != count:
        msg = f"{card.path}: expected {count} line(s) {name!r}, got {len(lines)}"
        raise FormatError(msg)
    return lines


def _observations(card: Card, table: dict[str, list[Line]]) -> None:
    (seen,) = _one(card, "observation", table["observation"])
    names = _one(card, "bin", table["bin"], 2)[0].words[1:]
    if len(names) != len(seen.words) - 1 or len(set(names)) != len(names):
        raise refuse(seen, f"{len(seen.words) - 1} observations of the channels {list(names)}")
    card.observations.update({name: number(seen, word) for name, word in zip(names, seen.words[1:], strict=True)})


def _columns(card: Card, table: dict[str, list[Line]]) -> None:
    bins = table["bin"][1]
    both = _one(card, "process", table["process"], 2)
    (rate,) = _one(card, "rate", table["rate"])
    ids, names = sorted(both, key=lambda line: not all(_is_whole(word) for word in line.words[1:]))
    lengths = {len(line.words) for line in (bins, ids, names, rate)}
    if len(lengths) > 1:
        raise refuse(
            rate,
            f"the lines bin, process, process and rate have {sorted(n - 1 for n in lengths)} entries; expected as many",
        )
    for channel, process, word, expected in zip(
        bins.words[1:], names.words[1:], ids.words[1:], rate.words[1:], strict=True
    ):
        if channel not in card.observations:
            raise refuse(bins, f"channel {channel!r} has no observation")
        if any((column.channel, column.process) == (channel, process) for column in card.columns):
            raise refuse(names, f"process {process!r} is twice in channel {channel!r}")
        card.columns.append(Column(channel, process, int(number(ids, word)), number(rate, expected)))
    signal: dict[str, set[bool]] = {}
    for column in card.columns:
        signal.setdefault(column.process, set()).add(column.number <= 0)
    if mixed := sorted(name for name, kinds in signal.items() if len(kinds) > 1):
        raise refuse(ids, f"process(es) {mixed} are signal in one channel and background in another")
    if empty := sorted(set(card.observations) - {column.channel for column in card.columns}):
        raise refuse(bins, f"channel(s) {empty} have no process")


def _is_whole(word: str) -> bool:
    return word.lstrip("+-").isdigit()


def _nuisance(card: Card, line: Line) -> None:
    words = line.words
    if len(words) > 1 and words[1] == "autoMCStats":
        card.statistics.append(line)
    elif len(words) > 1 and words[1] == "rateParam":
        card.rates.append(line)
    elif len(words) > 1 and words[1] in _KINDS:
        entries = words[2:]
        if len(entries) != len(card.columns):
            raise refuse(line, f"{len(entries)} entries for {len(card.columns)} processes; '-' where it does nothing")
        effects = {c: word for c, word in zip(card.columns, entries, strict=True) if word not in ("-", "0")}
        card.effects.append((line, words[0], words[1], effects))
    elif len(words) > 1 and words[1] in _IGNORED:
        return
    else:
        asked = words[0] if words[0] in _ELSEWHERE else words[1] if len(words) > 1 else words[0]
        raise refuse(
            line,
            f"{asked!r} has no counterpart in HistFactory; {_ELSEWHERE.get(asked, f'expected {_KINDS}, rateParam or autoMCStats')}",
        )
