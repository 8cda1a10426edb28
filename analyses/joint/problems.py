"""The two problems: the demo's search and H → ττ, each with cuts, a network and bin edges to tune."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
from coffea.nanoevents import BaseSchema

import diffea
from diffea import Fill, Pretraining, Split, Variant, demo, learning, soft
from diffea.analysis import load_analysis
from diffea.demo.search import JET_ENERGY_SHIFTS
from diffea.distributed import Templates
from diffea.histograms import edge_logits, ordered_edges
from diffea.processor import DifferentiableProcessor
from diffea.statistics import BoundModel

HTAUTAU = load_analysis(Path(__file__).parent.parent / "htautau")
NEURAL = HTAUTAU.variants["neural"].processor
MODULE = sys.modules[type(NEURAL).__module__]
BLOCKS = ("cuts", "network", "edges")
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
NARROWEST = 0.01  # bin of a score
ENTROPY = 60  # steps of cross-entropy, of the network alone, before anything else
ENTROPY_RATE = 0.02
HIDDEN = 8
DEMO_EVENTS = 40_000
FLOOR = {
    "tagged": 4.5,
    "untagged": 11.4,
}  # what one simulated tt̄ and W + jets event stands for in half of the demo's events
SCALES = {"m_eff": (600.0, 250.0), "met": (90.0, 60.0), "mt": (90.0, 60.0), "muon_pt": (50.0, 30.0)}


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is tuned, and on which events.

    Attributes:
        processor: whose parameters are ``cuts``, ``network`` and ``edges``.
        spec: of the model.
        cuts: start, lowest and highest value of each.
        network: first weights.
        channels: of the score, each with edges from 0 to 1.
        entropy: with which the network is trained first.
        objective: of the bound model, minimised.
        rates: of Adam, for each block: cuts in units of their ranges, edges in logits.
        fileset: of a folder.
        schemaclass: of NanoEvents.
    """

    processor: DifferentiableProcessor
    spec: Mapping[str, Any]
    cuts: Mapping[str, tuple[float, float, float]]
    network: Mapping[str, Any]
    channels: tuple[str, ...]
    entropy: learning.CrossEntropy
    objective: Callable[[BoundModel], Any]
    rates: Mapping[str, float]
    fileset: Callable[[Path], Mapping[str, Any]]
    schemaclass: type

    def params(self) -> dict[str, Any]:
        """The processor's parameters to start from: equal bins, and the network untrained."""
        return {
            "cuts": {name: start for name, (start, _, _) in self.cuts.items()},
            "network": dict(self.network),
            "edges": {channel: edge_logits(EDGES, smallest=NARROWEST) for channel in self.channels},
        }

    def bounds(self) -> dict[str, Any]:
        """Of the cuts."""
        return {"cuts": {name: ends for name, (_, *ends) in self.cuts.items()}}

    def variant(self, blocks: Iterable[str], steps: int) -> Variant:
        """After the cross-entropy the objective, of these blocks together, for ``diffea run``."""
        return Variant(
            processor=self.entropy.of(self.processor, beside=True),
            spec=self.spec,
            params=self.params(),
            bounds=self.bounds(),
            pretraining=Pretraining(
                objective=self.entropy,
                optimizer=adam({"network": optax.constant_schedule(ENTROPY_RATE)}),
                steps=ENTROPY,
            ),
            objective=self.objective,
            optimizer=adam({block: optax.cosine_decay_schedule(self.rates[block], steps) for block in blocks}),
            steps=steps,
        )

    def read(self, data: Path, split: Split, processor: DifferentiableProcessor | None = None) -> Templates:
        """The templates of a part of the events."""
        return diffea.distribute(
            processor or self.processor, self.fileset(data), schemaclass=self.schemaclass, split=split
        )


def adam(rates: Mapping[str, optax.Schedule]) -> optax.GradientTransformation:
    """Adam with a learning rate for each block; the others stay."""
    moves = {block: optax.adam(rates[block]) if block in rates else optax.set_to_zero() for block in BLOCKS}
    return optax.multi_transform(moves, dict(zip(BLOCKS, BLOCKS, strict=True)))


def ordered(params: Any) -> dict[str, Any]:
    """Bin edges of every channel of the score."""
    return {channel: ordered_edges(logits, 0.0, 1.0, smallest=NARROWEST) for channel, logits in params["edges"].items()}


