"""What a run left in its folder, read back for the report."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from diffea.errors import ReportError
from diffea.report import schema
from diffea.report.schema import AGAIN, check, read
from diffea.statistics.spec import MIRRORED
from diffea.types import JSONDict, JSONMapping, PyTree

__all__ = ["Histogram", "Run", "find_runs", "leaves", "limits", "read_run"]

RESULT, WORKSPACE, TEMPLATES = "result.json", "workspace.json", "templates.json"
FIGURES = "figures"
Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = ("svg", "pdf", "png")  # of pictures
WHEN, KINDS = ("before", "after"), ("soft", "hard_train", "hard_test")
FEW = 8
OPTIONAL = (
    "title",
    "variant",
    "bounds",
    "modifier_settings",
    "message",
    "when",
    "command",
    "limit_before",
    "limit_after",
    "limit_before_error",
    "limit_after_error",
    "gain",
    "gain_error",
    "errors",
    "folds",
    "observed",
    "unblinded",
    "verdict",
    "trust",
    "selection",
    "along",
    "not_judged",
    "events",
    "chunks",
    "workers",
    "passes_over_data",
    "seconds",
    "seconds_by_stage",
    "shifts",
    "split",
    "skipped",
    "skipped_share",
    "soft_hard_gap",
    "versions",
)
NEEDED = ("analysis", "objective", "params", "before", "after", "history")


@dataclass(frozen=True)
class Histogram:
    """One template: bin edges (of the bin numbers, for several axes and bins without end), values and variances, each flat."""

    edges: np.ndarray
    values: np.ndarray
    variances: np.ndarray
    label: str

    @classmethod
    def read(cls, stored: JSONMapping) -> Histogram:
        values = np.asarray(stored["values"], float)
        axes = [np.asarray(edges, float) for edges in stored["edges"]]
        drawn = len(axes) == 1 and np.isfinite(axes[0]).all()
        edges = axes[0] if drawn else np.arange(values.size + 1.0)
        label = (stored.get("label") or stored.get("name") or "") if drawn else "bin"
        return cls(edges, values.ravel(), np.asarray(stored["variances"], float).ravel(), label)


@dataclass(frozen=True)
class Run:
    """The files of one run.

    Attributes:
        folder: where they are.
        result: ``result.json``, with None for what is optional and not there.
        workspace: ``workspace.json``, a pyhf workspace of the optimised analysis.
        templates: ``templates.json``: ``before`` and ``after``, each with ``soft``, ``hard_train`` (not of older runs) and ``hard_test`` histograms.
    """

    folder: Path
    result: JSONMapping
    workspace: JSONMapping
    templates: JSONMapping

    @cached_property
    def poi(self) -> str:
        """The parameter of interest."""
        return str(self.workspace["measurements"][0]["config"]["poi"])

    @cached_property
    def modifiers(self) -> dict[tuple[str, str], list[JSONDict]]:
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

    @property
    def trained_on(self) -> bool:
        """Whether templates with exact cuts of the events that were trained on are there."""
        return "hard_train" in self.templates["after"]

    def observations(self, channel: str) -> np.ndarray | None:
        """Observed events of a channel, by bin, at the parameters found; None while it is blinded."""
        found = (self.result["observed"] or {}).get("observations", {}).get(channel)
        return None if found is None else np.ravel(np.asarray(found, float))

    def histogram(
        self, when: str, kind: str, channel: str, sample: str, variation: str = "nominal"
    ) -> Histogram | None:
        """A template, or None where no fill made it."""
        stored = self.templates[when].get(kind, {}).get(f"{channel}/{sample}/{variation}")
        return None if stored is None else Histogram.read(stored)

    def shifts(self, when: str, kind: str, channel: str, sample: str) -> dict[str, np.ndarray]:
        """Half the difference of the two sides of each shape variation of a template, by the nuisance parameter's name."""
        moves = {}
        for name, sides in self._sides(when, channel, sample).items():
            high, low = (self._side(when, kind, sides[side]) for side in ("hi", "lo"))
            if high is not None and low is not None:
                moves[name] = (high - low) / 2
        return moves

    def _sides(self, when: str, channel: str, sample: str) -> Mapping[str, JSONMapping]:
        """What the model's histosys modifiers name, or, in a result that does not tell, the templates that a processor's variations make."""
        if self.result["shifts"] is not None:
            return self.result["shifts"].get(when, {}).get(f"{channel}/{sample}", {})
        begin = f"{channel}/{sample}"
        return {
            modifier["name"]: {"hi": f"{begin}/{modifier['name']}_up", "lo": f"{begin}/{modifier['name']}_down"}
            for modifier in self.modifiers.get((channel, sample), [])
            if modifier["type"] == "histosys"
        }

    def _side(self, when: str, kind: str, side: str | Sequence[float]) -> np.ndarray | None:
        if not isinstance(side, str):
            return np.asarray(side, float)
        name = side.removesuffix(MIRRORED)
        stored = self.templates[when][kind].get(name)
        values = None if stored is None else Histogram.read(stored).values
        nominal = self.histogram(when, kind, *names_of(name)[:2]) if side != name else None
        return values if nominal is None or values is None else 2 * nominal.values - values

    def uncertainty(self, when: str, kind: str, channel: str, samples: list[str]) -> np.ndarray:
        """Of the sum of the samples, before any fit: MC statistics, normalisations and shapes in quadrature, shape (bins,)."""
        variance: np.ndarray | float = 0.0
        moves: dict[str, np.ndarray] = {}
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


