"""What a run ends with: parameters, results and verdict."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffea.cli.tables import summary
from diffea.report.contents import leaves, limits
from diffea.types import JSONMapping, PyTree

MOST = 24  # parameters that are shown
NO_BOUNDS = np.array(-np.inf), np.array(np.inf)


def show(console: Console, name: str, result: JSONMapping) -> None:
    """Print what a run of one variant found."""
    console.print(f"\n[bold]{escape(name)}[/]")
    if result.get("params"):
        console.print(_parameters(result))
    console.print(summary(result))
    if verdict := result.get("verdict"):
        colour = "green" if verdict == "holds" else "yellow" if verdict.startswith("doubtful") else "red"
        console.print(f"\nverdict: [bold {colour}]{escape(verdict)}[/]", soft_wrap=True)


def _parameters(result: JSONMapping) -> Table:
    """Each parameter before and after, without each fold where there are folds, and whether it ended at one of its bounds."""
    folds = result.get("folds") or [{"params": result["params"]["after"]}]
    heads = ["after"] if len(folds) == 1 else [f"after, without fold {number}" for number in range(len(folds))]
    table = Table("parameter", "before", *heads, "bounds", "", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in table.columns[1:-2]:
        column.justify = "right"
    rows = list(_rows(result["params"]["before"], [fold["params"] for fold in folds], result.get("bounds")))
    held = set((result.get("trust") or {}).get("at_bounds", ()))
    for parameter, values, bounds in itertools.islice(rows, MOST):
        table.add_row(escape(parameter), *values, bounds, "[yellow]at a bound[/]" if _at_bound(parameter, held) else "")
    if len(rows) > MOST:
        table.add_row(f"… and {len(rows) - MOST} more in the report")
    return table


def _at_bound(parameter: str, held: set[str]) -> bool:
    return parameter in held or any(name.startswith(f"{parameter}[") for name in held)


def _rows(before: PyTree, after: Sequence[PyTree], bounds: PyTree) -> Iterator[tuple[str, list[str], str]]:
    known, found = dict(limits(before, bounds)), [dict(leaves(params)) for params in after]
    for name, first in leaves(before):
        low, high = known.get(name, NO_BOUNDS)
        between = f"{low:.4g} … {high:.4g}" if np.size(low) == 1 and np.isfinite([low, high]).all() else ""
        yield name, [_text(array) for array in (first, *(params[name] for params in found))], between


def _text(array: np.ndarray) -> str:
    """One number, or of many their root mean square."""
    return f"{array.item():.4g}" if array.size == 1 else f"{np.sqrt(np.mean(array**2)):.3g} (rms of {array.size})"
