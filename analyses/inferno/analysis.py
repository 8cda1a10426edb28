"""The INFERNO benchmark (de Castro, Dorigo, arXiv:1806.04743): a mixture in three dimensions with two nuisances.

Every benchmark has a network trained on cross-entropy (`cross-entropy-B`), one trained for the expected uncertainty of the
number of signal events (`inferno-B`), and the exact likelihood ratio, not trained (`optimal-B`). Beside the paper's
benchmarks 0 to 4 there are `shift-1` to `shift-3`, in which the background shifts in one, two or three variables.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import uproot
from coffea.nanoevents import BaseSchema

from diffea import Analysis, DifferentiableProcessor, Fill, Pretraining, Split, TemplateSet, Variant, objectives

EVENTS = 200_000
"""Simulated events of each kind."""
SIGNAL, BACKGROUND = 50.0, 1000.0
RATE = 3.0
SIGNAL_MEAN = (0.0, 0.0)
"""Of x0 and x1: as in the authors' code, with which their table agrees; the text of the paper has (1, 1)."""
HIDDEN = 30
FREE_R, FREE_RATE = 5.0, 20.0
"""Widths of the constraints that stand for none: about a hundred times what the data leave of the nuisances."""

BENCHMARKS: dict[str, dict[str, float]] = {  # widths of the constraints
    "0": {},
    "1": {"r": FREE_R},
    "2": {"r": FREE_R, "rate": FREE_RATE},
    "3": {"r": 0.4, "rate": 1.0},
    "4": {"r": 0.4, "rate": 1.0, "b": 0.1},
    "shift-1": {"r": 0.4},
    "shift-2": {"r": 0.4, "x1": 0.4},
    "shift-3": {"r": 0.4, "x1": 0.4, "x2": 0.1},
}
STEPS = {"r": 0.2, "rate": 0.5, "x1": 0.2, "x2": 0.05}
"""Distance at which the derivative of the background by a nuisance is taken, on both sides."""


def make_data(folder: Path) -> None:
    """Write signal and background as ROOT files, events numbered: the split is the same however often they are written."""
    random = np.random.default_rng(20180612)
    folder.mkdir(parents=True, exist_ok=True)
    event = np.arange(EVENTS)
    kinds = (("signal", SIGNAL_MEAN, (1, 1), 2.0), ("background", (2, 0), (5, 9), RATE))
    for number, (name, mean, variance, rate) in enumerate(kinds):
        plane = random.normal(mean, np.sqrt(variance), (EVENTS, 2))
        x = {"x0": plane[:, 0], "x1": plane[:, 1], "x2": random.exponential(1 / rate, EVENTS)}
        identity = {"run": np.full_like(event, number), "luminosityBlock": np.ones_like(event), "event": event}
        with uproot.recreate(folder / f"{name}.root") as file:
            file["Events"] = {**x, **identity}


class Mixture(DifferentiableProcessor):
    """Ten bins of the summary of each event, for the nominal background and for it with its nuisances moved.

    The up and down templates are the nominal one plus and minus the width of the constraint times the derivative by the
    nuisance, taken as a central difference, so that the model is linear in it, however weak the constraint.

    Args:
        constraints: width of the constraint of each nuisance parameter.
        events: of each kind that there are, to which the weights are normalised.
    """

    channels: ClassVar[Mapping[str, Any]] = {
        "summary": hist.axis.Regular(10, 0, 1, name="y", label="summary"),
        "cross_entropy": hist.axis.Regular(2, 0, 2, name="sums", label="loss as background, as signal"),
    }

    def __init__(self, constraints: Mapping[str, float], events: int = EVENTS) -> None:
        self.constraints = constraints
        self.events = events

    def columns(self, events: Any) -> dict[str, Any]:
        """The three observables; the true class of a data set is that of its name."""
        x = np.stack([np.asarray(events[name]) for name in ("x0", "x1", "x2")], axis=1)
        return {"x": x, "is_signal": events.metadata["dataset"] == "signal"}

    def summary(self, params: Any, x: Any) -> Any:
        """Logit of one number an event, of which ten equal bins are taken."""
        return network(params, x)

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """Fill what was observed, and the derivatives of the background."""
        x, is_signal = columns["x"], columns["is_signal"]
        weight = jnp.full(x.shape[0], (SIGNAL if is_signal else BACKGROUND) / self.events)
        logit = self.summary(params, x)
        y = jax.nn.sigmoid(logit)
        yield Fill("summary", y, weight)
        loss = jax.nn.softplus(-logit if is_signal else logit)
        yield Fill("cross_entropy", jnp.full_like(y, 1.5 if is_signal else 0.5), loss / self.events)
        if is_signal:
            return
        for name in self.constraints.keys() & STEPS.keys():
            slope = self.constraints[name] / (2 * STEPS[name])
            sides = [jax.nn.sigmoid(self.summary(params, moved(x, name, sign * STEPS[name]))) for sign in (1, -1)]
            for variation, sign in ((f"{name}_up", 1), (f"{name}_down", -1)):
                yield Fill("summary", y, weight, variation=variation)
                yield Fill("summary", sides[0], sign * slope * weight, variation=variation)
                yield Fill("summary", sides[1], -sign * slope * weight, variation=variation)


