"""Bins at quantiles of the signal, none of which too few background events carry; and a floor under those that are empty."""

from __future__ import annotations

import copy
import importlib.util
import itertools
from pathlib import Path

import hist
import jax
import numpy as np
import pytest
from coffea.nanoevents import BaseSchema

from diffea import HistFactory, TemplateSet, distribute, errors, learning, objectives
from diffea.templates import Layout
from tests.learning.scores import PARAMS, Scored, arrays, write

FINE = hist.axis.Regular(500, 0, 1, name="score")


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    fileset = write(tmp_path_factory.mktemp("data"))
    with distribute(learning.with_axis(Scored(), "score", FINE), fileset, schemaclass=BaseSchema) as templates:
        return templates.hard(PARAMS)


def scored(sample):
    """Scores and weights of the events that pass the cut."""
    columns = arrays(sample)
    kept = columns["y"] > PARAMS["cut"]
    score = 1 / (1 + np.exp(-PARAMS["slope"] * columns["x"] - PARAMS["offset"]))
    return score[kept], columns["weight"][kept]


def test_each_bin_holds_its_share_of_the_signal(fine):
    edges = learning.quantile_edges(fine, "score", "signal", bins=6)
    score, weight = scored("signal")
    shares = np.histogram(score, edges, weights=weight)[0] / weight.sum()
    assert edges[0] == 0.0
    assert edges[-1] == 1.0
    np.testing.assert_allclose(shares, 1 / 6, atol=2 / 500 * 3)  # an edge is one of the fine ones


@pytest.mark.parametrize("asked", [(0.5, 0.25, 0.125, 0.125), np.array([0.1, 0.9])])
def test_a_bin_holds_the_share_that_is_asked_for_from_the_lower_end_up(fine, asked):
    edges = learning.quantile_edges(fine, "score", "signal", bins=asked)
    score, weight = scored("signal")
    shares = np.histogram(score, edges, weights=weight)[0] / weight.sum()
    np.testing.assert_allclose(shares, asked, atol=2 / 500 * 3)


@pytest.mark.parametrize("largest_error", [0.05, 0.1, 0.3])
def test_no_bin_is_carried_by_too_few_background_events(fine, largest_error):
    edges = learning.quantile_edges(fine, "score", "signal", bins=40, largest_error=largest_error)
    parts = [scored(sample) for sample in ("top", "multijet")]
    score, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    sums, squares = (np.histogram(score, edges, weights=weight**power)[0] for power in (1, 2))
    assert np.all(np.sqrt(squares) <= largest_error * sums)
    unmerged = learning.quantile_edges(fine, "score", "signal", bins=40)
    assert set(edges) < set(unmerged)
    for bin_ in range(1, len(edges) - 1):  # an edge more, at the next quantile above, would have been too many
        above = unmerged[np.searchsorted(unmerged, edges[bin_]) + 1]
        inside = (score >= above) & (score < edges[bin_ + 1])
        assert (
            not np.sqrt((weight[inside] ** 2).sum()) <= largest_error * weight[inside].sum() or above == edges[bin_ + 1]
        )


def test_only_the_named_background_counts(fine):
    some, every = (
        learning.quantile_edges(fine, "score", "signal", bins=40, background=which, largest_error=0.1)
        for which in ("top", None)
    )
    assert not np.array_equal(some, every)


def made(**values):
    """Templates of a channel of ten bins."""
    axis, keys = hist.axis.Regular(10, 0, 1, name="score"), tuple(("score", sample, "nominal") for sample in values)
    flat = np.concatenate([np.pad(np.asarray(array, float), 1) for array in values.values()])
    return TemplateSet(Layout({"score": (axis,)}, keys), flat, np.abs(flat))


def test_weights_below_zero_and_empty_bins():
    signal = [0, 0, 1, -0.5, 1, 0, 2, 0, 0, 4]
    background = [0, 5, -3, 4, 9, 0, 0, 2, 0, 0]
    edges = learning.quantile_edges(
        made(signal=signal, background=background), "score", "signal", bins=10, largest_error=0.8
    )
    index = np.rint(np.array(edges) * 10).astype(int)
    for low, high in itertools.pairwise(index):
        total, error = sum(background[low:high]), np.sqrt(sum(map(abs, background[low:high])))
        assert total > 0
        assert error <= 0.8 * total
    assert (edges[0], edges[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"bins": 0}, errors.OptionError, "bins is a whole number"),
        ({"bins": True}, errors.OptionError, "bins is a whole number"),
        ({"bins": (0.5, 0.25)}, errors.OptionError, "add up to 1"),
        ({"bins": (1.5, -0.5)}, errors.OptionError, "above 0"),
        ({"bins": "all"}, errors.OptionError, "whole number"),
        ({"bins": ()}, errors.OptionError, "add up to 1"),
        ({"bins": (float("nan"), 1.0)}, errors.OptionError, "add up to 1"),
        ({"largest_error": 0.0}, errors.OptionError, "above 0"),
        ({"largest_error": float("nan")}, errors.OptionError, "above 0"),
        ({"largest_error": 1e-6}, errors.HistogramError, "together is known to"),
        ({"signal": "higgs"}, errors.UnknownTemplateError, "higgs"),
        ({"channel": "none"}, errors.UnknownTemplateError, "none"),
        ({"signal": ["signal", "top", "multijet"], "largest_error": 0.1}, errors.UnknownTemplateError, "and with largest_error a background"),
    ],
)  # fmt: skip
def test_what_makes_no_bins_is_refused(fine, options, error, match):
    given = {"channel": "score", "signal": "signal", "bins": 5, **options}
    with pytest.raises(error, match=match):
        learning.quantile_edges(fine, given.pop("channel"), given.pop("signal"), **given)


