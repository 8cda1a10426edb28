"""Whether to believe an optimum: in words, what makes a model or a fit doubtful."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.statistics import starts
from diffea.statistics.bound import BoundModel
from diffea.statistics.diagnostics import (
    Nuisances,
    at_asimov,
    background_and_signal,
    effective_events,
    fisher_condition,
    nuisances,
)
from diffea.statistics.fits import bounds
from diffea.statistics.rates import shifts_at_one_sigma
from diffea.statistics.solver import Solver

_FAR = 5.0


def warnings(
    bound: BoundModel,
    *,
    data: Any = None,
    poi_true: float = 0.0,
    constraint: float = 0.5,
    events: float = 10.0,
    condition: float = 1e8,
    solver: Solver | None = None,
) -> list[str]:
    """In words, what makes an optimum doubtful; empty if nothing does.

    Args:
        bound: the model with concrete numbers.
        data: events of all bins and auxiliary data; Asimov data by default.
        poi_true: value of the parameter of interest behind the Asimov data.
        constraint: smallest credible ratio of a nuisance parameter's uncertainty to its prior width.
        events: smallest credible number of effective MC events in a bin.
        condition: largest credible condition number of the Fisher information.
        solver: how to fit.
    """
    result = nuisances(bound, data, poi_true=poi_true, solver=solver)
    return [
        *_constrained(bound, result, constraint),
        *_at_upper_bounds(bound, result),
        *_of_two_minima(bound),
        *_of_cancelled_backgrounds(bound),
        *_of_few_events(bound, events),
        *_dropped_uncertainties(bound),
        *_unmeasured(bound, poi_true, condition),
        *_without_background(bound),
    ]


def _constrained(bound: BoundModel, result: Nuisances, least: float) -> Iterator[str]:
    names, one_a_bin = bound.config.par_names, _one_a_bin(bound)
    for i, ratio in enumerate(np.asarray(result.constraints)):
        if ratio < least and i not in one_a_bin:
            yield (
                f"the nuisance parameter {names[i]!r} is constrained to {ratio:.2f} of its prior width (below {least}): the "
                "fit measures it in situ; is its effect on the templates that well known?"
            )


def _one_a_bin(bound: BoundModel) -> set[int]:
    sets = bound.layout.sets.values()
    return {n for item in sets if not item.is_scalar for n in range(item.slice.start, item.slice.stop)}


def _at_upper_bounds(bound: BoundModel, result: Nuisances) -> Iterator[str]:
    """Without the parameter of interest, which has no upper bound here."""
    if result.fit is None:
        return
    _, high = bounds(bound.layout)
    held = (np.asarray(result.values) >= high) & ~np.asarray(bound.config.suggested_fixed())
    for i in np.flatnonzero(held):
        if i != bound.config.poi_index:
            yield (
                f"the fit stops at the upper bound {high[i]:g} of {bound.config.par_names[i]!r}: a test or an uncertainty "
                "is right only if it cannot be larger; otherwise widen its bounds"
            )


def _of_two_minima(bound: BoundModel) -> Iterator[str]:
    """Shifts that point one way, seen with signal, and large enough to matter if the data are 5 sigma away."""
    if not starts.has_shifts(bound.layout):
        return
    signal = 0.0 if bound.config.poi_index is None else 1.0
    odd, even, bends = map(np.asarray, _sides(bound, signal))
    for i in np.flatnonzero((even > odd) & bends):
        yield (
            f"both variations of {bound.config.par_names[i]!r} move the expectation the same way, by {even[i]:.2g} uncertainties "
            "of the data: the likelihood may have several minima; fits start on both sides and take the lowest, but if "
            "one variation is a fluctuation of its simulation, symmetrise or smooth it"
        )


@jax.jit
def _sides(bound: BoundModel, signal: float) -> tuple[Array, Array, Array]:
    """Length of the odd and of the even part of each parameter's shift, and whether they could make a second minimum."""
    shift = starts.sides(bound.layout, bound.settings, bound.prepared(), at_asimov(bound, signal))
    odd, even = (jnp.linalg.norm(part, axis=1) for part in shift)
    return odd, even, starts.bends(shift, _FAR)


