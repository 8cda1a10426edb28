"""analyses/zprime on the open data: the published baseline, and the templates' oracle."""

from __future__ import annotations

from pathlib import Path

import correctionlib
import numpy as np
import pytest
import uproot

from diffea import HistFactory, evaluate, objectives
from diffea.analysis import load_analysis

FOLDER = Path(__file__).parents[1] / "analyses" / "zprime"


@pytest.fixture(scope="module")
def analysis():
    return load_analysis(FOLDER)


@pytest.fixture(scope="module")
def data(open_data) -> Path:
    return open_data / "zprime"


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


@pytest.mark.slow
def test_expected_limit_of_the_baseline(truth) -> None:
    """As an independent pyhf workspace of NumPy histograms gives it (without signal in the data; see the README)."""
    assert float(objectives.upper_limit(truth.model(truth.templates))) == pytest.approx(0.0880, abs=5e-4)
