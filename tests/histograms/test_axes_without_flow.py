"""A channel whose axis has no flow bins: what lies within its edges stays there, whatever the bandwidth."""

from __future__ import annotations

from functools import partial

import hist
import jax
import numpy as np
import pytest

from diffea.events.columns import check
from diffea.histograms import histogram
from diffea.processor import DifferentiableProcessor, Fill
from diffea.program import Program, structured
from diffea.soft.context import exactly

SCORES = np.random.default_rng(0).beta(0.5, 0.8, 2000)
WEIGHTS = np.random.default_rng(1).normal(1.0, 0.3, 2000)


def filled(axis, bandwidth):
    class Scores(DifferentiableProcessor):
        channels = {"score": axis}  # noqa: RUF012

        def fill(self, params, columns):
            yield Fill("score", columns["score"], columns["weight"], bandwidth=bandwidth)

    program = Program(Scores())
    structure, blocks = structured(check({"score": SCORES, "weight": WEIGHTS}, 2000, "test"), program.dtype)
    layout = program.layout(structure, "s", {})
    count, sums = program.run("values", structure, "s", layout, {}, blocks, 1.0)
    assert count == 2000
    return sums


@pytest.mark.parametrize("bandwidth", [0.02, 0.3])
def test_nothing_leaks(bandwidth):
    values, _ = filled(hist.axis.Regular(8, 0, 1, flow=False, name="score"), bandwidth)
    np.testing.assert_allclose(values[[0, -1]], 0.0, atol=1e-9)
    np.testing.assert_allclose(np.sum(values), np.sum(WEIGHTS), rtol=1e-12)
    leaking, _ = filled(hist.axis.Regular(8, 0, 1, name="score"), bandwidth)
    assert np.all(leaking[[0, -1]] > 1.0)


def test_nothing_leaks_beside_an_axis_that_has_flow():
    """A category beside it, which has an overflow, and a mass: the yields are those of the score alone."""
    score, sorts = hist.axis.Regular(8, 0, 1, flow=False, name="score"), np.arange(2000) % 3
    columns = {"score": SCORES, "weight": WEIGHTS, "sort": sorts, "mass": np.linspace(-0.5, 1.5, 2000)}

    class Scores(DifferentiableProcessor):
        channels = {  # noqa: RUF012
            "sorts": (score, hist.axis.IntCategory([0, 1, 2], name="sort")),
            "masses": (hist.axis.Regular(5, 0, 1, name="mass"), score),
            "alone": score,
        }

        def fill(self, params, columns):
            yield Fill("sorts", (columns["score"], columns["sort"]), columns["weight"], bandwidth=(0.05, None))
            yield Fill("masses", (columns["mass"], columns["score"]), columns["weight"], bandwidth=0.05)
            yield Fill("alone", columns["score"], columns["weight"], bandwidth=0.05)

    program = Program(Scores())
    structure, blocks = structured(check(columns, 2000, "test"), program.dtype)
    layout = program.layout(structure, "s", {})
    _, sums = program.run("values", structure, "s", layout, {}, blocks, 1.0)
    of = {key[0]: sums[0][span].reshape(layout.shape(key[0])) for key, span in layout.spans.items()}
    np.testing.assert_allclose(of["sorts"][1:-1].sum(axis=0)[1:4], np.bincount(sorts, WEIGHTS), rtol=1e-12)
    np.testing.assert_allclose(of["sorts"].sum(axis=1), of["alone"], atol=1e-9)
    np.testing.assert_allclose(of["masses"].sum(axis=0), of["alone"], atol=1e-9)
    assert of["masses"][0].sum() > 1.0  # its other axis has an underflow, where a quarter of the events are


@pytest.mark.parametrize("bandwidth", [0.02, 0.3])
@pytest.mark.parametrize("axis", [partial(hist.axis.Regular, 8, 0, 1), partial(hist.axis.Variable, [0, 0.1, 1])])
def test_nothing_leaks_at_the_end_without_a_flow_bin(axis, bandwidth):
    """Mirrored there alone: in the other flow bin is what leaks without any mirror, and the sums with both mirrors fit."""
    both, none = (filled(axis(flow=flow, name="score"), bandwidth)[0] for flow in (False, True))
    lower, upper = (filled(axis(name="score", **{flow: False}), bandwidth)[0] for flow in ("underflow", "overflow"))
    np.testing.assert_allclose([lower[0], upper[-1]], 0.0, atol=1e-9)
    np.testing.assert_allclose([lower[-1], upper[0]], [none[-1], none[0]], rtol=1e-12)
    np.testing.assert_allclose(lower + upper, both + none, atol=1e-9)  # each event is mirrored at each end for itself
    assert min(none[0], none[-1]) > 1.0


@pytest.mark.parametrize("reflect", [True, "upper"])
@pytest.mark.parametrize("axis", [partial(hist.axis.Regular, 8, 0, 1), partial(hist.axis.Variable, [0, 0.3, 1])])
@pytest.mark.parametrize("hard", [False, True])
def test_a_score_at_its_end_is_in_the_last_bin(axis, reflect, hard):
    """As many in 32 bits are, and as boost-histogram has it."""
    score = np.array([0.0, 0.0, 0.2, 0.5, 0.9, 1.0, 1.0, 1.0, np.nextafter(1.0, 2.0), -1e-300], float)
    axis = axis(underflow=reflect == "upper", overflow=False)
    oracle = hist.Hist(axis).fill(score)
    with exactly(hard):
        found = histogram(score, axis.edges, bandwidth=1e-9, reflect=reflect, flow=True)
        slope = jax.grad(lambda x: histogram(x, axis.edges, bandwidth=0.1, reflect=reflect)[-1].sum())(score)
    if hard:
        np.testing.assert_array_equal(found[1:-1], oracle.values())
    np.testing.assert_allclose([np.sum(found[:-1]), found[-1]], [9.0, 1.0], atol=1e-12)
    if reflect is True:
        np.testing.assert_allclose(found[0], 1.0, atol=1e-12)
    assert np.isfinite(slope).all()


def test_without_a_bandwidth_it_is_boost_histogram():
    axis = hist.axis.Regular(8, 0.1, 0.9, flow=False, name="score")
    oracle = hist.Hist(axis, storage=hist.storage.Weight()).fill(SCORES, weight=WEIGHTS)
    values, variances = filled(axis, 1e-9)
    np.testing.assert_allclose(values[1:-1], oracle.values(), rtol=1e-11)
    np.testing.assert_allclose(variances[1:-1], oracle.variances(), rtol=1e-11)
