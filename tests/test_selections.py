"""Cutflow and N−1 distributions, against awkward by hand."""

from __future__ import annotations

import itertools

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uproot

import diffea
from diffea import soft
from diffea.distributed.selections import BINS, Survey, selection_of
from diffea.program.cuts import Cut
from diffea.run.selections import NONE, Cuts, in_words, summary
from tests.samples import QuietSchema, write_fileset

PARAMS = {"met": 30.0, "jet": {"pt": 32.0}}
MET, PHI, JETS = "met|above|met||0", "phi|between||||0", "jet_pt|above|jet.pt|2|0"


class Search(diffea.DifferentiableProcessor):
    """An event cut, a window, and a count of jets that divides events between two channels; a third channel has neither."""

    channels = {name: hist.axis.Regular(4, 0, 200, name="met") for name in ("few", "many", "other")}  # noqa: RUF012

    def columns(self, events):
        return {"met": events.MET.pt, "phi": events.MET.phi, "jet_pt": events.Jet.pt, "weight": events.genWeight}

    def fill(self, params, columns):
        keep = soft.all_of(
            soft.above(columns["met"], params["met"], width=5.0), soft.between(columns["phi"], -2.0, 2.0, width=0.1)
        )
        many = soft.at_least(2, soft.above(columns["jet_pt"], params["jet"]["pt"], width=3.0))
        weight = columns["weight"] * keep
        yield diffea.Fill("few", columns["met"], weight * soft.not_(many))
        yield diffea.Fill("many", columns["met"], weight * many)
        yield diffea.Fill("many", columns["met"] * 1.1, weight * many, variation="met_up")
        yield diffea.Fill("other", columns["met"], columns["weight"])


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("selections"))


@pytest.fixture(scope="module")
def found(fileset):
    with diffea.distribute(Search(), fileset, schemaclass=QuietSchema, chunksize=700) as templates:
        return selection_of(templates, PARAMS, ["few", "many"])


def by_hand(fileset, sample):
    """Columns of all events of a sample, and what each cut says of them."""
    dataset = next(entry for name, entry in fileset.items() if entry.get("metadata", {}).get("sample", name) == sample)
    events = ak.concatenate([uproot.open(file)["Events"].arrays() for file in dataset["files"]])
    met, phi, weight = (np.asarray(events[name], float) for name in ("MET_pt", "MET_phi", "genWeight"))
    jets = ak.sort(events.Jet_pt, ascending=False)
    second = np.asarray(ak.fill_none(ak.pad_none(jets, 2)[:, 1], np.nan), float)
    passed = {MET: met > 30.0, PHI: (phi > -2.0) & (phi < 2.0), JETS: np.nan_to_num(second, nan=-1.0) > 32.0}
    return {MET: met, PHI: phi, JETS: second}, passed, weight


@pytest.mark.parametrize(("channel", "sample"), list(itertools.product(["few", "many"], ["signal", "bkg"])))
def test_the_cutflow_is_that_of_awkward(found, fileset, channel, sample) -> None:
    """Without its threshold the count of jets still asks for two."""
    values, passed, weight = by_hand(fileset, sample)
    steps = [passed[MET], passed[PHI], passed[JETS] if channel == "many" else ~passed[JETS]]
    first = np.isfinite(values[JETS]) if channel == "many" else np.ones(len(weight), bool)
    kept = list(itertools.accumulate([first, *steps], np.logical_and))
    expected = [[weight[now].sum(), (weight[now] ** 2).sum(), now.sum()] for now in kept]
    assert [cut.name for cut in found.cuts] == [MET, PHI, JETS]
    np.testing.assert_array_equal(found.left[channel, sample, "nominal"], expected)
    assert 0 < expected[-1][2] < expected[0][2]


@pytest.mark.parametrize(("cut", "sample"), list(itertools.product([MET, PHI, JETS], ["signal", "bkg"])))
def test_events_that_one_cut_decides_on_are_those_of_awkward(found, fileset, cut, sample) -> None:
    """Of the division by jets both sides are decided on; another cut's events are in both channels together."""
    values, passed, weight = by_hand(fileset, sample)
    others = np.logical_and.reduce([passed[name] for name in (MET, PHI) if name != cut])
    kept = others & np.isfinite(values[cut])
    low, high = found.survey.ranges[cut]
    edges = np.linspace(low, high, BINS + 1)
    inside = np.clip(values[cut][kept], edges[0], np.nextafter(edges[-1], -np.inf))
    place = np.clip(np.floor((inside - low) / (high - low) * BINS), 0, BINS - 1)
    for power in (1, 2):
        counts, _ = np.histogram(place, np.arange(BINS + 1), weights=weight[kept] ** power)
        np.testing.assert_array_equal(found.decided[cut, sample][:, power - 1], counts)
    assert low < np.nanmean(values[cut]) < high


def test_thresholds_are_the_parameters_and_the_numbers_in_the_code(found) -> None:
    assert found.thresholds == {MET: [[30.0]], PHI: [[-2.0, 2.0]], JETS: [[32.0]]}
    assert [in_words(cut) for cut in found.cuts] == ["met", "phi", "2nd largest jet_pt"]
    unknown = Cut("below", None, ("a",), 1, 1)
    assert in_words(unknown) == "smallest what a cuts on (2)"


