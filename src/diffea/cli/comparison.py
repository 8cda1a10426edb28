"""``diffea compare``: runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from diffea.errors import ReportError
from diffea.report.contents import find_runs, leaves, read_run
from diffea.types import JSONDict, JSONMapping


def runs_in(folders: Sequence[Path]) -> dict[str, JSONMapping]:
    """The result of each run in some folders of results, by folder and variant.

    Raises:
        ReportError: if a folder has no run, or one is broken.
    """
    found: dict[str, JSONMapping] = {}
    for folder in folders:
        here = {f"{folder}/{name}" if name else str(folder): path for name, path in find_runs(folder)}
        if not here:
            msg = f"there is no result.json in {folder} or in its folders: expected what `diffea run --out` wrote"
            raise ReportError(msg)
        found |= {name: read_run(path).result for name, path in here.items()}
    return found


def as_json(runs: Mapping[str, JSONMapping]) -> dict[str, JSONDict]:
    """What is compared, for programs."""
    return {name: _row(result) for name, result in runs.items()}


def tables(runs: Mapping[str, JSONMapping]) -> list[Table]:
    """Results, and the parameters of runs of one analysis."""
    results = Table("run", "objective", "hard, test", "limit", "gain", "fills", "passes", box=None, header_style="bold")
    for column in results.columns[2:]:
        column.justify = "right"
    for name, row in as_json(runs).items():
        results.add_row(
            escape(name), escape(row["objective"]), _change(row, "hard_test"), _change(row, "limit"),
            _measured(row["gain"], row["gain_error"]), _number(row["fills"]), _number(row["passes_over_data"]),
        )  # fmt: skip
    names = list(dict.fromkeys(name for row in as_json(runs).values() for name in row["params"]))
    params = Table("parameter", *map(escape, runs), box=None, header_style="bold", title="")
    for column in params.columns[1:]:
        column.justify = "right"
    for name in names:
        params.add_row(escape(name), *(_number(row["params"].get(name)) for row in as_json(runs).values()))
    return [results, params] if names else [results]


def _row(result: JSONMapping) -> JSONDict:
    before, after = result["before"], result["after"]
    limits = [result.get(f"limit_{when}") for when in ("before", "after")]
    gain = result.get("gain")
    if gain is None and None not in limits and limits[0]:
        gain = limits[1] / limits[0]
    return {
        "analysis": result["analysis"],
        "variant": result.get("variant"),
        "objective": result["objective"],
        "hard_test_before": before["hard_test"],
        "hard_test": after["hard_test"],
        "limit_before": limits[0],
        "limit": limits[1],
        "limit_error": result.get("limit_after_error"),
        "gain": gain,
        "gain_error": result.get("gain_error"),
        "params": {name: float(array) for name, array in leaves(result["params"]["after"]) if array.ndim == 0},
        "fills": result.get("fills"),
        "passes_over_data": result.get("passes_over_data"),
        "seconds": result.get("seconds"),
        "events": result.get("events"),
    }


def _change(row: JSONDict, name: str) -> str:
    return f"{_number(row[f'{name}_before'])} → {_measured(row[name], row.get(f'{name}_error'))}"


def _measured(value: float | None, error: float | None) -> str:
    return _number(value) if error is None else f"{_number(value)} ± {error:.2g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
