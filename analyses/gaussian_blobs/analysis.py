"""Gaussian blobs: a network as the observable of a search, trained for the expected CLs (neos, arXiv:2203.05570, section 3).

The events lie in ROOT files here and are trained on all at once, distributed; `study.py` is the same in memory by mini-batches.
"""

from __future__ import annotations

import dataclasses
import functools
import runpy
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

from diffea import Analysis, DifferentiableProcessor, Fill, HistFactory, Pretraining, Split, Variant, objectives

MEANS = {
    "paper": {"signal": (-1.0, 1.0), "background": (2.5, 2.0), "up": (-2.5, -1.5), "down": (1.0, -1.0)},
    "demo": {"signal": (-1.0, 1.0), "background": (1.0, -1.0), "up": (2.5, 2.0), "down": (-2.5, -1.5)},
}
KEYS = {
    "signal": ("signal", "nominal"),
    "background": ("background", "nominal"),
    "up": ("background", "up"),
    "down": ("background", "down"),
}
YIELDS = {"signal": 20.0, "background": 100.0}
EDGES = (-0.25, 0.25, 0.5, 0.75, 1.25)  # four bins of a score in (0, 1); the kernel leaks at neither end
BANDWIDTH = 0.09


def draw(means: str = "demo", points: int = 10_000, seed: int = 0) -> dict[str, np.ndarray]:
    """Points of unit covariance around the four means, each of shape (points, 2)."""
    generator = np.random.default_rng(seed)
    return {blob: generator.normal(mean, 1.0, (points, 2)) for blob, mean in MEANS[means].items()}


