"""analyses/joint: blocks that are not their turn stay, every order has the same budget, gradients are those of differences."""

from __future__ import annotations

import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from diffea import Fill, HistFactory, Split, learning, objectives, soft
from diffea.analysis import load_analysis
from diffea.histograms import ordered_edges
from diffea.processor import DifferentiableProcessor
from tests.scripts import ANALYSES, scripts

FOLDER = ANALYSES / "joint"
EVENTS = 600


@pytest.fixture(scope="module")
def joint():
    with scripts(FOLDER, "joint") as (module,):
        return module


class Two(DifferentiableProcessor):
    """A cut on x, a score of y."""

    channels = {"score": hist.axis.Variable([0, 0.2, 0.4, 0.6, 0.8, 1], name="score")}  # noqa: RUF012

    def columns(self, events):
        return {"x": events["x"], "y": events["y"]}

    def edges(self, params):
        return {"score": ordered_edges(params["edges"]["score"], 0.0, 1.0, smallest=0.01)}

    def fill(self, params, columns):
        score = jax.nn.sigmoid(params["network"]["slope"] * columns["y"])
        keep = soft.above(columns["x"], params["cuts"]["x"], width=0.2)
        yield Fill("score", score, 0.2 * keep, bandwidth=0.1)


@pytest.fixture(scope="module")
def problem(joint, tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("joint"), np.random.default_rng(0)
    for run, (name, mean) in enumerate({"signal": 1.0, "background": 0.0}.items()):
        identity = {"run": np.full(EVENTS, run), "luminosityBlock": np.ones(EVENTS, int), "event": np.arange(EVENTS)}
        with uproot.recreate(folder / f"{name}.root") as file:
            file["Events"] = {"x": random.normal(mean, 1, EVENTS), "y": random.normal(mean, 1, EVENTS), **identity}
    signal = {"name": "signal", "data": "signal", "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}
    flat = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [signal, {"name": "background", "data": "background", "modifiers": [flat]}]
    return joint.Problem(
        processor=Two(),
        spec={"channels": [{"name": "score", "samples": samples}]},
        cuts={"x": (0.0, -1.0, 3.0)},
        network={"slope": np.array(0.5)},
        channels=("score",),
        objective=objectives.poi_uncertainty,
        rates={"cuts": 0.03, "network": 0.004, "edges": 0.05},
        entropy=learning.CrossEntropy("score", signal="signal"),
        fileset=lambda data: {
            name: {"files": {str(data / f"{name}.root"): "Events"}} for name in ("signal", "background")
        },
        schemaclass=BaseSchema,
    ), folder


def test_the_start_is_that_of_the_analysis(problem) -> None:
    start = problem[0].params()
    assert start["cuts"] == {"x": 0.0}
    np.testing.assert_allclose(problem[0].processor.edges(start)["score"], [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-12)


def test_only_the_block_whose_turn_it_is_moves(joint, problem) -> None:
    one, data = problem
    with one.read(data, Split(train=0.5, seed=1)) as templates:
        descent = joint.Descent(one, templates, HistFactory(one.spec))
        start = jax.tree.map(jnp.asarray, one.params())
        spent: set[int] = set()
        for block in joint.BLOCKS:
            before = templates.passes
            point = descent(start, ((block,),), 2)
            spent.add(templates.passes - before)
            moved = [
                name
                for name in joint.BLOCKS
                if not all(map(np.array_equal, *map(jax.tree.leaves, (point[name], start[name]))))
            ]
            assert moved == [block]
        before = templates.passes
        descent(start, (joint.BLOCKS,), 2)
        assert spent == {templates.passes - before}
        both = jax.jit(jax.value_and_grad(descent.loss))
        gradient = both(start)[1]
        for block in joint.BLOCKS:
            direction = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), start[block])
            up, down = (
                both({**start, block: jax.tree.map(lambda p, d, by=by: p + by * d, start[block], direction)})[0]
                for by in (1e-4, -1e-4)
            )
            pairs = zip(jax.tree.leaves(gradient[block]), jax.tree.leaves(direction), strict=True)
            assert sum(float(np.vdot(g, d)) for g, d in pairs) == pytest.approx(float(up - down) / 2e-4, rel=1e-4)


def test_a_run_moves_the_blocks_of_its_variant_and_the_network_alone_before() -> None:
    analysis = load_analysis(FOLDER)
    assert list(analysis.variants) == ["together", "cuts", "network", "edges"]
    for name, variant in analysis.variants.items():
        blocks = {"cuts", "network", "edges"} if name == "together" else {name}
        for optimizer, moving in ((variant.optimizer, blocks), (variant.pretraining.optimizer, {"network"})):
            gradient = jax.tree.map(np.ones_like, variant.params)
            updates, _ = optimizer.update(gradient, optimizer.init(variant.params), variant.params)
            moved = {block: [np.any(leaf) for leaf in jax.tree.leaves(part)] for block, part in updates.items()}
            assert {block for block in moved if all(moved[block])} == moving
            assert {block for block in moved if any(moved[block])} == moving


def test_the_summary_is_of_pairs(joint) -> None:
    def row(*numbers):
        return {
            "limits": {
                name: {"test": value, "train, soft": value or 9.0}
                for name, value in zip(("start", *joint.ORDERS, joint.THRICE), numbers, strict=True)
            }
        }

    found = joint.summary([row(8, 2, 3, 4, 4, 4, 4, 4, 1), row(8, 4, 2, 8, 8, 8, 8, 8, 6)])
    first = list(joint.ORDERS)[1]
    assert found[first] == {"mean": 1.0, "error": pytest.approx(0.5), "above one": 1, "pairs": 2}
    assert found[joint.THRICE]["mean"] == pytest.approx(1.0)
    assert found["start"]["mean"] == pytest.approx(3.0)
    assert found["order that is best on training events"]["mean"] == pytest.approx(1.0)
    assert found["mean of the orders"]["mean"] == pytest.approx((23 / 12 + 42 / 24) / 2)
    assert joint.summary([row(8, 2, 3, *[None] * 6)] * 2, "train, soft")["start"]["mean"] == pytest.approx(4.0)
    without = joint.summary([row(8, 2, 3, 4, 4, 4, 4, 4, 1), row(8, 4, 2, 8, 8, 8, 8, 8, 6), row(8, 4, *[None] * 7)])
    assert without[first] == found[first]
