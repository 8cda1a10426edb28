"""``diffea check``: what is wrong with an analysis, in a minute and before any training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffea.check import Finding, Look
from diffea.templates.layout import NOMINAL
from diffea.types import JSONDict

MOST = 16  # bins that are shown
GRADIENT = 4.0  # fills that a step with its gradient costs, about
SIGNS = {"stop": "[bold red]stop[/]", "doubt": "[yellow]doubt[/]"}


def show(console: Console, name: str, look: Look, found: list[Finding]) -> None:
    """Print what was seen, and the findings with their remedies."""
    console.print(f"\n[bold]{escape(name)}[/], at the parameters it starts from")
    console.print(_yields(look))
    console.print(_data(look))
    console.print(f"\nbranches: {escape(_branches(look)) or 'not known'}", soft_wrap=True)
    loss = "none" if look.loss is None else f"{look.loss:.4g}"
    console.print(f"objective, soft cuts: {loss}")
    console.print(f"columns of all events: {look.nbytes / 1e6:,.0f} MB")
    console.print(f"one fill of all events, in this process: {look.seconds:.2g} s{_training(look)}")
    if not found:
        console.print("\n[green]nothing to complain about[/]")
    for finding in found:
        console.print(
            f"\n{SIGNS[finding.level]} [bold]{escape(finding.place)}[/]: {escape(finding.what)}", soft_wrap=True
        )
        console.print(f"  → {escape(finding.remedy)}", soft_wrap=True)


def as_json(look: Look, found: list[Finding]) -> JSONDict:
    """The same for programs."""
    return {
        "yields": {"/".join(key[:2]): row for key, row in _rows(look).items()},
        "objective": look.loss,
        "entries": look.entries,
        "read": look.read,
        "branches": {dataset: list(names) for dataset, names in look.branches.items()},
        "bytes": look.nbytes,
        "seconds_per_fill": look.seconds,
        "findings": [dataclasses.asdict(finding) for finding in found],
    }


def _training(look: Look) -> str:
    """How long the steps would take."""
    steps = look.variant.steps
    if not steps:
        return ""
    seconds = steps * GRADIENT * look.seconds
    return f"; {steps} steps, each with a gradient: about {seconds:.2g} s and what compiling takes"


def _rows(look: Look) -> Mapping[tuple[str, str, str], JSONDict]:
    """Yields of the nominal templates; ``effective`` is (Σw)² / Σw², the number of unweighted events of the same precision."""
    rows: dict[tuple[str, str, str], JSONDict] = {}
    for key in look.hard:
        if key[2] == NOMINAL:
            soft, hard = look.soft[key], look.hard[key]
            total, variance = float(np.sum(hard.values)), float(np.sum(hard.variances))
            effective = total**2 / variance if variance > 0 else 0.0
            sums: JSONDict = {"soft": float(np.sum(soft.values)), "hard": total, "effective": effective}
            rows[key] = {**sums, "bins": np.ravel(hard.values).tolist()}
    return rows


def _yields(look: Look) -> Table:
    heads = ("channel", "sample", "soft", "hard", "effective events", "hard, by bin")
    table = Table(*heads, box=None, header_style="bold")
    for column in table.columns[2:5]:
        column.justify = "right"
    for (channel, sample, _), row in _rows(look).items():
        numbers = f"{row['soft']:.4g}", f"{row['hard']:.4g}", f"{row['effective']:,.0f}"
        bins = " ".join(f"{value:.3g}" for value in row["bins"][:MOST])
        more = f" … ({len(row['bins'])})" if len(row["bins"]) > MOST else ""
        table.add_row(escape(channel), escape(sample), *numbers, bins + more)
    return table


def _data(look: Look) -> Table:
    table = Table("data set", "entries", "read", box=None, header_style="bold", title="")
    for column in table.columns[1:]:
        column.justify = "right"
    for dataset, entries in look.entries.items():
        table.add_row(escape(dataset), f"{entries:,}", f"{look.read[dataset]:,}")
    return table


def _branches(look: Look) -> str:
    """All branches that are read; with the data sets, where not all have them."""
    users: dict[str, list[str]] = {}
    for dataset, names in look.branches.items():
        for name in names:
            users.setdefault(name, []).append(dataset)
    few = {name: len(found) < len(look.branches) for name, found in users.items()}
    return ", ".join(f"{name} ({', '.join(users[name])})" if few[name] else name for name in sorted(users))
