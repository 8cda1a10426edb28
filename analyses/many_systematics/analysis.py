"""Thirty shape nuisances, four classes and two parameters of interest, after SANNT (arXiv:2502.13047), on invented events of known densities.

Two signals and two backgrounds in ten columns. Four columns tell them apart well and are modelled badly, six do so less well and are modelled
better; each column has three nuisances: a shift, a scale and a bend, which act on every process. A network with one output for each process is
trained by cross-entropy, by cross-entropy on events whose nuisances are drawn, or for the variances of both signal strengths.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import uproot
from coffea.nanoevents import BaseSchema

from diffea import (
    Analysis,
    DifferentiableProcessor,
    Fill,
    Pretraining,
    Split,
    TemplateSet,
    Variant,
    learning,
    objectives,
)

EVENTS = 10_000
"""Simulated events of each process that `diffea run` makes; `study.py` and `cost.py` are told how many."""
YIELDS = {"signal_a": 300.0, "signal_b": 200.0, "background_a": 8000.0, "background_b": 4000.0}
SIGNALS = {"signal_a": "mu_a", "signal_b": "mu_b"}
COLUMNS = tuple(f"x{number}" for number in range(10))
SHARP = 4  # columns that tell well and are modelled badly: two for each signal
NUISANCES = 30
FREE = {"background_a": 0.1, "background_b": 0.1}  # normalisations
HIDDEN = 16
NOMINAL, UNMOVED = "nominal", "unmoved"  # variations
EDGES = (0.0, 0.5, 0.65, 0.8, 0.9, 1.0)


def _table() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean and width of each column in each process."""
    first, second = (np.isin(np.arange(10), places) for places in ((0, 1, 4, 5, 6), (2, 3, 7, 8, 9)))
    distance = np.where(np.arange(10) < SHARP, 1.6, 0.9)
    mean = {
        "signal_a": distance * first,
        "signal_b": distance * second,
        "background_a": np.zeros(10),
        "background_b": -0.4 * distance * first + 0.4 * distance * second,
    }
    width = {name: np.where(first, 1.2, 1.0) if name == "background_a" else np.ones(10) for name in mean}
    return mean, width


MEAN, WIDTH = _table()
KINDS = {  # of nuisances: how far an event at x moves, in units of the amount, and the derivative by x
    "shift": (jnp.ones_like, jnp.zeros_like),
    "scale": (lambda x: x, jnp.ones_like),
    "bend": (jnp.sin, jnp.cos),
}
AMOUNTS = {"shift": 0.3, "scale": 0.12, "bend": 0.2}  # of one standard deviation, in the sharp columns
ROBUST = 0.1  # times these, in the others


