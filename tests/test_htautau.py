"""The H → ττ analysis: its physics against numbers found without diffea, and an optimisation that helps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import uproot
import vector

from diffea import HistFactory, Split, distribute, objectives, optimise, statistics
from diffea.analysis import load_analysis

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data")) / "htautau"

needs_data = pytest.mark.skipif(
    not (DATA / "GluGluToHToTauTauSkim.root").is_file(), reason=f"DIFFEA_DATA has no htautau files, looked in {DATA}"
)


@pytest.fixture(scope="module")
def analysis() -> Any:
    return load_analysis(ROOT / "analyses" / "htautau")


@pytest.fixture(scope="module")
def module(analysis: Any) -> Any:
    import sys

    return sys.modules[analysis.fileset.__module__]


def invented(rng: np.random.Generator, n: int = 500) -> dict[str, np.ndarray]:
    """Events with the skim's branches."""
    return {
        "pt_1": rng.uniform(17, 90, n), "eta_1": rng.uniform(-2.1, 2.1, n), "phi_1": rng.uniform(-np.pi, np.pi, n),
        "pt_2": rng.uniform(20, 90, n), "eta_2": rng.uniform(-2.3, 2.3, n), "phi_2": rng.uniform(-np.pi, np.pi, n),
        "m_1": np.full(n, 0.10566), "m_2": rng.uniform(0.13, 1.5, n),
        "pt_met": rng.uniform(1, 90, n), "phi_met": rng.uniform(-np.pi, np.pi, n),
    }  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 1.03, 0.97])
def test_tau_energy_scale_is_that_of_four_vectors(module: Any, scale: float) -> None:
    events = invented(np.random.default_rng(3))
    muon = vector.array({name: events[f"{name}_1"] for name in ("pt", "eta", "phi")} | {"mass": events["m_1"]})
    tau = vector.array({name: events[f"{name}_2"] for name in ("pt", "eta", "phi")} | {"mass": events["m_2"]})
    met = vector.array({"pt": events["pt_met"], "phi": events["phi_met"]})
    scaled = tau * scale
    met = met - (scaled - tau).to_xy()
    candidate = (muon + scaled).to_xy() + met
    found = module.kinematics(events, scale)
    transverse = np.sqrt(2 * muon.pt * met.pt * (1 - np.cos(muon.to_xy().deltaphi(met))))
    bisector = (muon.to_xy().unit() + scaled.to_xy().unit()).unit()
    expected = {
        "pt_2": events["pt_2"] * scale,
        "m_vis": (muon + scaled).mass,
        "pt_tautau": candidate.pt,
        "mt_1": transverse,
        "mt_total": np.sqrt((muon.pt + scaled.pt + met.pt) ** 2 - candidate.pt**2),
        "met_zeta": met.dot(bisector),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-7, atol=1e-4, err_msg=name)


def test_collinear_mass_is_the_parent_s_when_neutrinos_fly_along(module: Any) -> None:
    rng = np.random.default_rng(5)
    events = invented(rng, 200)
    events |= {"m_1": np.zeros(200), "m_2": np.zeros(200)}
    share_1, share_2 = rng.uniform(0.3, 0.9, (2, 200))
    muon = vector.array({name: events[f"{name}_1"] for name in ("pt", "eta", "phi")} | {"mass": events["m_1"]})
    tau = vector.array({name: events[f"{name}_2"] for name in ("pt", "eta", "phi")} | {"mass": events["m_2"]})
    met = (muon * (1 / share_1 - 1) + tau * (1 / share_2 - 1)).to_xy()
    apart = np.abs(np.sin(muon.deltaphi(tau))) > 0.05
    found = module.kinematics(events | {"pt_met": met.pt, "phi_met": met.phi})["m_collinear"]
    parent = (muon * (1 / share_1) + tau * (1 / share_2)).mass
    np.testing.assert_allclose(found[apart], parent[apart], rtol=1e-6)


def test_cross_entropy_is_the_mean_of_each_class(module: Any) -> None:
    class Sums:
        def __init__(self, *values: float) -> None:
            self.values = np.array(values)

    names = (*module.SIGNALS, *module.BACKGROUNDS)
    templates = {("cross_entropy", name): Sums(9.0, 9.0, 0.0) for name in names} | {
        ("cross_entropy", "ggH"): Sums(9.0, 0.5, 2.0),
        ("cross_entropy", "ztt"): Sums(3.0, 9.0, 12.0),
    }
    for name in set(names) - {"ggH", "ztt"}:
        templates["cross_entropy", name] = Sums(0.0, 0.0, 0.0)
    assert module.cross_entropy(templates) == pytest.approx(0.5 / 2 + 3 / 12)


def test_spec_names_every_background_once_in_each_channel(module: Any, analysis: Any) -> None:
    for variant in analysis.variants.values():
        model = HistFactory(variant.spec)
        for channel in variant.spec["channels"]:
            names = [sample["name"] for sample in channel["samples"]]
            assert sorted(names) == sorted([*module.SIGNALS, *module.BACKGROUNDS, "unsimulated"])
        variations = {key[2] for key in model.template_keys}
        assert variations == {"nominal", "tes_up", "tes_down"}


