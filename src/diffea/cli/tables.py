"""What a run found, as tables for the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from diffea.bootstrap import with_error
from diffea.report.words import STAGES, objective_in_words
from diffea.types import JSONMapping


def summary(result: JSONMapping) -> Table:
    """Before and after, soft and hard, train and test."""
    table = Table("", "before", "after", "change", title="", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    objective, before, after = escape(objective_in_words(result["objective"])), result["before"], result["after"]
    test = "test" if result["split"] else "the events trained on"
    errors = [(result.get("errors") or {}).get(when, {}).get("hard_test") for when in ("before", "after")]
    rows = [
        (f"{objective}, soft cuts, train", before["soft"], after["soft"], [None, None]),
        (f"{objective}, hard cuts, train", before["hard_train"], after["hard_train"], [None, None]),
        (f"{objective}, hard cuts, {test}", before["hard_test"], after["hard_test"], errors),
    ]
    if "limit_after" in result:
        limits = [result[f"limit_{when}"] for when in ("before", "after")]
        errors = [result.get(f"limit_{when}_error") for when in ("before", "after")]
        rows.append((f"expected 95 % CL limit, hard cuts, {test}", *limits, errors))
    for what, first, last, widths in rows:
        shown = [
            "–" if value is None else with_error(value, error)
            for value, error in zip((first, last), widths, strict=True)
        ]
        table.add_row(what, *shown, _change(first, last))
    if result.get("gain_error") is not None:
        table.add_row("gain: that limit, after over before", "", "", with_error(result["gain"], result["gain_error"]))
    if seen := result.get("observed"):
        band = ", ".join(f"{limit:.3g}" for limit in seen["band"] or ())
        table.add_row(
            "observed 95 % CL limit", "", _text(seen["limit"]), f"expected {_text(seen['expected'])} ({band})"
        )
        table.add_row("observed CLs at signal strength 1", "", _text(seen["cls"]), "")
        table.add_row("observed significance", "", _text(seen["significance"]), "")
        for what, reason in seen["not_judged"].items():
            table.add_row(escape(f"not judged: {what} observed: {reason}"))
    for dataset, share in result["skipped_share"].items():
        table.add_row(escape(f"left out of {dataset}, in files that stayed bad: {100 * share:.2g} % of the entries"))
    for when, failures in result["not_judged"].items():
        for what, reason in failures.items():
            table.add_row(escape(f"not judged: {what} {when}: {reason}"))
    table.add_row("", "", "", "")
    table.add_row("passes over the data", "", str(result["passes_over_data"]), f"{result['seconds']:.0f} s")
    for stage, seconds in result["seconds_by_stage"].items():
        table.add_row(f"  {STAGES[stage]}", "", "", f"{seconds:.1f} s")
    return table


def _change(first: float | None, last: float | None) -> str:
    if not first or last is None:
        return "–"
    percent = round(100 * (last - first) / abs(first))
    return f"{percent:+} %" if percent else "0 %"


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def spread(results: Mapping[str, Sequence[JSONMapping]]) -> Table:
    """Every variant's objective and limit after training, over the initialisations."""
    count = len(next(iter(results.values())))
    table = Table(
        "median (lowest to highest)",
        "objective, hard cuts, test",
        "expected 95 % CL limit",
        title=f"\n{count} initialisations",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    for name, found in results.items():
        values = [result["after"]["hard_test"] for result in found]
        limits = [result.get("limit_after") for result in found]
        table.add_row(escape(name), _range(values), _range(limits))
    return table


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.4g} ({min(known):.4g} to {max(known):.4g})" if known else "–"
