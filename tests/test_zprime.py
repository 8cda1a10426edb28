"""analyses/zprime on the open data: the published baseline, the templates' oracle, and a gradient."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
import uproot

from diffea import HistFactory, distribute, evaluate, objectives
from diffea.analysis import load_analysis

FOLDER = Path(__file__).parents[1] / "analyses" / "zprime"


@pytest.fixture(scope="module")
def analysis():
    return load_analysis(FOLDER)


@pytest.fixture(scope="module")
def data(open_data) -> Path:
    folder = open_data / "zprime"
    if not folder.is_dir():
        pytest.skip(f"no zprime files at {folder}: analyses/zprime/README.md says where they come from")
    return folder


@pytest.fixture(scope="module")
def baseline(analysis):
    return analysis.variants["cuts"].baseline


@pytest.fixture(scope="module")
def truth(analysis, baseline, data):
    model = HistFactory(baseline.spec)
    return evaluate(
        baseline.processor, analysis.fileset(data), baseline.params, model, schemaclass=analysis.schemaclass
    )


def test_templates_of_the_baseline_are_those_of_numpy(truth, data) -> None:
    correctionlib = pytest.importorskip("correctionlib")
    pileup, muon = (
        correctionlib.CorrectionSet.from_file(str(data / f"{name}.json.gz")) for name in ("puWeights", "muon_Z")
    )
    arrays = uproot.open(data / "ttsemilep.root")["Events"].arrays()
    weight = 16400 * 831.76 * 0.438 / 143553998 * np.asarray(arrays.genWeight, float)
    weight *= pileup["Collisions16_UltraLegacy_goldenJSON"].evaluate(np.asarray(arrays.pileup), "up")
    weight *= muon["NUM_TightID_DEN_TrackerMuons"].evaluate(
        np.asarray(arrays.mu_abseta), np.asarray(arrays.mu_pt), "nominal"
    )
    largest = np.array([max(masses) for masses in arrays.mtt.tolist()])
    expected, _ = np.histogram(largest, np.linspace(0, 4000, 21), weights=weight)
    found = truth.templates["mtt", "ttsemilep", "pileup_up"].values
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_expected_limit_of_the_baseline(truth) -> None:
    """As an independent pyhf workspace of NumPy histograms gives it (without signal in the data; see the README)."""
    assert float(objectives.upper_limit(truth.model(truth.templates))) == pytest.approx(0.0880, abs=5e-4)


@pytest.mark.slow
def test_gradient_of_the_limit(analysis, data) -> None:
    """As finite differences give it; it asks for the largest candidate rather than the first or smallest."""
    variant = analysis.variants["cuts"]
    spec = {
        "channels": [
            {
                **channel,
                "samples": [
                    {**sample, "modifiers": [m for m in sample["modifiers"] if m["type"] in ("normfactor", "normsys")]}
                    for sample in channel["samples"]
                ],
            }
            for channel in variant.spec["channels"]
        ],
        "parameters": variant.spec["parameters"],
    }
    model = HistFactory(spec)
    split = analysis.split.without(0)
    with distribute(
        variant.processor, analysis.fileset(data), schemaclass=analysis.schemaclass, split=split
    ) as templates:

        def loss(params):
            return objectives.upper_limit(model(templates(params)))

        step = jax.jit(jax.value_and_grad(loss))
        _, gradient = step(variant.params)
        for name, by in (("mu_pt", 1e-2), ("mu_abseta", 1e-4)):
            up, down = (float(step({**variant.params, name: variant.params[name] + sign * by})[0]) for sign in (1, -1))
            assert float(gradient[name]) == pytest.approx((up - down) / (2 * by), rel=1e-4), name
        largest, first, smallest, _ = gradient["candidate"]
        assert largest < min(first, smallest)
