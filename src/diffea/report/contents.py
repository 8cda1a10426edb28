"""What a run left in its folder, read back for the report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diffea.errors import ReportError

__all__ = ["Histogram", "Run", "find_runs", "read_run"]

RESULT, WORKSPACE, TEMPLATES = "result.json", "workspace.json", "templates.json"
WHEN = ("before", "after")
OPTIONAL = (
    "title",
    "variant",
    "bounds",
    "modifier_settings",
    "message",
    "limit_before",
    "limit_after",
    "not_judged",
    "events",
    "chunks",
    "workers",
    "passes_over_data",
    "seconds",
    "seconds_by_stage",
    "split",
    "skipped",
    "skipped_share",
    "soft_hard_gap",
    "versions",
)
NEEDED = ("analysis", "objective", "params", "before", "after", "history")
SHIFT = re.compile(r"(?P<name>.+?)_?(?P<side>up|down|hi|lo)", re.IGNORECASE)


@dataclass(frozen=True)
class Histogram:
    """One template: bin edges (of the bin numbers, for several axes), values and variances, each flat."""

    edges: np.ndarray
    values: np.ndarray
    variances: np.ndarray
    label: str

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Histogram:
        values = np.asarray(stored["values"], float)
        axes = stored["edges"]
        flat = np.asarray(axes[0], float) if len(axes) == 1 else np.arange(values.size + 1.0)
        label = stored.get("label") or stored.get("name") or ""
        return cls(
            flat, values.ravel(), np.asarray(stored["variances"], float).ravel(), label if len(axes) == 1 else "bin"
        )


@dataclass(frozen=True)
class Run:
    """The files of one run.

    Attributes:
        folder: where they are.
        result: ``result.json``, with None for what is optional and not there.
        workspace: ``workspace.json``, a pyhf workspace of the optimised analysis.
        templates: ``templates.json``: ``before`` and ``after``, each with ``soft`` and ``hard_test`` histograms.
    """

    folder: Path
    result: Mapping[str, Any]
    workspace: Mapping[str, Any]
    templates: Mapping[str, Any]

    @cached_property
    def poi(self) -> str:
        """The parameter of interest."""
        return str(self.workspace["measurements"][0]["config"]["poi"])

    @cached_property
    def modifiers(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """The modifiers of each channel and sample."""
        return {
            (channel["name"], sample["name"]): sample["modifiers"]
            for channel in self.workspace["channels"]
            for sample in channel["samples"]
        }

    @cached_property
    def channels(self) -> list[str]:
        """Of the workspace, as far as they have templates, then those that only the baseline fills where it is another analysis."""
        first, last = (dict.fromkeys(names_of(key)[0] for key in self.templates[when]["hard_test"]) for when in WHEN)
        fitted = [channel["name"] for channel in self.workspace["channels"]]
        return [name for name in fitted if name in first | last] + [name for name in first if name not in last]

    def samples(self, channel: str) -> tuple[list[str], list[str]]:
        """Backgrounds and signals of a channel; a signal is what the parameter of interest scales."""
        names = [sample for other, sample in self.modifiers if other == channel] or list(
            dict.fromkeys(
                names_of(key)[1] for key in self.templates["before"]["hard_test"] if key.startswith(f"{channel}/")
            )
        )
        return [name for name in names if name not in self.signals], [name for name in names if name in self.signals]

    @cached_property
    def signals(self) -> set[str]:
        """Samples that the parameter of interest scales."""
        return {
            sample
            for (_, sample), modifiers in self.modifiers.items()
            if any(m["type"] == "normfactor" and m["name"] == self.poi for m in modifiers)
        }

    def histogram(
        self, when: str, kind: str, channel: str, sample: str, variation: str = "nominal"
    ) -> Histogram | None:
        """A template, or None where no fill made it."""
        stored = self.templates[when][kind].get(f"{channel}/{sample}/{variation}")
        return None if stored is None else Histogram.read(stored)

    def shifts(self, when: str, kind: str, channel: str, sample: str) -> dict[str, np.ndarray]:
        """Half the difference of the two sides of each variation of a template, by the nuisance parameter's name."""
        sides: dict[str, dict[str, np.ndarray]] = {}
        for key in self.templates[when][kind]:
            other, name, variation = names_of(key)
            match = SHIFT.fullmatch(variation)
            if (other, name) == (channel, sample) and match:
                side = "up" if match["side"].lower() in ("up", "hi") else "down"
                histogram = Histogram.read(self.templates[when][kind][key])
                sides.setdefault(match["name"], {})[side] = histogram.values
        return {name: (pair["up"] - pair["down"]) / 2 for name, pair in sides.items() if len(pair) == 2}

    def uncertainty(self, when: str, kind: str, channel: str, samples: list[str]) -> np.ndarray:
        """Of the sum of the samples, before any fit: MC statistics, normalisations and shapes in quadrature, shape (bins,)."""
        variance: Any = 0.0
        moves: dict[str, Any] = {}
        for sample in samples:
            nominal = self.histogram(when, kind, channel, sample)
            if nominal is None:
                continue
            variance = variance + nominal.variances
            shifts = self.shifts(when, kind, channel, sample)
            for modifier in self.modifiers.get((channel, sample), []):
                if modifier["type"] == "normsys":
                    data = modifier["data"]
                    shifts[modifier["name"]] = (
                        shifts.get(modifier["name"], 0.0) + nominal.values * (data["hi"] - data["lo"]) / 2
                    )
            for name, shift in shifts.items():
                moves[name] = moves.get(name, 0.0) + shift
        return np.sqrt(variance + sum(move**2 for move in moves.values()))


def names_of(key: str) -> tuple[str, str, str]:
    """Channel, sample and variation of a template; a sample's name may have slashes, as those of CMS data sets do."""
    channel, rest = key.split("/", 1)
    sample, variation = rest.rsplit("/", 1)
    return channel, sample, variation


def read_run(folder: Path) -> Run:
    """Read the files of one run.

    Raises:
        ReportError: a file is missing, is not JSON, or lacks what the report needs.
    """
    result, workspace, templates = (_read(folder / name) for name in (RESULT, WORKSPACE, TEMPLATES))
    if missing := [key for key in NEEDED if key not in result]:
        msg = f"{folder / RESULT} lacks {', '.join(missing)}: it is not from a finished `diffea run`. Run the analysis again"
        raise ReportError(msg)
    return Run(folder, dict.fromkeys(OPTIONAL) | result, workspace, templates)


def find_runs(out: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of the run in `out` (name "") or, if there is none, of the runs of the variants in its folders."""
    if (out / RESULT).is_file():
        yield "", out
    else:
        yield from ((path.parent.name, path.parent) for path in sorted(out.glob(f"*/{RESULT}")))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"there is no {path.name} in {path.parent}: expected the folder that `diffea run --out` wrote"
        raise ReportError(msg) from error
    except ValueError as error:
        msg = f"{path} is not JSON ({error}): run the analysis again"
        raise ReportError(msg) from error
