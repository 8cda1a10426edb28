"""A jet threshold, a multiplicity, a working point and bin edges, optimised together on jagged ROOT files.

The case is constructed so that the optimum is known: jets of the background end at 40 GeV but for one, signal events have
two jets above it; the medium working point keeps all of the signal, and the signal lies between 0.5 and 0.7.
"""

from __future__ import annotations

import itertools

import awkward as ak
import hist
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import uproot
from coffea.nanoevents import BaseSchema

import diffea
from diffea import histograms, soft
from diffea.processor import DifferentiableProcessor, Fill

WORKING_POINTS = ("loose", "medium", "tight")
EFFICIENCY = {"signal": (1.0, 1.0, 0.35), "background": (1.0, 0.3, 0.2)}


def write(path, sample, events, seed):
    random = np.random.default_rng(seed)
    signal = sample == "signal"
    few = random.poisson(2.0, events)
    hard = np.full(events, 2) if signal else random.integers(0, 2, events)
    low = ak.unflatten(random.uniform(15, 40, few.sum()), few)
    high = ak.unflatten(random.uniform(40, 120, hard.sum()), hard)
    score = random.uniform(0.5, 0.7, events) if signal else random.uniform(0, 1, events)
    passed = random.uniform(size=events)[:, None] < np.array(EFFICIENCY[sample])
    with uproot.recreate(path) as file:
        branches = {"jet_pt": ak.concatenate([high, low], axis=1), "score": score}
        branches |= {name: passed[:, place].astype(float) for place, name in enumerate(WORKING_POINTS)}
        file.mktree("Events", {name: b.type if isinstance(b, ak.Array) else b.dtype for name, b in branches.items()})
        file["Events"].extend(branches)


class Constructed(DifferentiableProcessor):
    channels = {"score": hist.axis.Variable([0.0, 0.33, 0.67, 1.0], name="score")}  # noqa: RUF012

    def columns(self, events):
        return {name: events[name] for name in ("jet_pt", "score", *WORKING_POINTS)}

    def edges(self, params):
        return {"score": histograms.ordered_edges(params["edges"], 0.0, 1.0, smallest=0.05)}

    def fill(self, params, columns):
        jets = soft.above(columns["jet_pt"], params["jet_pt"], width=params["width"])
        several = soft.choice(params["multiplicity"], [soft.at_least(n, jets) for n in (1, 2, 3)])
        identified = soft.choice(params["working_point"], [columns[name] for name in WORKING_POINTS])
        yield Fill("score", columns["score"], soft.all_of(several, identified), bandwidth=0.01)


def significance(templates):
    s, b = (templates["score", sample].values for sample in ("signal", "background"))
    return jnp.sqrt(jnp.sum(s**2 / (b + 25.0)))


@pytest.mark.slow
def test_the_known_optimum_is_found(tmp_path):
    fileset = {}
    for seed, (sample, events) in enumerate([("signal", 1000), ("background", 6000)]):
        write(tmp_path / f"{sample}.root", sample, events, seed)
        fileset[sample] = {"files": {str(tmp_path / f"{sample}.root"): "Events"}}
    start = {
        "jet_pt": 28.0,
        "width": 6.0,
        "multiplicity": np.zeros(3),
        "working_point": np.zeros(3),
        "edges": np.zeros(3),
    }
    bounds = {
        "jet_pt": (15.0, 70.0),
        "width": (0.1, 10.0),
        **{name: (np.full(3, -4.0), np.full(3, 4.0)) for name in ("multiplicity", "working_point", "edges")},
    }
    with diffea.distribute(Constructed(), fileset, schemaclass=BaseSchema) as templates:
        result = diffea.optimise(
            lambda params: -significance(templates(params)),
            start,
            optimizer=optax.adam(0.04),
            steps=80,
            bounds=bounds,
            schedules={"width": diffea.anneal(6.0, 0.5)},
        )
        found = result.params
        hard = {
            place: float(
                significance(
                    templates.hard(
                        {**found, "multiplicity": 9.0 * np.eye(3)[place[0]], "working_point": 9.0 * np.eye(3)[place[1]]}
                    )
                )
            )
            for place in itertools.product(range(3), repeat=2)
        }
        reached = float(significance(templates.hard(found)))
        known = {
            "jet_pt": 40.0,
            "width": 0.5,
            "multiplicity": np.eye(3)[1],
            "working_point": np.eye(3)[1],
            "edges": histograms.edge_logits(np.array([0.0, 0.5, 0.7, 1.0]), smallest=0.05),
        }
        best = float(significance(templates.hard(known)))
    edges = histograms.ordered_edges(found["edges"], 0.0, 1.0, smallest=0.05)
    assert abs(found["jet_pt"] - 40.0) < 1.5
    assert np.argmax(found["multiplicity"]) == 1
    assert np.argmax(found["working_point"]) == 1
    np.testing.assert_allclose(edges[1:-1], [0.5, 0.7], atol=0.03)
    assert reached == max(hard.values())
    assert reached > 0.95 * best