class LikelihoodRatio(Mixture):
    """The best classifier there is, from the densities that the events were drawn from."""

    def summary(self, params: Any, x: Any) -> Any:
        """Logit of the probability of signal, of equal numbers of both; `params` has no part in it."""
        log_signal = -jnp.sum((x[:, :2] - np.array(SIGNAL_MEAN)) ** 2, axis=1) / 2 + np.log(2.0) - 2 * x[:, 2]
        log_background = (
            -((x[:, 0] - 2) ** 2) / 10 - x[:, 1] ** 2 / 18 - 0.5 * np.log(45.0) + np.log(RATE) - RATE * x[:, 2]
        )
        return log_signal - log_background + 0.0 * params["unused"]


def moved(x: Any, nuisance: str, by: float) -> Any:
    """Background events as if a nuisance parameter had been larger: a shift of a variable (r: of x0), or a scale of x2."""
    if nuisance == "rate":
        return x * jnp.array([1.0, 1.0, RATE / (RATE + by)])
    return x + by * jnp.eye(3)[("r", "x1", "x2").index(nuisance)]


def network(params: Mapping[str, Any], x: Any) -> Any:
    """One logit an event from two hidden layers."""
    hidden = (x - jnp.array([1.0, 0.0, 0.4])) / jnp.array([2.0, 2.2, 0.4])
    for layer in ("first", "second"):
        hidden = jnp.tanh(hidden @ params[layer]["w"] + params[layer]["b"])
    return hidden @ params["out"]["w"] + params["out"]["b"]


def untrained(seed: int) -> dict[str, Any]:
    """Random weights."""
    random = np.random.default_rng(seed)

    def layer(*shape: int) -> dict[str, Any]:
        return {"w": random.normal(size=shape) / np.sqrt(shape[0]), "b": np.zeros(shape[1:])}

    return {"first": layer(3, HIDDEN), "second": layer(HIDDEN, HIDDEN), "out": layer(HIDDEN)}


def cross_entropy(templates: TemplateSet) -> Any:
    """Mean over both classes."""
    return templates["cross_entropy", "background"].values[0] + templates["cross_entropy", "signal"].values[1]


def spec(constraints: Mapping[str, float]) -> dict[str, Any]:
    """The pyhf specification of a benchmark."""
    modifiers: list[dict[str, Any]] = [
        {
            "name": name,
            "type": "histosys",
            "data": {"hi_data": f"background:{name}_up", "lo_data": f"background:{name}_down"},
        }
        for name in constraints
        if name in STEPS
    ]
    if "b" in constraints:
        data = {"hi": 1 + constraints["b"], "lo": 1 - constraints["b"]}
        modifiers.append({"name": "b", "type": "normsys", "data": data})
    signal = {"name": "signal", "data": "signal", "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}
    background = {"name": "background", "data": "background", "modifiers": modifiers}
    return {"channels": [{"name": "summary", "samples": [signal, background]}]}


def signal_uncertainty(bound: Any) -> Any:
    """Expected uncertainty of the number of signal events, from the Fisher information at the true parameters."""
    return SIGNAL * objectives.poi_uncertainty(bound, poi_true=1.0)


def fileset(data: Path) -> dict[str, Any]:
    """coffea's fileset of the two files."""
    return {name: {"files": {str(data / f"{name}.root"): "Events"}} for name in ("signal", "background")}


def variant(kind: str, benchmark: str, seed: int = 0) -> Variant:
    """One way to summarise the events of one benchmark.

    Args:
        kind: ``cross-entropy``, ``inferno`` or ``optimal``.
        benchmark: ``0`` to ``4``.
        seed: of the network's first weights.
    """
    constraints = BENCHMARKS[benchmark]
    make = functools.partial(Variant, spec=spec(constraints), objective=signal_uncertainty, limit=False)
    if kind == "optimal":
        return make(processor=LikelihoodRatio(constraints), params={"unused": 0.0}, steps=0)
    first, steps = (60, 0) if kind == "cross-entropy" else (30, 100)
    return make(
        processor=Mixture(constraints),
        params=untrained(seed),
        pretraining=Pretraining(objective=cross_entropy, optimizer=optax.adam(0.02), steps=first),
        optimizer=optax.adam(optax.cosine_decay_schedule(0.03, 100)),
        steps=steps,
    )


KINDS = ("cross-entropy", "inferno", "optimal")

analysis = Analysis(
    name="inferno",
    title="The synthetic benchmark of INFERNO (arXiv:1806.04743): uncertainty of 50 signal events among 1000",
    fileset=fileset,
    variants={f"{kind}-{benchmark}": variant(kind, benchmark) for kind in KINDS for benchmark in BENCHMARKS},
    schemaclass=BaseSchema,
    split=Split(train=0.5),
    default_data=make_data,
)
