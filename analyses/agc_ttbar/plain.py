"""The AGC's selection with its fixed thresholds as a plain coffea processor: what analysis.py is compared with, in numbers and in time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import awkward as ak
import hist
import numpy as np
from analysis import EDGES, JETS, RESOLUTION, SCALE, TAG_SLOPE, TAGGED_JETS, normal
from coffea.analysis_tools import PackedSelection
from coffea.processor import ProcessorABC

JET, LEPTON, TAG, BINS = 30.0, 30.0, 0.5, 11


class PlainTTbar(ProcessorABC):
    """Histograms of all regions, processes and variations in one pass, with coffea's four-vectors and awkward's combinations."""

    def process(self, events: Any) -> dict[str, Any]:
        """Of a chunk, by region, process and variation."""
        dataset = events.metadata
        variations = JETS if dataset["variation"] == "nominal" else JETS[:1]
        found: dict[str, Any] = {}
        for variation in variations:
            factor: Any = {"nominal": 1.0, "pt_scale_up": SCALE}.get(variation)
            if factor is None:
                factor = 1.0 + RESOLUTION * normal(events.event, events.Jet.pt)
            for region, observable, jets in selected(events, factor):
                weight = np.full(len(observable), dataset["scale"])
                weights = {variation: weight}
                if variation == "nominal" and len(variations) > 1:
                    for i in range(TAGGED_JETS):
                        weights[f"btag_var_{i}_up"] = weight * (1.0 + TAG_SLOPE * ak.to_numpy(jets.pt[:, i]))
                for name, numbers in weights.items():
                    histogram = hist.Hist(hist.axis.Regular(BINS, *EDGES[region]), storage=hist.storage.Weight())
                    found[f"{region}/{dataset['sample']}/{name}"] = histogram.fill(observable, weight=numbers)
        return found

    def postprocess(self, accumulator: Any) -> Any:
        """Nothing."""
        return accumulator


def selected(events: Any, factor: Any) -> Iterator[tuple[str, np.ndarray, Any]]:
    """Region, observable and jets of the events in it, their jets' momenta multiplied by a factor."""
    electrons, muons, jets = events.Electron, events.Muon, ak.with_field(events.Jet, events.Jet.pt * factor, "pt")
    central = {
        name: (x.pt > LEPTON) & (abs(x.eta) < 2.1) & (x.sip3d < 4) for name, x in (("e", electrons), ("mu", muons))
    }
    good_electrons = central["e"] & (electrons.cutBased == 4)
    good_muons = central["mu"] & muons.tightId & (muons.pfRelIso04_all < 0.15)
    jets = jets[(jets.pt > JET) & (abs(jets.eta) < 2.4) & jets.isTightLeptonVeto]
    cuts = PackedSelection()
    cuts.add("one lepton", ak.sum(good_electrons, axis=1) + ak.sum(good_muons, axis=1) == 1)
    cuts.add("four jets", ak.num(jets) >= 4)
    cuts.add("one tag", ak.sum(jets.btagCSVV2 >= TAG, axis=1) == 1)
    cuts.add("two tags", ak.sum(jets.btagCSVV2 > TAG, axis=1) >= 2)
    one = jets[cuts.all("one lepton", "four jets", "one tag")]
    yield "4j1b", ak.to_numpy(ak.sum(one.pt, axis=1)), one
    two = jets[cuts.all("one lepton", "four jets", "two tags")]
    trijet = ak.combinations(two, 3, fields=["a", "b", "c"])
    momentum = trijet.a + trijet.b + trijet.c
    tagged = (trijet.a.btagCSVV2 > TAG) | (trijet.b.btagCSVV2 > TAG) | (trijet.c.btagCSVV2 > TAG)
    momentum = momentum[tagged]
    best = momentum[ak.argmax(momentum.pt, axis=1, keepdims=True)]
    yield "4j2b", np.asarray(ak.drop_none(ak.flatten(best.mass))), two