@needs_data
def test_unscaled_kinematics_are_those_in_the_files(module: Any) -> None:
    with uproot.open(DATA / "TTbarSkim.root") as file:
        events = file["Events"].arrays(library="np")
    found = module.kinematics(events)
    np.testing.assert_allclose(found["m_vis"], events["m_vis"], atol=1e-3)
    np.testing.assert_allclose(found["mt_1"], events["mt_1"], atol=0.02)


@pytest.fixture(scope="module")
def outreach(module: Any, analysis: Any) -> Any:
    variant = module.OUTREACH
    with distribute(variant.processor, analysis.fileset(DATA), schemaclass=analysis.schemaclass) as templates:
        yield templates.hard(variant.params)


@needs_data
def test_outreach_yields(module: Any, outreach: Any) -> None:
    yields = {name: float(outreach["all", name].values.sum()) for name in module.BACKGROUNDS}
    assert yields["qcd"] == pytest.approx(1310, abs=0.5)
    assert sum(yields.values()) == pytest.approx(7326, abs=0.5)


@needs_data
def test_opposite_charge_data_stay_blinded(outreach: Any) -> None:
    assert {sample for _, sample, _ in outreach} == {"ggH", "qqH", "ztt", "zll", "ttbar", "w", "qcd"}


@needs_data
def test_outreach_counts_of_the_data() -> None:
    """The 7444 events that the background of 7326 is compared with: counted here, not in the analysis."""
    count = 0
    for run in ("Run2012B_TauPlusXSkim", "Run2012C_TauPlusXSkim"):
        with uproot.open(DATA / f"{run}.root") as file:
            x = file["Events"].arrays(["mt_1", "iso_1", "q_1", "q_2", "m_vis"], library="np")
        kept = (x["mt_1"] < 30) & (x["iso_1"] < 0.1) & (x["q_1"] * x["q_2"] < 0)
        count += int((kept & (x["m_vis"] > 20) & (x["m_vis"] < 200)).sum())
    assert count == 7444


@needs_data
def test_tau_energy_scale_moves_genuine_taus_only(module: Any, outreach: Any) -> None:
    varied = {sample for _, sample, variation in outreach if variation != "nominal"}
    assert varied == set(module.GENUINE_TAUS)
    centres = np.asarray(outreach["all", "ztt"].axes[0].centers)

    def mean(variation: str) -> float:
        return float(np.average(centres, weights=outreach["all", "ztt", variation].values))

    assert mean("tes_down") < mean("nominal") < mean("tes_up")


@needs_data
@pytest.mark.slow
def test_a_short_optimisation_lowers_the_expected_limit(module: Any, analysis: Any) -> None:
    variant = module.OUTREACH
    model = HistFactory(variant.spec)
    with distribute(
        variant.processor, analysis.fileset(DATA), schemaclass=analysis.schemaclass, split=Split(train=0.5)
    ) as templates:
        result = optimise(
            lambda params: variant.objective(model(templates(params))),
            {"mt_1": 60.0, "iso_1": 0.04},
            optimizer="l-bfgs-b",
            steps=6,
            bounds={"mt_1": (15.0, 65.0), "iso_1": (0.03, 0.18)},
        )
    losses = [step.loss for step in result.history]
    assert min(losses) < 0.95 * losses[0]
    assert result.params["iso_1"] > 0.05


@needs_data
@pytest.mark.slow
def test_the_objective_of_cuts_asks_for_filled_bins_and_has_its_gradient(module: Any, analysis: Any) -> None:
    model = HistFactory(module.CUTS.spec)
    tight = {
        **module.CUTS.params,
        "jdeta": 2.9,
        "pt_boosted": 119.0,
        "vbf": {"mt_1": 25.0, "pt_2": 35.0, "m_collinear": 100.0},
    }
    options = {"schemaclass": analysis.schemaclass, "split": Split(train=0.5), "gradient": "jacobian"}
    with distribute(module.CUTS.processor, analysis.fileset(DATA), **options) as templates:

        def objective(mjj: Any) -> Any:
            bound = model(templates({**tight, "mjj": mjj}))
            return module.limit_of_filled_bins(bound), (bound, objectives.upper_limit(bound))

        both = jax.value_and_grad(objective, has_aux=True)  # of the differences too, so that no other programs compile
        (value, (bound, limit)), slope = both(400.0)
        difference = (both(400.05)[0][0] - both(399.95)[0][0]) / 0.1
    lacking = np.maximum(0.0, 1.0 - np.asarray(statistics.effective_events(bound)) / 10.0).sum()
    assert lacking > 0
    assert float(value) == pytest.approx(float(limit) * (1.0 + lacking), rel=1e-9)
    assert float(slope) == pytest.approx(float(difference), rel=1e-3)