def test_a_signal_without_weight_has_no_quantiles():
    with pytest.raises(errors.HistogramError, match="expected a positive one"):
        learning.quantile_edges(made(signal=-np.ones(10), background=np.ones(10)), "score", "signal", bins=2)


def test_the_processor_keeps_its_other_channels():
    processor = Scored()
    finer = learning.with_axis(processor, "score", FINE)
    assert finer.channels["score"] is FINE
    assert finer.channels["rest"] is Scored.channels["rest"]
    assert len(processor.channels["score"]) == 5
    with pytest.raises(errors.HistogramError, match="no channel 'sr'"):
        learning.with_axis(processor, "sr", FINE)


def spec(*modifiers):
    """Signal and background of the score."""
    mu = {"name": "mu", "type": "normfactor", "data": None}
    return {
        "channels": [{"name": "score", "samples": [
            {"name": "signal", "data": "signal", "modifiers": [mu]},
            {"name": "background", "data": "background", "modifiers": list(modifiers)},
        ]}],
        "parameters": [{"name": "mu", "bounds": [[0, 1e3]], "inits": [1.0]}],
    }  # fmt: skip


STATERROR = {"name": "mc", "type": "staterror", "data": "background"}


def test_the_floor_is_the_sample_that_htautau_once_wrote_by_hand():
    path = Path(__file__).parents[2] / "analyses" / "htautau" / "analysis.py"
    module_spec = importlib.util.spec_from_file_location("htautau_of_floor", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    whole = module.spec(module.Cuts())
    without = copy.deepcopy(whole)
    for channel in without["channels"]:
        channel["samples"] = [sample for sample in channel["samples"] if sample["name"] != "unsimulated"]
    assert learning.with_floor(without, module.Cuts()) == whole


def test_an_empty_bin_is_no_longer_free():
    """Signal in a bin without background: refused without a floor, and with one no better than with as much background."""
    signal, background = [0] * 9 + [2.0], [50.0] * 9 + [0.0]
    templates, processor = (
        made(signal=signal, background=background),
        learning.with_axis(Scored(), "score", hist.axis.Regular(10, 0, 1)),
    )
    with pytest.raises(errors.YieldError):
        objectives.upper_limit(HistFactory(spec(STATERROR))(templates))
    floored = learning.with_floor(spec(STATERROR), processor, events=0.5)
    limit = float(objectives.upper_limit(HistFactory(floored)(templates)))
    by_hand = made(signal=signal, background=[50.5] * 9 + [0.5])
    variances = by_hand.variances_flat.copy()
    variances[13:23], variances[22] = 50.25, 0.25
    expected = TemplateSet(by_hand.layout, by_hand.values_flat, variances)
    assert limit == pytest.approx(float(objectives.upper_limit(HistFactory(spec(STATERROR))(expected))), rel=1e-6)
    less = learning.with_floor(spec(STATERROR), processor, events={"score": 0.1})
    assert float(objectives.upper_limit(HistFactory(less)(templates))) < limit


def test_the_floor_keeps_what_it_was_given():
    before = spec()
    made_of_it = learning.with_floor(before, Scored())
    assert len(before["channels"][0]["samples"]) == 2
    (floor,) = (s for s in made_of_it["channels"][0]["samples"] if s["name"] == "unsimulated")
    assert floor["modifiers"][0]["name"] == "mcstat_score"
    assert floor["data"] == [1.0] * 5


@pytest.mark.parametrize("events", [0.0, -1.0, float("nan"), float("inf"), {"rest": 1.0}])
def test_what_is_no_floor(events):
    with pytest.raises(errors.SpecError, match="positive number of events"):
        learning.with_floor(spec(), Scored(), events=events)


def test_a_floor_for_unknown_channels_or_twice_is_refused():
    other = jax.tree.map(lambda leaf: "sr" if leaf == "score" else leaf, spec())
    with pytest.raises(errors.SpecError, match="no channel 'sr'"):
        learning.with_floor(other, Scored())
    with pytest.raises(errors.SpecError, match="already"):
        learning.with_floor(learning.with_floor(spec(), Scored()), Scored())
