"""The hard twin on real CMS open data: the same selections written by hand in awkward and boost-histogram."""

from __future__ import annotations

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
import vector

from diffea import histograms, soft
from diffea.events.ragged import Ragged

vector.register_awkward()


def tree(open_data, *path):
    file = open_data.joinpath(*path)
    if not file.is_file():
        pytest.skip(f"no {file.name} in {file.parent}")
    opened = uproot.open(file)
    return opened[opened.keys()[0]]


def same(axis, x, w, oracle_x, oracle_w):
    filled = hist.Hist(axis, storage=hist.storage.Weight()).fill(oracle_x, weight=oracle_w)
    values, variances = histograms.fill(x, histograms.binning(axis), w)
    np.testing.assert_allclose(values, filled.values(flow=True), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(variances, filled.variances(flow=True), rtol=1e-12, atol=1e-12)
    assert filled.sum(flow=True).value > 0


@pytest.mark.parametrize("sample", ["ww", "single_top"])
def test_heptutorial(open_data, sample):
    events = tree(open_data, "heptutorial", f"{sample}.root").arrays()
    jets = ak.zip(
        {c: events[f"Jet_{b}"] for c, b in (("px", "Px"), ("py", "Py"), ("pz", "Pz"), ("E", "E"))},
        with_name="Momentum4D",
    )
    muons = ak.zip(
        {c: events[f"Muon_{b}"] for c, b in (("px", "Px"), ("py", "Py"), ("pz", "Pz"), ("E", "E"))},
        with_name="Momentum4D",
    )
    jets, muons = (ak.values_astype(objects, np.float64) for objects in (jets, muons))
    weight = np.asarray(events.EventWeight, dtype=float)

    good_jets = jets[(jets.pt > 30) & (abs(jets.eta) < 2.4)]
    good_muons = muons[(muons.pt > 25) & (events.Muon_Iso < 10)]
    jet_of_pair, muon_of_pair = ak.unzip(ak.cartesian([good_jets, good_muons], nested=True))
    apart = ak.all(jet_of_pair.deltaR(muon_of_pair) >= 0.5, axis=2)
    clean = good_jets[apart]
    keep = (ak.num(good_muons) == 1) & (ak.num(clean) >= 2) & ~(ak.sum(clean.pt, axis=1) >= 400)
    pairs = ak.combinations(clean[keep], 2, fields=["a", "b"])
    leading = ak.sort(clean[keep].pt, axis=1, ascending=False)[:, 0]

    pt, eta, phi, mass = (Ragged.from_awkward(getattr(jets, name)) for name in ("pt", "eta", "phi", "mass"))
    muon_pt, muon_eta, muon_phi = (Ragged.from_awkward(getattr(muons, name)) for name in ("pt", "eta", "phi"))
    iso = Ragged.from_awkward(events.Muon_Iso)
    with soft.hard():
        jet = soft.all_of(soft.above(pt, 30.0, width=3.0), soft.below(abs(eta), 2.4, width=0.1))
        muon = soft.all_of(soft.above(muon_pt, 25.0, width=3.0), soft.below(iso, 10.0, width=1.0))
        jet = soft.all_of(jet, soft.away_from(eta, phi, muon_eta, muon_phi, 0.5, width=0.05, cut=muon))
        ours = soft.all_of(
            soft.exactly(1, muon), soft.at_least(2, jet), soft.below(soft.sum(pt, jet), 400.0, width=10.0)
        )
        np.testing.assert_array_equal(soft.count(jet), ak.num(clean))
        np.testing.assert_array_equal(ours, keep)
        first = soft.leading(1, pt, jet)
        same(hist.axis.Regular(20, 30, 230), first, weight * ours, leading, weight[keep])
        members = [soft.pairs(column) for column in (pt, eta, phi, mass)]
        dijet = soft.invariant_mass(tuple(m[0] for m in members), tuple(m[1] for m in members))
        both = soft.all_of(*soft.pairs(jet))
        best = soft.leading(1, dijet, both, by=-abs(dijet - 80.4))
        invariant = (pairs.a + pairs.b).mass
        oracle = invariant[ak.argmin(abs(invariant - 80.4), axis=1, keepdims=True)][:, 0]
        same(hist.axis.Regular(15, 0, 300), best, weight * ours, oracle, weight[keep])
        same(hist.axis.Integer(0, 6), soft.count(jet), weight * ours, ak.num(clean)[keep], weight[keep])


def test_nano(open_data):
    events = tree(open_data, "nano", "nano_tt_v12.root").arrays(["Jet_pt", "Jet_eta", "Jet_btagDeepFlavB", "MET_pt"])
    pt, eta, tag = (Ragged.from_awkward(events[f"Jet_{name}"]) for name in ("pt", "eta", "btagDeepFlavB"))
    good = (events.Jet_pt > 30) & (abs(events.Jet_eta) < 2.5)
    tagged = good & (events.Jet_btagDeepFlavB > 0.2783)
    keep = (ak.sum(good, axis=1) >= 4) & (ak.sum(tagged, axis=1) >= 1) & (events.MET_pt > 20)
    with soft.hard():
        jet = soft.all_of(soft.above(pt, 30.0, width=2.0), soft.between(eta, -2.5, 2.5, width=0.1))
        working_points = [soft.all_of(jet, soft.above(tag, wp, width=0.05)) for wp in (0.0490, 0.2783, 0.7100)]
        bjet = soft.choice(np.array([0.0, 1.0, 0.5]), working_points)
        ours = soft.all_of(
            soft.at_least(4, jet), soft.at_least(1, bjet), soft.above(np.asarray(events.MET_pt), 20.0, width=3.0)
        )
        np.testing.assert_array_equal(ours, keep)
        third = soft.leading(3, pt, jet)
        oracle = ak.sort(events.Jet_pt[good], axis=1, ascending=False)[keep][:, 2]
        same(hist.axis.Variable([30, 40, 60, 100, 200]), third, ours, oracle, 1.0)
        # all selected jets of an event, each with the event's weight
        flat = ak.flatten(events.Jet_pt[good][keep])
        same(hist.axis.Regular(10, 30, 330), pt, ours * jet, flat, 1.0)


def test_htautau(open_data):
    events = tree(open_data, "htautau", "W2JetsToLNuSkim.root").arrays(library="np")
    keep = (events["mt_1"] < 30) & (events["iso_1"] < 0.1) & (events["q_1"] * events["q_2"] < 0)
    keep &= ~((events["mjj"] > 500) & (events["jdeta"] > 3.5))
    with soft.hard():
        vbf = soft.all_of(soft.above(events["mjj"], 500.0, width=50.0), soft.above(events["jdeta"], 3.5, width=0.3))
        ours = soft.all_of(
            soft.below(events["mt_1"], 30.0, width=2.0),
            soft.below(events["iso_1"], 0.1, width=0.01),
            soft.below(events["q_1"] * events["q_2"], 0, width=0.1),
            soft.not_(vbf),
        )
        np.testing.assert_array_equal(ours, keep)
        axis = hist.axis.Regular(12, 20, 200)
        same(axis, events["m_vis"], events["weight"] * ours, events["m_vis"][keep], events["weight"][keep])
