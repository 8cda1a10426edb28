"""Tables: what each object shows of itself. Nothing is computed for show: only what is there already.

The objects come from rooms further down, which call this one, so their types have no names here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diffea.notebook.html import block, line, number, path, size, table
from diffea.types import PyTree

SIGMAS = ("−2σ", "−1σ", "median", "+1σ", "+2σ")


def of_ledger(ledger: PyTree) -> str:
    """Events by dataset, where their columns lie, and what was left out."""
    events = table(["dataset", "events held", "left out"], [
        [name, count, f"{ledger.lost[name]:.2%}" if name in ledger.lost else "–"] for name, count in ledger.events.items()
    ])  # fmt: skip
    places = ", ".join(f"{size(nbytes)} in {place}" for place, nbytes in ledger.nbytes.items() if nbytes)
    return block("Ledger", events, line(f"{len(ledger.chunks):,} chunks; {places or 'no columns held'}"))


def of_templates(templates: PyTree) -> str:
    """What is held where, and what was done with it."""
    did = f"{templates.workers} at once; {templates.passes:,} passes over the data so far, {templates.fills:,.0f} fills"
    return block(f"Templates of {type(templates.processor).__name__}", of_ledger(templates.ledger), line(did))


def of_template_set(templates: PyTree) -> str:
    """The yield of every sample in every channel, with its statistical error, and how many variations it has."""
    keys = list(templates)
    return block("TemplateSet", table(["channel", "sample", "yield", "± (simulation)", "bins", "variations"], [
        [channel, sample, *_sum(templates[channel, sample, variation]), sum(key[:2] == (channel, sample) for key in keys) - 1]
        for channel, sample, variation in keys if variation == "nominal"
    ]))  # fmt: skip


def of_model(model: PyTree) -> str:
    """The modifiers of every sample in every channel, as in the specification."""
    return block(f"HistFactory; parameter of interest: {model.settings.poi_name or 'none'}", table(["channel", "sample", "modifiers"], [
        [channel.name, sample.name, ", ".join(f"{found.name} ({found.type})" for found in sample.modifiers.values()) or "none"]
        for channel in model.spec.channels for sample in channel.samples.values()
    ]))  # fmt: skip


def of_bound(bound: PyTree) -> str:
    """Parameters with where they start and end, and the expected events there."""
    config = bound.config
    rows = zip(
        config.par_names, config.suggested_init(), config.suggested_bounds(), config.suggested_fixed(), strict=True
    )
    expected = np.asarray(bound.expected_data(config.suggested_init()))
    channels = [
        [name, part.stop - part.start, float(expected[part].sum())] for name, part in config.channel_slices.items()
    ]
    return block(
        f"BoundModel; parameter of interest: {config.poi_name or 'none'}",
        table(["channel", "bins", "events at these starts"], channels),
        table(["parameter", "start", "bounds", "fixed"], [
            [name, number(start), f"{number(low)} to {number(high)}", "yes" if fixed else "no"] for name, start, (low, high), fixed in rows
        ]),
    )  # fmt: skip


def of_result(result: PyTree) -> str:
    """Parameters before and after with what the scans say of them, and the path of the loss."""
    history = result.history
    first: Mapping[str, float] = (history[0].params if history else None) or {}
    last = result.params if isinstance(result.params, Mapping) else {}
    rows = [
        [name, number(first.get(name)), number(value), result.scans[name].at if name in result.scans else ""]
        for name, value in last.items()
        if np.ndim(value) == 0 and not hasattr(value, "keys")
    ]
    losses = [step.loss for step in history]
    ends = f"loss {number(losses[0])} → {number(losses[-1])} in {len(losses)} steps; " if losses else ""
    exact = "" if result.hard is None else f"with exact cuts: {number(result.hard)}; "
    return block(
        "Result", table(["parameter", "first", "result", ""], rows) if rows else "", path(losses, "loss against step"),
        line(f"{ends}{exact}{result.message}"),
    )  # fmt: skip


def of_step(step: PyTree) -> str:
    """Where an optimisation was at a step."""
    slope = "exact cuts" if step.gradient_norm is None else f"gradient {step.gradient_norm:.2g}"
    rows = [[name, number(value)] for name, value in (step.params or {}).items()]
    return block(
        f"{step.phase or 'Step'} {step.step}", table(["parameter", "value"], rows) if rows else "",
        line(f"loss {number(step.loss)}; {slope}; {step.seconds:.2g} s"),
    )  # fmt: skip


def of_template(template: PyTree) -> str:
    """The bins of a template with its statistical errors."""
    values, errors = (np.ravel(np.asarray(part, float)) for part in (template.values, np.sqrt(template.variances)))
    names = " × ".join(axis.label or axis.name for axis in template.axes)
    rows = zip(range(values.size), values.tolist(), errors.tolist(), strict=True)
    sums = line(f"sum {number(values.sum())} ± {number(np.sqrt(np.sum(errors**2)))}")
    return block(f"Template in {names}", table(["bin", "value", "± (simulation)"], rows), sums)


def of_observed(seen: PyTree) -> str:
    """Observed events of each channel, and those results that were asked for already."""
    channels = [[name, bins.size, int(bins.sum())] for name, bins in seen.observations.items()]
    known = [[name, number(vars(seen)[name])] for name in ("limit", "cls", "significance") if name in vars(seen)]
    asked = (
        table(["result", "observed"], known)
        if known
        else line("not asked for yet: .limit, .cls, .significance, .best_fit")
    )
    return block("Observed", table(["channel", "bins", "events"], channels), asked)


def of_evaluation(final: PyTree) -> str:
    """Yields with hard cuts, and those results that were asked for already."""
    known = [
        [name, number(vars(final)[name])]
        for name in ("limit", "cls", "significance", "poi_uncertainty")
        if name in vars(final)
    ]
    asked = (
        table(["result", "expected"], known)
        if known
        else line("not asked for yet: .limit, .cls, .significance, .poi_uncertainty")
    )
    events = ", ".join(f"{name} {count:,}" for name, count in final.events.items())
    return block("Evaluation: hard cuts, pyhf", of_template_set(final.templates), asked, line(f"events read: {events}"))


def of_limit(limit: PyTree) -> str:
    """Observed and expected limits with their band."""
    band = (
        []
        if limit.band is None
        else [[f"expected, {sigma}", number(value)] for sigma, value in zip(SIGMAS, limit.band, strict=True)]
    )
    observed = [] if limit.observed is None else [["observed", number(limit.observed)]]
    return block(
        "Upper limit",
        table(["", "parameter of interest"], [*observed, *(band or [["expected, median", number(limit.expected)]])]),
    )


def of_estimates(found: PyTree) -> str:
    """Best-fit values with their uncertainties."""
    columns = (np.asarray(part, float).tolist() for part in (found.values, found.uncertainties))
    return block("Estimates", table(["parameter", "best fit", "±"], zip(found.parameters, *columns, strict=True)))


def of_nuisances(found: PyTree) -> str:
    """Pulls, constraints and impacts."""
    columns = (np.asarray(part, float).tolist() for part in (found.pulls, found.constraints, found.impacts))
    return block(
        "Parameters after the fit",
        table(["parameter", "pull", "constraint", "impact"], zip(found.parameters, *columns, strict=True)),
    )


def of_ranking(found: PyTree) -> str:
    """Shifts by refits, largest first."""
    shifts = [np.asarray(part, float) for part in (found.prefit, found.postfit)]
    rows = [
        [found.parameters[place], *(value for pair in shifts for value in pair[place].tolist())]
        for place in found.order
    ]
    heads = ["parameter", "before the fit, up", "down", "after, up", "down"]
    return block(f"Impact on {found.poi}", table(heads, rows), *map(line, found.notes))


def of_hypotest(test: PyTree) -> str:
    """CLs of the data, and its expected band."""
    rows = [["CLs", number(test.cls)], ["CLs+b", number(test.clsb)], ["CLb", number(test.clb)]]
    band = [[f"CLs expected, {sigma}", number(value)] for sigma, value in zip(SIGMAS, test.band, strict=True)]
    return block("Hypothesis test", table(["", "value"], [*rows, *band]))


def _sum(template: PyTree) -> tuple[float, float, int]:
    values, variances = np.asarray(template.values), np.asarray(template.variances)
    return float(values.sum()), float(np.sqrt(variances.sum())), values.size
