"""Findings: what may spoil an analysis, each with its remedy, from stated rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea.check.look import Look
from diffea.errors import DiffeaError
from diffea.optimise.box import Box
from diffea.parameters import as_arrays, number_names
from diffea.statistics.spec import Channel
from diffea.templates import Key
from diffea.templates.gap import gaps

WIDE = 0.25  # soft against hard, of a channel's yield
EQUAL = 1e-9
POOR = 0.5  # relative Monte-Carlo error of a bin's background

Level = Literal["stop", "doubt"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        level: ``"stop"`` where nothing can be optimised as it is, ``"doubt"`` where the result may be worth less than it seems.
        place: channel, sample or parameter.
        what: is found.
        remedy: what to do.
    """

    level: Level
    place: str
    what: str
    remedy: str


def findings(look: Look) -> list[Finding]:
    """All that the rules find, what stops a run first."""
    rules = (_objective, _bounds, _idle, _empty, _bare, _negative, _plain, _poor, _wide)
    return sorted((finding for rule in rules for finding in rule(look)), key=lambda finding: finding.level != "stop")


def _objective(look: Look) -> Iterator[Finding]:
    """It is a number, and some parameter changes it."""
    if look.slope is None:
        remedy = "choose a start at which every channel has background, or an objective that is defined there"
        yield Finding("stop", "objective", look.failure or "it is no number", remedy)
    elif not np.any(look.slope @ look.derivative):
        remedy = "start where a parameter has an effect, or take an objective that still changes there"
        if look.loss == 0:
            remedy = "it underflows: take objectives.log_cls, a smaller poi_test, or objectives.upper_limit"
        yield Finding(
            "stop", "objective", f"it is {look.loss:.6g}, and no parameter changes it: nothing to optimise", remedy
        )


def _bounds(look: Look) -> Iterator[Finding]:
    """The start lies within them; the default optimizer looks around within them."""
    variant = look.variant
    try:
        box = Box.of(as_arrays(variant.params), variant.bounds)
    except DiffeaError as error:
        yield Finding("stop", "bounds", str(error), "correct the bounds, or the start")
        return
    ends = ravel_pytree(jax.tree.map(lambda low, high: high - low, box.low, box.high))[0]
    free = [name for name, reach in zip(number_names(variant.params), ends, strict=True) if not np.isfinite(reach)]
    if variant.optimizer == "auto" and free:
        remedy = "give each a lowest and a highest value worth looking at"
        yield Finding(
            "doubt", ", ".join(free[:8]), 'has no bounds, within which optimizer="auto" would look around', remedy
        )


def _idle(look: Look) -> Iterator[Finding]:
    """Each parameter moves some template."""
    still = np.asarray(~look.derivative.any(axis=0))
    for name, idle in zip(number_names(look.variant.params), still, strict=True):
        if idle and not still.all():
            what = "no template changes with it where it starts"
            yield Finding(
                "doubt", name, what, "is it used in `fill`? If so, start nearer to the events, or widen its cut"
            )


def _empty(look: Look) -> Iterator[Finding]:
    """Each template that the model names has events."""
    for channel in look.variant.model.spec.channels:
        for sample in channel.samples.values():
            key = sample.data.key
            if key is not None and not np.any(look.hard[key].values):
                what = "no event of the first chunks passes the cuts at the start"
                yield Finding(
                    "doubt", f"{channel.name}/{sample.name}", what, "loosen the start, or read more with --chunks"
                )


def _bare(look: Look) -> Iterator[Finding]:
    """No bin has signal and no background."""
    for channel, signal, background, _ in _stacks(look):
        if bins := np.flatnonzero((signal > 0) & (background <= 0)).tolist():
            what = f"bins {bins} have signal and no background with exact cuts: a limit is not defined there"
            yield Finding("doubt", channel.name, what, "merge bins, loosen cuts, or add a small background to each bin")


def _negative(look: Look) -> Iterator[Finding]:
    """No sample has a bin below zero."""
    for channel in look.variant.model.spec.channels:
        for sample in channel.samples.values():
            if (
                sample.data.key is not None
                and (bins := np.flatnonzero(look.hard[sample.data.key].values.ravel() < 0)).size
            ):
                what = f"bins {bins.tolist()} are negative with exact cuts"
                remedy = "merge bins; where weights are estimated from data, add a sample that keeps the sum positive"
                yield Finding("doubt", f"{channel.name}/{sample.name}", what, remedy)


def _plain(look: Look) -> Iterator[Finding]:
    """Events are weighted: one that counts 1 is not normalised to luminosity and cross-section."""
    for channel in look.variant.model.spec.channels:
        for sample in channel.samples.values():
            if sample.data.key is None:
                continue
            values, variances = _numbers(look, sample.data.key, None)
            if values.any() and np.allclose(values, variances, rtol=EQUAL, atol=0.0):
                what = "every event counts 1: the weights are not normalised to luminosity and cross-section"
                remedy = (
                    "multiply them by luminosity × cross-section / sum of generator weights, unless the events are data"
                )
                yield Finding("doubt", f"{channel.name}/{sample.name}", what, remedy)


def _poor(look: Look) -> Iterator[Finding]:
    """Simulated events suffice, or the model knows that they do not."""
    for channel, _, background, variance in _stacks(look):
        known = any(
            modifier.type == "staterror"
            for sample in channel.samples.values()
            for modifier in sample.modifiers.values()
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            poor = (background > 0) & (np.sqrt(variance) > POOR * background)
        if poor.any():
            what = (
                f"in the bins {np.flatnonzero(poor).tolist()} the background has a Monte-Carlo error above {POOR:.0%}"
            )
            remedy = "merge bins; the optimiser will look for such fluctuations"
            remedy += "" if known else ". The channel has no `staterror` modifier: add one, so that the model knows"
            yield Finding("doubt", channel.name, what, remedy)


def _wide(look: Look) -> Iterator[Finding]:
    """Soft templates describe the hard ones."""
    for channel, gap in gaps(look.soft, look.hard).items():
        if gap > WIDE:
            what = f"soft and hard templates differ by {gap:.0%}: widths are large beside the spread of their columns, or bandwidths beside the bins"
            yield Finding("doubt", channel, what, "take smaller widths, or bandwidths; widths= anneals them in a run")


def _stacks(look: Look) -> Iterator[tuple[Channel, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each channel: signal and background with exact cuts, and the background's variance, shape (bins,)."""
    poi = look.variant.model.settings.poi_name
    for channel in look.variant.model.spec.channels:
        signal = background = variance = np.zeros(1)
        for sample in channel.samples.values():
            values, errors = _numbers(look, sample.data.key, sample.data.numbers)
            if any(modifier.type == "normfactor" and modifier.name == poi for modifier in sample.modifiers.values()):
                signal = signal + values
            else:
                background, variance = background + values, variance + errors
        yield channel, signal, background, variance


def _numbers(look: Look, key: Key | None, numbers: tuple[float, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    if key is None:
        return np.asarray(numbers, float), np.zeros(len(numbers or ()))
    template = look.hard[key]
    return np.ravel(template.values), np.ravel(template.variances)