def nuisance(number: int) -> tuple[str, str, float]:
    """Kind, column and amount: the first ten are shifts, one of each column, then scales, then bends."""
    kind, column = list(KINDS)[number // len(COLUMNS)], number % len(COLUMNS)
    return kind, COLUMNS[column], AMOUNTS[kind] * (1.0 if column < SHARP else ROBUST)


def name_of(number: int) -> str:
    """Such as ``shift_x0``."""
    return "_".join(nuisance(number)[:2])


def moved(columns: Mapping[str, Any], direction: Any, number: int) -> dict[str, Any]:
    """The one column that a nuisance moves, by so many standard deviations."""
    kind, column, amount = nuisance(number)
    x = columns[column]
    return {column: x + direction * amount * KINDS[kind][0](x)}


def make_data(folder: Path, events: int = EVENTS, seed: int = 2502) -> None:
    """Write a ROOT file for each process, events numbered: the split is the same however often they are written."""
    random, numbers = np.random.default_rng(seed), np.arange(events)
    folder.mkdir(parents=True, exist_ok=True)
    for run, name in enumerate(YIELDS):
        x = random.normal(MEAN[name], WIDTH[name], (events, len(COLUMNS)))
        columns = dict(zip(COLUMNS, x.T.astype(np.float32), strict=True))
        identity = {"run": np.full_like(numbers, run), "luminosityBlock": np.ones_like(numbers), "event": numbers}
        with uproot.recreate(folder / f"{name}.root") as file:
            file["Events"] = {**columns, "weight": np.full(events, YIELDS[name] / events), **identity}


def network(weights: Sequence[Mapping[str, Any]], columns: Mapping[str, Any]) -> Any:
    """One logit for each process, shape (events, 4), from two hidden layers."""
    x = jnp.stack([columns[name] for name in COLUMNS], axis=1)
    for layer in weights[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ weights[-1]["w"] + weights[-1]["b"]


def untrained(seed: int) -> dict[str, Any]:
    """Random weights."""
    random, sizes = np.random.default_rng(seed), (len(COLUMNS), HIDDEN, HIDDEN, len(YIELDS))
    shapes = itertools.pairwise(sizes)
    return {
        "network": [{"w": random.normal(size=shape) / np.sqrt(shape[0]), "b": np.zeros(shape[1])} for shape in shapes]
    }


class Classes(DifferentiableProcessor):
    """Each event in the class of its largest output, and in a bin of that output.

    Args:
        nuisances: how many of the thirty there are.
    """

    channels: ClassVar[Mapping[str, Any]] = {
        "classes": (
            hist.axis.IntCategory(range(len(YIELDS)), name="class", label="class"),
            hist.axis.Variable(EDGES, name="score", label="largest output"),
        )
    }

    def __init__(self, nuisances: int = NUISANCES) -> None:
        self.variations = {  # type: ignore[misc]
            name_of(number): functools.partial(moved, number=number) for number in range(nuisances)
        }

    def columns(self, events: Any) -> dict[str, Any]:
        """The ten columns, once: what a nuisance moves is made of them when it is needed."""
        return {name: events[name] for name in (*COLUMNS, "weight")}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """One template, from which the variations make sixty more."""
        logits = network(params["network"], columns)
        classes = learning.plane_regions(AS_THEY_ARE, logits, temperature=0.5)
        yield Fill("classes", (classes, jnp.max(jax.nn.softmax(logits), axis=1)), columns["weight"])


AS_THEY_ARE = {"slope": np.eye(len(YIELDS)), "offset": np.zeros(len(YIELDS))}


class Entropy(DifferentiableProcessor):
    """What an event loses as each of the four classes, summed up."""

    channels: ClassVar[Mapping[str, Any]] = {"loss": hist.axis.IntCategory(range(len(YIELDS)), name="class")}

    def columns(self, events: Any) -> dict[str, Any]:
        """The ten columns."""
        return {name: events[name] for name in (*COLUMNS, "weight")}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """One sum for each class."""
        losses = -jax.nn.log_softmax(network(params["network"], columns))
        for number in range(len(YIELDS)):
            yield Fill("loss", jnp.full(losses.shape[:1], number), columns["weight"] * losses[:, number])


class Augmented(Entropy):
    """The same of events that all nuisances move, each event by its own draw of them: anew for every value of ``params["draw"]``."""

    def columns(self, events: Any) -> dict[str, Any]:
        """And the number of the event, from which the draw is made."""
        return {**super().columns(events), "event": events.event}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """Of the moved events."""
        yield from super().fill(params, drawn(columns, params["draw"]))


def drawn(columns: Mapping[str, Any], draw: Any) -> dict[str, Any]:
    """All columns, each moved by its nuisances, which are normal numbers of the event's own."""
    key = jax.random.fold_in(jax.random.key(0), jnp.asarray(draw).astype(int))
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(columns["event"])
    theta = jax.vmap(lambda key: jax.random.normal(key, (NUISANCES,), columns[COLUMNS[0]].dtype))(keys)
    steps = [(nuisance(number)[1], moved(columns, theta[:, number], number)) for number in range(NUISANCES)]
    by_column = {name: sum(step[of] - columns[of] for of, step in steps if of == name) for name in COLUMNS}
    return {**columns, **{name: columns[name] + by_column[name] for name in COLUMNS}}


class ClassesAndEntropy(Classes):
    """Both, for `diffea run`, in which all stages of a variant fill the same templates."""

    channels: ClassVar[Mapping[str, Any]] = {**Classes.channels, **Entropy.channels}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """Losses have a variation's name, so that none of the nuisances makes sixty more of them."""
        yield from super().fill(params, columns)
        for fill in Entropy().fill(params, columns):
            yield dataclasses.replace(fill, variation=UNMOVED)


def cross_entropy(templates: TemplateSet) -> Any:
    """Mean over the four processes, each of weight one."""
    of = NOMINAL if ("loss", "signal_a", NOMINAL) in set(templates) else UNMOVED
    losses = [templates["loss", name, of].values[number] / YIELDS[name] for number, name in enumerate(YIELDS)]
    return jnp.mean(jnp.stack(losses))


def spec(nuisances: int = NUISANCES) -> dict[str, Any]:
    """The pyhf specification: two signal strengths, the luminosity, two normalisations and the shapes."""
    shapes = [name_of(number) for number in range(nuisances)]

    def modifiers(name: str) -> Iterator[dict[str, Any]]:
        for shape in shapes:
            data = {"hi_data": f"{name}:{shape}_up", "lo_data": f"{name}:{shape}_down"}
            yield {"name": shape, "type": "histosys", "data": data}
        yield {"name": "lumi", "type": "normsys", "data": {"hi": 1.02, "lo": 0.98}}
        if name in SIGNALS:
            yield {"name": SIGNALS[name], "type": "normfactor", "data": None}
        else:
            data = {"hi": 1 + FREE[name], "lo": 1 / (1 + FREE[name])}
            yield {"name": f"norm_{name}", "type": "normsys", "data": data}

    samples = [{"name": name, "data": name, "modifiers": list(modifiers(name))} for name in YIELDS]
    wide = [{"name": name, "bounds": [[-10.0, 10.0]], "inits": [1.0]} for name in SIGNALS.values()]
    return {
        "channels": [{"name": "classes", "samples": samples}],
        "measurements": [{"name": "two signals", "config": {"poi": "mu_a", "parameters": []}}],
        "parameters": wide,
    }


def variances(bound: Any) -> dict[str, Any]:
    """Expected variance of each signal strength, all else profiled."""
    return {name: objectives.generalised_variance(bound, [name], poi_true=1.0) for name in SIGNALS.values()}


def both_variances(bound: Any) -> Any:
    """Their sum."""
    return sum(variances(bound).values())


def fileset(data: Path) -> dict[str, Any]:
    """coffea's fileset of the four files."""
    return {name: {"files": {str(data / f"{name}.root"): "Events"}} for name in YIELDS}


def variant(steps: int) -> Variant:
    """A network that is trained by cross-entropy, and then for both variances for so many steps."""
    return Variant(
        processor=ClassesAndEntropy(),
        spec=spec(),
        params=untrained(0),
        pretraining=Pretraining(objective=cross_entropy, optimizer=optax.adam(0.02), steps=60),
        objective=both_variances,
        optimizer=optax.adam(0.01),
        steps=steps,
        limit=False,
    )


analysis = Analysis(
    name="many_systematics",
    title="Two signal strengths with thirty shape nuisances (invented events)",
    fileset=fileset,
    variants={"cross-entropy": variant(0), "uncertainty": variant(40)},
    schemaclass=BaseSchema,
    split=Split(train=0.5),
    default_data=make_data,
    replicas=0,
)