def leaves(tree: PyTree, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Dotted name and array of every leaf of a JSON tree; up to 8 numbers of a list are leaves of their own."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{name}.{key}" if name else str(key))
        return
    if isinstance(tree, list):
        try:
            array = np.asarray(tree, float)
        except (TypeError, ValueError):
            array = None
        if array is None or array.size <= FEW:
            for index, value in enumerate(tree):
                yield from leaves(value, f"{name}[{index}]")
            return
        yield name, array
    elif tree is not None:
        yield name, np.asarray(tree, float)


def limits(params: PyTree, bounds: PyTree, name: str = "") -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Lower and upper bound of each of the `leaves` that has them."""
    if isinstance(params, Mapping) and isinstance(bounds, Mapping):
        for key, value in params.items():
            yield from limits(value, bounds.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(params, list | float | int) and isinstance(bounds, list) and len(bounds) == 2:
        low, high = (np.broadcast_to(np.asarray(side, float), np.shape(params)).tolist() for side in bounds)
        yield from (
            (leaf, (one, other)) for (leaf, one), (_, other) in zip(leaves(low, name), leaves(high, name), strict=True)
        )


def read_run(folder: Path) -> Run:
    """Read the files of one run.

    Raises:
        ReportError: a file is missing, is not JSON, or lacks what the report needs.
    """
    paths = [folder / name for name in (RESULT, WORKSPACE, TEMPLATES)]
    result, workspace, templates = map(read, paths)
    check(paths[0], result, schema.RESULT, NEEDED)
    _check_parameters(paths[0], result["params"])
    _check_workspace(paths[1], workspace)
    check(paths[2], templates, schema.TEMPLATES, WHEN)
    for when, kind in itertools.product(WHEN, KINDS):
        for key, stored in templates[when].get(kind, {}).items():
            _check_histogram(f"{paths[2]}: {key} ({when}, {kind})", stored)
    return Run(folder, dict.fromkeys(OPTIONAL) | result, workspace, templates)


def find_runs(out: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of the run in `out` (name "") or, if there is none, of the runs of the variants in its folders."""
    if (out / RESULT).is_file():
        yield "", out
    else:
        yield from ((path.parent.name, path.parent) for path in sorted(out.glob(f"*/{RESULT}")))


def _check_workspace(path: Path, workspace: JSONMapping) -> None:
    """See that pyhf takes a workspace."""
    import pyhf

    try:
        pyhf.schema.validate(workspace, "workspace.json")
    except (pyhf.exceptions.InvalidSpecification, pyhf.exceptions.SchemaNotFound) as error:
        lines = str(error).splitlines()
        msg = f"{path} is no workspace of pyhf's ({lines[0] if lines else error}): {AGAIN}"
        raise ReportError(msg) from error


def _check_parameters(path: Path, params: JSONMapping) -> None:
    """See that the parameters are numbers, the same ones before and after."""
    try:
        before, after = ({name: array.shape for name, array in leaves(params[when])} for when in WHEN)
    except (TypeError, ValueError) as error:
        msg = f"{path}: params are not numbers ({error}): {AGAIN}"
        raise ReportError(msg) from error
    if unlike := sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
        msg = f"{path}: params are not the same ones before and after, see {', '.join(unlike)}: {AGAIN}"
        raise ReportError(msg)


def _check_histogram(where: str, stored: JSONMapping) -> None:
    """See that bins, edges, values and variances fit each other."""
    try:
        values, variances = (np.asarray(stored[part], float) for part in ("values", "variances"))
    except ValueError as error:
        msg = f"{where}: its values are no array ({error}): {AGAIN}"
        raise ReportError(msg) from error
    shape = tuple(len(edges) - 1 for edges in stored["edges"])
    if not values.shape == variances.shape == shape:
        msg = f"{where}: {shape} bins have {values.shape} values and {variances.shape} variances: {AGAIN}"
        raise ReportError(msg)