def test_thresholds_that_differ_by_dataset_are_all_there(fileset) -> None:
    """The larger one would otherwise be told of events that the smaller one cuts on."""

    class Years(Search):
        def columns(self, events):
            return {**super().columns(events), "low": 20.0 if events.metadata["dataset"].startswith("s") else 40.0}

        def fill(self, params, columns):
            keep = soft.above(columns["met"], columns["low"], width=5.0)
            yield diffea.Fill("few", columns["met"], columns["weight"] * keep)

    assert len({name.startswith("s") for name in fileset}) == 2
    with diffea.distribute(Years(), fileset, schemaclass=QuietSchema) as templates:
        (thresholds,) = selection_of(templates, PARAMS, ["few"]).thresholds.values()
    assert sorted(thresholds) == [[20.0], [40.0]]


def test_chunks_and_folds_add_up(found, fileset) -> None:
    whole = None
    for fold in diffea.Split(folds=2).of("fold").each:
        with diffea.distribute(Search(), fileset, schemaclass=QuietSchema, chunksize=1500, split=fold) as templates:
            part = selection_of(templates, PARAMS, ["few", "many"], like=found.survey)
            whole = part if whole is None else whole + part
    for name in ("left", "decided"):
        for key, sums in getattr(found, name).items():
            np.testing.assert_array_equal(getattr(whole, name)[key], sums)
    assert whole.thresholds[MET] == [[30.0], [30.0]]


def test_a_cutflow_that_says_nothing_is_none(found, fileset) -> None:
    wrong = {key: -way for key, way in found.survey.directions.items()}
    with diffea.distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
        part = selection_of(templates, PARAMS, ["few", "many"], like=Survey(found.survey.ranges, wrong))
    flow = summary([Cuts(part)])["cutflow"]["many"]
    assert flow["cuts"] == []
    assert "an event comes into the channel by a cut" in flow["not_judged"]


def test_channels_without_cuts_say_so(fileset) -> None:
    class Nothing(Search):
        def fill(self, params, columns):
            yield diffea.Fill("other", columns["met"] + params["met"], columns["weight"])

    with diffea.distribute(Nothing(), fileset, schemaclass=QuietSchema) as templates:
        assert selection_of(templates, PARAMS, ["other"]) is None
    assert summary([Cuts(None, NONE)]) == {"cuts": [], "cutflow": {}, "not_judged": NONE}


def test_cuts_in_functions_of_jax_are_left_as_they_are(fileset) -> None:
    """What a user maps or compiles within `fill` is no column; it is applied, and not listed."""

    class Mapped(Search):
        def fill(self, params, columns):
            inner = jax.vmap(lambda met: soft.above(met[None], params["met"], width=5.0)[0])(columns["met"])
            outer = soft.below(columns["met"] * 1.0, 2 * params["met"], width=5.0)
            yield diffea.Fill("few", columns["met"], columns["weight"] * inner * outer)

    with diffea.distribute(Mapped(), fileset, schemaclass=QuietSchema) as templates:
        found = selection_of(templates, PARAMS, ["few"])
        hard = templates.hard(PARAMS)["few", "bkg"].values.sum()
    assert [(cut.column, cut.parameters) for cut in found.cuts] == [(None, (None,))]
    assert found.thresholds[found.cuts[0].name] == [[60.0]]
    values, passed, weight = by_hand(fileset, "bkg")
    kept = passed[MET]
    assert found.left["few", "bkg", "nominal"][:, 0].tolist() == [
        weight[kept].sum(),
        weight[kept & (values[MET] < 60.0)].sum(),
    ]
    assert hard == found.left["few", "bkg", "nominal"][-1, 0]


def test_a_weight_that_is_only_good_behind_its_cut_is_named(fileset) -> None:
    class Unguarded(Search):
        def fill(self, params, columns):
            met = columns["met"]
            weight = jnp.where(soft.above(met, params["met"], width=5.0) == 0, 0.0, 1.0 / jnp.maximum(met - 30.0, 0.0))
            yield diffea.Fill("few", met, weight)

    with diffea.distribute(Unguarded(), fileset, schemaclass=QuietSchema) as templates:
        part = Cuts.of(templates, PARAMS, diffea.HistFactory(spec("few")))
    assert part.selection is None
    assert "without one of the cuts a weight is NaN or infinite" in part.reason


def spec(channel):
    samples = [
        {"name": name, "data": name, "modifiers": modifiers}
        for name, modifiers in (("signal", [{"name": "mu", "type": "normfactor", "data": None}]), ("bkg", []))
    ]
    return {"channels": [{"name": channel, "samples": samples}]}


def test_cuts_are_recorded_only_where_they_are_asked_for() -> None:
    with soft.hard():
        assert soft.above(jnp.array([1.0, 3.0]), 2.0, width=1.0).tolist() == [0.0, 1.0]