def _of_cancelled_backgrounds(bound: BoundModel) -> Iterator[str]:
    """Bins whose background one sigma makes negative, and whose MC-statistical parameter multiplies that."""
    if not starts.has_shifts(bound.layout):
        return
    scaled = {bin_ for _, mask, _ in bound.layout.staterror for bin_ in np.flatnonzero(mask)}
    nu, lowest = map(np.asarray, _with_one_sigma(bound))
    for bin_ in sorted(scaled):
        parameter = int(np.argmin(lowest[:, bin_]))
        if lowest[parameter, bin_] < 0 < nu[bin_]:
            yield (
                f"bin {bound.layout.bin_names[bin_]} expects {nu[bin_]:.3g} background events, which one sigma of "
                f"{bound.config.par_names[parameter]!r} makes {lowest[parameter, bin_]:.3g}: its staterror can then scale a negative "
                "background against the signal, in a second minimum that fits may or may not find; merge the bin"
            )


@jax.jit
def _with_one_sigma(bound: BoundModel) -> tuple[Array, Array]:
    """The background of each bin, shape (bins,), and what one sigma of each parameter leaves of it at least, shape (parameters, bins)."""
    nu, up, down = shifts_at_one_sigma(bound.layout, bound.settings, bound.prepared(), at_asimov(bound, 0.0))
    return nu, nu + jnp.minimum(up, down)


def _of_few_events(bound: BoundModel, least: float) -> Iterator[str]:
    for name, n in zip(bound.layout.bin_names, np.asarray(effective_events(bound)), strict=True):
        if n < least:
            yield (
                f"bin {name} is carried by {n:.1f} effective MC events (below {least:g}): its content is a fluctuation "
                "as much as a prediction; merge it, or add the MC-statistical penalty to the objective"
            )


def _dropped_uncertainties(bound: BoundModel) -> Iterator[str]:
    """Staterrors and shapesys of no or negative yield: pyhf fixes their parameters, and so does the likelihood here."""
    layout, nominal = bound.layout, np.asarray(bound.prepared().nominal)
    errors, widths = np.asarray(bound.yields.staterror), np.asarray(bound.yields.shapesys)
    owner = {n: item.name for item in layout.sets.values() for n in range(item.slice.start, item.slice.stop)}
    found = []
    for table, mask, parameters in layout.staterror:
        total = np.where(table < errors.size, nominal, 0.0).sum(axis=0)[mask]
        error = np.sqrt((np.append(errors, 0.0)[table] ** 2).sum(axis=0))[mask]
        found.append(("staterror", np.flatnonzero(mask), parameters, total, error))
    for sample, bins, table, parameters in layout.shapesys:
        found.append(("shapesys", bins, parameters, nominal[sample, bins], widths[table]))
    for kind, bins, parameters, total, error in found:
        for place, parameter, n, delta in zip(bins, parameters, total, error, strict=True):
            if n <= 0 < delta:
                yield (
                    f"the {kind} {owner[int(parameter)]!r} in bin {layout.bin_names[place]} is left out, as pyhf does: its "
                    f"uncertainty of {delta:.3g} events is relative to a yield that is not positive ({n:.3g}); write it as "
                    "a histosys, or give the bin's staterror to the other samples too"
                )


def _unmeasured(bound: BoundModel, poi_true: float, largest: float) -> Iterator[str]:
    number = float(fisher_condition(bound, poi_true))
    if not number < largest:
        yield (
            f"the Fisher information has condition {number:.1e} (above {largest:.0e}): some combination of parameters is "
            "not measured; fix or merge parameters that do the same"
        )


def _without_background(bound: BoundModel) -> Iterator[str]:
    background, signal = map(np.asarray, background_and_signal(bound))
    for i in np.flatnonzero((background <= 0) & (signal > 0)):
        yield f"bin {bound.layout.bin_names[i]} has signal and no background: asymptotic formulae do not hold there"
