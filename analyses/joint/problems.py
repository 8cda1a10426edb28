"""The two problems: the demo's search and H → ττ, each with cuts, a network and bin edges to tune."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
from coffea.nanoevents import BaseSchema

import diffea
from diffea import Fill, Split, demo, learning, soft
from diffea.analysis import load_analysis
from diffea.demo.search import JET_ENERGY_SHIFTS
from diffea.distributed import Templates
from diffea.processor import DifferentiableProcessor

HTAUTAU = load_analysis(Path(__file__).parent.parent / "htautau")
NEURAL = HTAUTAU.variants["neural"].processor
MODULE = sys.modules[type(NEURAL).__module__]
EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
HIDDEN = 8
DEMO_EVENTS = 60_000
SCALES = {"m_eff": (600.0, 250.0), "met": (90.0, 60.0), "mt": (90.0, 60.0), "muon_pt": (50.0, 30.0)}


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is tuned, and on which events.

    Attributes:
        processor: whose parameters are ``cuts``, ``network`` and ``edges``.
        spec: of the model.
        cuts: start, lowest and highest value of each.
        network: first weights.
        edges: of each channel of the score, to start from; from 0 to 1.
        entropy: with which the network is trained first.
        fileset: of a folder.
        schemaclass: of NanoEvents.
    """

    processor: DifferentiableProcessor
    spec: Mapping[str, Any]
    cuts: Mapping[str, tuple[float, float, float]]
    network: Mapping[str, Any]
    edges: Mapping[str, tuple[float, ...]]
    entropy: learning.CrossEntropy
    fileset: Callable[[Path], Mapping[str, Any]]
    schemaclass: type

    def start(self) -> dict[str, Any]:
        """The point to start from: cuts in units of their ranges, edges as logarithms of the bins' widths."""
        return {
            "cuts": {name: (start - low) / (high - low) for name, (start, low, high) in self.cuts.items()},
            "network": dict(self.network),
            "edges": {channel: np.log(np.diff(edges)) for channel, edges in self.edges.items()},
        }

    def physical(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The processor's parameters."""
        cuts = {name: low + (high - low) * point["cuts"][name] for name, (_, low, high) in self.cuts.items()}
        inner = {channel: jnp.cumsum(jax.nn.softmax(logs))[:-1] for channel, logs in point["edges"].items()}
        ends = jnp.zeros(1), jnp.ones(1)
        edges = {channel: jnp.concatenate([ends[0], some, ends[1]]) for channel, some in inner.items()}
        return {"cuts": cuts, "network": point["network"], "edges": edges}

    def read(self, data: Path, split: Split, processor: DifferentiableProcessor | None = None) -> Templates:
        """The templates of a part of the events."""
        return diffea.distribute(
            processor or self.processor, self.fileset(data), schemaclass=self.schemaclass, split=split
        )


class Demo(demo.Search):
    """The demo's six cuts; a network's output in place of the effective mass."""

    channels: ClassVar[Mapping[str, Any]] = {
        name: hist.axis.Variable(EDGES, name="score") for name in ("tagged", "untagged")
    }

    def edges(self, params: Any) -> Mapping[str, Any]:
        """Of both channels."""
        return dict(params["edges"])

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
        return dict(params["edges"])

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
    variant = demo.analysis.variants[""]
    return Problem(
        processor=Demo(),
        spec=variant.spec,
        cuts={name: (start, *variant.bounds[name]) for name, start in variant.params.items()},
        network=small_weights(),
        edges={"tagged": EDGES, "untagged": EDGES},
        entropy=learning.CrossEntropy("tagged", signal="signal"),
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
        edges={"score": EDGES},
        entropy=learning.CrossEntropy("score", signal=MODULE.SIGNALS, background=MODULE.BACKGROUNDS),
        fileset=HTAUTAU.fileset,
        schemaclass=BaseSchema,
    )


PROBLEMS = {"demo": of_demo, "htautau": of_htautau}