def make_data(folder: Path, means: str = "demo", points: int = 10_000) -> None:
    """Write the blobs, a ROOT file each, with the weights that give the expected yields.

    Every event has a number of its own, so that the split is the same however often the files are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, (blob, x) in enumerate(draw(means, points).items()):
        weight = np.full(points, YIELDS[KEYS[blob][0]] / points)
        event = np.arange(points)
        identity = {"run": np.full_like(event, number), "luminosityBlock": np.ones_like(event), "event": event}
        with uproot.recreate(folder / f"{blob}.root") as file:
            file["Events"] = {"x0": x[:, 0], "x1": x[:, 1], "weight": weight, **identity}


def fileset(folder: Path) -> dict[str, Any]:
    """One dataset a blob; the shifted ones are variations of the background."""
    return {
        blob: {
            "files": {str(folder / f"{blob}.root"): "Events"},
            "metadata": {"sample": sample, "variation": variation},
        }
        for blob, (sample, variation) in KEYS.items()
    }


def initial(width: int, seed: int) -> list[dict[str, Any]]:
    """A network 2–width–width–1 with Glorot's initial weights."""
    sizes = [2, width, width, 1]
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    glorot = jax.nn.initializers.glorot_normal()
    return [
        {"weight": glorot(key, (fan_in, fan_out)), "bias": jnp.zeros(fan_out)}
        for key, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def network(layers: Sequence[Mapping[str, Any]], x: Any) -> Any:
    """The logit of each point, shape (points,); its sigmoid is the score."""
    for layer in layers[:-1]:
        x = jax.nn.relu(x @ layer["weight"] + layer["bias"])
    return (x @ layers[-1]["weight"] + layers[-1]["bias"])[:, 0]


class Blobs(DifferentiableProcessor):
    """The score in four bins; and sums of cross-entropy and weight, from which its mean follows."""

    channels: ClassVar[Mapping[str, Any]] = {
        "score": hist.axis.Variable(EDGES, name="score", label="network output"),
        "cross_entropy": hist.axis.Regular(2, 0, 2, name="sum", label="sums of cross-entropy and of weight"),
    }

    def columns(self, events: Any) -> dict[str, Any]:
        x = np.stack([np.asarray(events.x0), np.asarray(events.x1)], axis=-1)
        return {"x": x, "weight": events.weight, **{key: events.metadata[key] for key in ("sample", "variation")}}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        logit, weight, variation = network(params["layers"], columns["x"]), columns["weight"], columns["variation"]
        yield Fill("score", jax.nn.sigmoid(logit), weight, variation=variation, bandwidth=BANDWIDTH)
        loss = jax.nn.softplus(-logit if columns["sample"] == "signal" else logit)
        for place, summand in ((0.5, loss), (1.5, 1.0)):
            yield Fill("cross_entropy", jnp.full_like(logit, place), weight * summand, variation=variation)


class LearnedBins(Blobs):
    """The same with inner edges that are parameters."""

    def edges(self, params: Any) -> dict[str, Any]:
        inner = jnp.cumsum(jax.nn.softmax(params["bins"]))[:-1]
        return {"score": jnp.concatenate([jnp.array(EDGES[:1]), inner, jnp.array(EDGES[-1:])])}


SPEC = {
    "channels": [
        {
            "name": "score",
            "samples": [
                {
                    "name": "signal",
                    "data": "signal",
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {
                    "name": "background",
                    "data": "background",
                    "modifiers": [
                        {
                            "name": "gamma",
                            "type": "histosys",
                            "data": {"hi_data": "background:up", "lo_data": "background:down"},
                        }
                    ],
                },
                {"name": "floor", "data": [1e-3] * 4, "modifiers": []},
            ],
        }
    ]
}

MODEL = HistFactory(SPEC)


def log_cls(bound: Any) -> Any:
    """Logarithm of the expected CLs: the same minimum, but gradients of order one, which Adam's ε does not stop."""
    return jnp.log(objectives.cls(bound))


def inferno(bound: Any) -> Any:
    """σ_μ² from the Fisher information at μ = 1."""
    return objectives.poi_uncertainty(bound, poi_true=1.0) ** 2


def three_terms(bound: Any) -> Any:
    """a₀ CLs + a₁ σ_μ + a₂ (1 − σ_γ)²; the weights make the terms alike at the end of a training for CLs."""
    sigma, penalty = (f(bound, poi_true=1.0) for f in (objectives.poi_uncertainty, objectives.nuisance_penalty))
    return 1e5 * objectives.cls(bound) + sigma + 10.0 * penalty


def mean_cross_entropy(templates: Any, blobs: Sequence[str]) -> Any:
    """Of the classifier of signal against the other blobs, each with equal weight."""
    sums = [templates["cross_entropy", *KEYS[blob]].values for blob in blobs]
    return sum(total[0] / total[1] for total in sums) / len(blobs)


WIDTH, STEPS = 100, 60
ADAM = optax.adam(1e-3)


def trained_for(objective: Any, seed: int, processor: Any = None, **params: Any) -> Variant:
    """A network trained for an objective of the model."""
    return Variant(
        processor=processor or Blobs(),
        spec=MODEL,
        params={"layers": initial(WIDTH, seed), **params},
        objective=objective,
        optimizer=ADAM,
        steps=STEPS,
    )


def classifier(seed: int, *blobs: str) -> Variant:
    """A network trained to tell blobs apart, and judged by its expected CLs."""
    loss = functools.partial(mean_cross_entropy, blobs=blobs)
    variant = trained_for(objectives.cls, seed)
    return dataclasses.replace(variant, steps=0, pretraining=Pretraining(objective=loss, optimizer=ADAM, steps=STEPS))


def variants(seed: int) -> dict[str, Variant]:
    """The paper's losses, and what goes beyond the paper, from one initialisation of the network."""
    return {
        "neos": trained_for(objectives.cls, seed),
        "inferno": trained_for(inferno, seed),
        "cross-entropy": classifier(seed, "signal", "background"),
        "cross-entropy-variations": classifier(seed, *KEYS),
        "neos-log": trained_for(log_cls, seed),
        "learned-bins": trained_for(log_cls, seed, LearnedBins(), bins=np.zeros(4)),
        "three-terms": trained_for(three_terms, seed),
    }


def reseeded(seed: int) -> Analysis:
    """The analysis from other first weights."""
    return dataclasses.replace(analysis, variants=variants(seed))


def figures(out: Path) -> list[Path]:
    """The paper's figure 3."""
    draw_figure = runpy.run_path(str(Path(__file__).with_name("figure3.py")))["draw"]
    return [draw_figure(out)]


analysis = Analysis(
    name="gaussian_blobs",
    title="neos's Gaussian blobs: a network trained for the expected CLs",
    fileset=fileset,
    schemaclass=BaseSchema,
    split=Split(train=0.75),
    default_data=make_data,
    variants=variants(seed=0),
    seeds=7,
    reseeded=reseeded,
    figures=figures,
)
