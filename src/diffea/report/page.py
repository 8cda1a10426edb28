"""`report.html`: one self-contained page from the files that a run left behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np

from diffea.bootstrap import with_error
from diffea.errors import DiffeaError, FitError, ReportError
from diffea.files import whole
from diffea.report.advice import mending
from diffea.report.contents import FIGURES, FORMATS, RESULT, WORKSPACE, Format, Run, find_runs, leaves, limits, read_run
from diffea.report.nuisances import doubts, nuisances
from diffea.report.words import STAGES, objective_explained, objective_in_words
from diffea.run.trust import NOTHING
from diffea.types import JSONDict, JSONMapping

if TYPE_CHECKING:
    from diffea.report.pictures import Picture

__all__ = ["leaves", "write"]

PAGE = "report.html"
SEEN = ("limit", "expected", "band", "cls", "significance", "best_fit", "goodness_of_fit", "commit", "not_judged")
NO_BOUNDS = np.array(np.nan), np.array(np.nan)


def write(out: Path, formats: Sequence[Format] = FORMATS) -> Path:
    """Write ``report.html`` for a run, or for each variant of a run with a page that compares them.

    Each picture of a page is in ``figures/`` beside it too, with the numbers drawn as JSON.

    Args:
        out: the folder that a run wrote, with ``result.json``, ``workspace.json`` and ``templates.json`` in it or, for an
            analysis with variants, in its folders.
        formats: of the pictures' files.

    Returns:
        The path of ``out/report.html``.

    Raises:
        ReportError: there is no finished run in `out`, or its files cannot be read.
    """
    runs = {name: read_run(folder) for name, folder in find_runs(out)}
    if not runs:
        msg = f"{out} holds no result.json, nor does any folder in it: expected what `diffea run --out` wrote"
        raise ReportError(msg)
    for run in runs.values():
        values, pictures = _run(run)
        for picture in pictures:
            picture.save(run.folder / FIGURES, formats)
        _save(run.folder / PAGE, _render("run.html.j2", **values))
    if "" not in runs:
        _save(out / PAGE, _render("index.html.j2", **_index(runs)))
    return out / PAGE


def _run(run: Run) -> tuple[JSONDict, list[Picture]]:
    """What the page says, and its pictures."""
    from diffea.report import diagnostics, plots
    from diffea.report.selections import cutflows, distributions

    model = _model(run)
    samples = {name: run.samples(name) for name in run.channels}
    backgrounds = dict.fromkeys(s for pair in samples.values() for s in pair[0])
    signals = dict.fromkeys(s for pair in samples.values() for s in pair[1])
    colours = {name: plots.COLOURS[i % len(plots.COLOURS)] for i, name in enumerate(backgrounds)}
    colours |= dict.fromkeys(signals, plots.SIGNAL)
    steps, decided = run.result["history"], list(distributions(run, colours))
    history = plots.history(steps) if steps else []
    along, paths = list(diagnostics.along(run)), list(diagnostics.paths(run))
    trust, seen, poi = run.result["trust"] or {}, run.result["observed"] or {}, "μ" if run.poi == "mu" else run.poi
    fitted = list(diagnostics.parameters(seen.get("fit") or trust.get("fit"), poi))
    channels: list[JSONDict] = []
    drawn = [*history, *paths, *decided, *along, *fitted]
    values = {
        "result": run.result,
        "objective": objective_in_words(run.result["objective"]),
        "explained": objective_explained(run.result["objective"]),
        "stages": {STAGES.get(name, name): spent for name, spent in (run.result["seconds_by_stage"] or {}).items()},
        "events": _events(run.result["events"]),
        "poi": poi,
        "observed": dict.fromkeys(SEEN) | seen if seen else None,
        "trust": trust,
        "along": along,
        "paths": paths,
        "same_events": run.trained_on,
        "fitted": fitted,
        "history": history,
        "nothing": run.result["verdict"] == NOTHING,
        "advice": _advice(run.result),
        "channels": channels,
        "decided": decided,
        "cutflows": cutflows(run),
        "no_cuts": ((run.result["selection"] or {}).get("after") or {}).get("not_judged"),
        "parameters": _parameters(run.result),
        "by_fold": _by_fold(run.result["folds"] or []),
        **model,
    }
    for name in run.channels:
        modelled = any(channel == name for channel, _ in run.modifiers)
        pictures = {
            "stacks": plots.stacks(run, name, colours),
            "gap": plots.soft_and_hard(run, name) if modelled else [],
            "others": plots.train_and_test(run, name) if modelled else [],
            "sensitivity": list(diagnostics.sensitivity(run, name, colours)),
        }
        channels.append({"name": name, **_yields(run, name, [*samples[name][0], *samples[name][1]]), **pictures})
        drawn += [picture for found in pictures.values() for picture in found]
    return values, drawn


def _advice(result: JSONMapping) -> list[str]:
    """What to try where a verdict is not that the result holds."""
    return [] if result["verdict"] in (None, "holds") else list(mending(result, result["analysis"]))


def _model(run: Run) -> JSONDict:
    """What a fit of the workspace tells."""
    given = run.workspace, run.result["modifier_settings"]
    try:
        return {"nuisances": nuisances(*given), "doubts": doubts(*given)}
    except FitError as error:
        return {"nuisances": [], "doubts": [str(error)]}
    except (DiffeaError, LookupError, TypeError, ValueError) as error:
        msg = (
            f"{run.folder / WORKSPACE}, with the modifier_settings of {RESULT}, is no model that can be fitted "
            f"({type(error).__name__}: {error}): run the analysis again"
        )
        raise ReportError(msg) from error


def _events(events: Mapping[str, Mapping[str, int]] | None) -> list[tuple[str, int, str]]:
    """Part, number of events, and the numbers of its data sets in words."""
    return [
        (part, sum(counts.values()), ", ".join(f"{name} {_number(count)}" for name, count in counts.items()))
        for part, counts in (events or {}).items()
    ]


def _yields(run: Run, channel: str, samples: Sequence[str]) -> JSONDict:
    """Expected events of each sample in a channel, hard before and after, soft after; and which of these columns have any."""

    def total(when: str, kind: str, sample: str) -> float | None:
        histogram = run.histogram(when, kind, channel, sample)
        return None if histogram is None else float(histogram.values.sum())

    kinds = {"before": ("before", "hard_test"), "after": ("after", "hard_test"), "soft": ("after", "soft")}
    rows: list[JSONDict] = [
        {"sample": sample} | {name: total(*of, sample) for name, of in kinds.items()} for sample in samples
    ]
    rows = [row for row in rows if any(row[name] is not None for name in kinds)]
    return {"yields": rows, "known": {name for name in kinds if any(row[name] is not None for row in rows)}}


def _parameters(result: JSONMapping) -> list[JSONDict]:
    """A row for each scalar and each short array's element, one for each long array (root mean square instead of value)."""
    after = dict(leaves(result["params"]["after"]))
    known = dict(limits(result["params"]["before"], result["bounds"]))
    rows = []
    for name, first in leaves(result["params"]["before"]):
        last = after[name]
        row: JSONDict = {"name": name, "count": first.size, "before": _size(first), "after": _size(last)}
        low, high = known.get(name, NO_BOUNDS)
        if first.size == 1 and np.isfinite([low, high]).all():
            row |= {"low": float(low), "high": float(high)}
            row["from"], row["to"] = (
                100 * (_size(value) - row["low"]) / (row["high"] - row["low"]) for value in (first, last)
            )
        rows.append(row)
    return rows


