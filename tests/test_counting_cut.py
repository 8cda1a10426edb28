"""analyses/counting_cut: the published optimum of the soft cut, and the hard optimum by annealing."""

from __future__ import annotations

import numpy as np
import pytest
from coffea.nanoevents import BaseSchema

from diffea import distribute, exchange
from diffea.analysis import load_analysis
from diffea.run import run_variant
from tests.scripts import ANALYSES, scripts

FOLDER = ANALYSES / "counting_cut"


GENERATOR = np.random.RandomState(0)
BACKGROUND, SIGNAL = GENERATOR.normal(40, 10, 8000), GENERATOR.normal(50, 5, 300)


def hard_significance(cut: float) -> float:
    """Of the published events, in NumPy."""
    b, s = ((x > cut).sum() for x in (BACKGROUND, SIGNAL))
    return float(np.sqrt(2 * ((s + b) * np.log1p(s / b) - s)))


def test_best_hard_cut_of_a_scan() -> None:
    cuts = 35.0 + 0.01 * np.arange(2501)
    significances = [hard_significance(cut) for cut in cuts]
    assert cuts[np.argmax(significances)] == pytest.approx(45.45, abs=0.005)
    assert max(significances) == pytest.approx(5.146, abs=5e-4)


@pytest.mark.slow
def test_published_and_annealed_numbers(tmp_path) -> None:
    analysis = load_analysis(FOLDER)
    analysis.default_data(tmp_path / "data")
    result = run_variant(analysis, "fixed-width", data=tmp_path / "data", out=tmp_path / "fixed")
    cut = result["params"]["after"]["cut"]
    assert cut == pytest.approx(44.85, abs=0.005)
    assert -result["after"]["soft"] == pytest.approx(4.987, abs=5e-4)
    assert -result["after"]["hard_test"] == pytest.approx(5.056, abs=5e-4)
    assert -result["after"]["hard_test"] == pytest.approx(hard_significance(cut), rel=1e-12)
    result = run_variant(analysis, "annealed", data=tmp_path / "data", out=tmp_path / "annealed")
    assert result["params"]["after"]["cut"] == pytest.approx(45.438, abs=5e-4)
    assert -result["after"]["hard_test"] == pytest.approx(5.140, abs=5e-4)


def test_published_gradient_through_files(tmp_path) -> None:
    with scripts(FOLDER, "through_a_file") as (script,):
        processor, params, loss = script.EXAMPLES["power"]
        fileset = script.filesets(tmp_path)["power"]
    with distribute(processor, fileset, schemaclass=BaseSchema, chunksize=5) as templates:
        exchange.forward(templates, params, tmp_path / "templates.npz")
        assert exchange.respond(loss, tmp_path / "templates.npz", tmp_path / "cotangents.npz") == pytest.approx(6.875)
        gradient = exchange.backward(templates, params, tmp_path / "cotangents.npz")
    assert float(gradient["alpha"]) == pytest.approx(41.25, rel=1e-12)
    assert float(gradient["beta"]) == pytest.approx(6.875, rel=1e-12)