class Demo(demo.Search):
    """The demo's six cuts; a network's output in place of the effective mass."""

    channels: ClassVar[Mapping[str, Any]] = {
        name: hist.axis.Variable(EDGES, name="score") for name in ("tagged", "untagged")
    }

    def edges(self, params: Any) -> Mapping[str, Any]:
        """Of both channels."""
        return ordered(params)

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        """As in the demo."""
        cuts = params["cuts"]
        muon = soft.all_of(
            soft.above(columns["muon_pt"], cuts["muon_pt"], width=2.0),
            soft.below(columns["muon_iso"], cuts["muon_iso"], width=0.01),
        )
        tagged = soft.at_least(1, soft.above(columns["btag"], cuts["btag"], width=0.02))
        for variation in JET_ENERGY_SHIFTS:
            x = {name: columns.get(f"{name} {variation}", columns.get(name)) for name in ("jet_pt", *SCALES)}
            keep = soft.all_of(
                muon,
                soft.at_least(3, soft.above(x["jet_pt"], cuts["jet_pt"], width=2.0)),
                soft.above(x["met"], cuts["met"], width=5.0),
                soft.above(x["mt"], cuts["mt"], width=4.0),
            )
            score, weight = jax.nn.sigmoid(small_network(params["network"], x)), columns["weight"] * keep
            for channel, share in (("tagged", tagged), ("untagged", soft.not_(tagged))):
                yield Fill(channel, score, weight * share, variation=variation, bandwidth=0.04)


def small_network(weights: Mapping[str, Any], x: Mapping[str, Any]) -> Any:
    """One logit from one hidden layer."""
    scaled = jnp.stack(
        [jnp.clip((x[name] - mean) / width, -4.0, 4.0) for name, (mean, width) in SCALES.items()], axis=1
    )
    return jnp.tanh(scaled @ weights["in"] + weights["bias"]) @ weights["out"] + weights["threshold"]


def small_weights() -> dict[str, Any]:
    """Random weights, always the same."""
    random = np.random.default_rng(1)
    return {
        "in": random.normal(size=(len(SCALES), HIDDEN)) / np.sqrt(len(SCALES)),
        "bias": np.zeros(HIDDEN),
        "out": random.normal(size=HIDDEN) / np.sqrt(HIDDEN),
        "threshold": np.zeros(()),
    }


class HiggsToTauTau(type(NEURAL)):  # type: ignore[misc]
    """The network of htautau, whose selection is tuned too."""

    channels: ClassVar[Mapping[str, Any]] = {
        "score": hist.axis.Variable(EDGES, name="score"),
        "w_region": NEURAL.channels["w_region"],
    }

    def edges(self, params: Any) -> Mapping[str, Any]:
        """Of the score."""
        return ordered(params)

    def regions(self, params: Any, x: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        """Signal region and W region."""
        cuts = params["cuts"]
        muon = soft.all_of(
            soft.below(x["iso_1"], cuts["iso_1"], width=0.01),
            soft.below(x["btag"], cuts["btag"], width=0.04),
            soft.above(x["pt_2"], cuts["pt_2"], width=2.0),
        )
        score = jax.nn.sigmoid(MODULE.network(params["network"], x))
        yield "score", score, soft.all_of(muon, soft.below(x["mt_1"], cuts["mt_1"], width=4.0))
        yield "w_region", x["m_vis"], soft.all_of(muon, soft.above(x["mt_1"], 70.0, width=3.0))


def make_demo(folder: Path) -> None:
    """Write the demo's events."""
    demo.make_data(folder, events=DEMO_EVENTS)


def of_demo() -> Problem:
    """Six cuts, a network of four inputs, four inner edges in each of two channels."""
    processor, variant = Demo(), demo.analysis.variants[""]
    return Problem(
        processor=processor,
        spec=learning.with_floor(variant.spec, processor, FLOOR),
        cuts={name: (start, *variant.bounds[name]) for name, start in variant.params.items()},
        network=small_weights(),
        channels=("tagged", "untagged"),
        entropy=learning.CrossEntropy("tagged", signal="signal"),
        objective=MODULE.limit_of_filled_bins,
        rates={"cuts": 0.03, "network": 0.004, "edges": 0.05},
        fileset=demo.fileset,
        schemaclass=demo.DemoSchema,
    )


def of_htautau() -> Problem:
    """Four cuts, the network of ten inputs, four inner edges."""
    processor = HiggsToTauTau()
    return Problem(
        processor=processor,
        spec=MODULE.spec(processor),
        cuts={
            "iso_1": (0.1, 0.02, 0.18),
            "btag": (0.68, 0.2, 0.95),
            "pt_2": (22.0, 20.6, 40.0),
            "mt_1": (60.0, 20.0, 68.0),
        },
        network=MODULE.untrained(),
        channels=("score",),
        entropy=learning.CrossEntropy("score", signal=MODULE.SIGNALS, background=MODULE.BACKGROUNDS),
        objective=MODULE.limit_of_filled_bins,
        rates={"cuts": 0.03, "network": 0.004, "edges": 0.05},
        fileset=HTAUTAU.fileset,
        schemaclass=BaseSchema,
    )


PROBLEMS = {"demo": of_demo, "htautau": of_htautau}