def _by_fold(folds: Sequence[JSONMapping]) -> list[tuple[str, list[float]]]:
    """Each parameter that is one number, and what it was found to be without each fold."""
    found = [dict(leaves(fold["params"])) for fold in folds]
    names = [name for name, value in found[0].items() if value.size == 1] if found else []
    return [(name, [_size(fold[name]) for fold in found]) for name in names]


def _size(array: np.ndarray) -> float:
    return float(array.ravel()[0]) if array.size == 1 else float(np.sqrt(np.mean(array**2)))


def _index(runs: Mapping[str, Run]) -> JSONDict:
    first = next(iter(runs.values())).result
    counts = {name: sum(array.size for _, array in leaves(run.result["params"]["after"])) for name, run in runs.items()}
    return {
        "title": first["title"] or first["analysis"],
        "analysis": first["analysis"],
        "judged": "events not trained on" if first["split"] is not None else "the events trained on",
        "runs": runs,
        "counts": counts,
        "objective": objective_in_words,
        "total": _total,
    }


def _total(events: Mapping[str, Mapping[str, int]] | None) -> int | None:
    return sum(count for _, count, _ in _events(events)) or None


def _number(value: float | None, digits: int = 3) -> str:
    """A number as people write it: `digits` significant digits, no exponent between 1e-4 and 1e6."""
    if value is None or not np.isfinite(float(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f").replace("-", "−")
    value = float(value)
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        decimals = digits - 1 - int(np.floor(np.log10(abs(value)))) if value else 0
        return f"{value:,.{max(decimals, 0)}f}".replace(",", "\u202f").replace("-", "−")
    return f"{value:.{digits - 1}e}".replace("-", "−")


def _within(value: float | None, error: float | None, digits: int = 4) -> str:
    """A number with its error, or without where that is not known."""
    if value is None or error is None:
        return _number(value, digits)
    return with_error(value, error).replace("-", "−")


def _change(before: float | None, after: float | None) -> str:
    """The relative change as a signed percentage."""
    if before is None or after is None or not before:
        return "–"
    percent = round(100 * (after - before) / abs(before))
    return f"{percent:+}\u202f%".replace("-", "−") if percent else "0\u202f%"


def _render(template: str, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diffea.report", "templates"),
        autoescape=jinja2.select_autoescape(default=True, default_for_string=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.globals |= {"change": _change, "within": _within}
    return environment.get_template(template).render(**values)


def _save(path: Path, text: str) -> None:
    with whole(path) as file:
        file.write(text.encode())
