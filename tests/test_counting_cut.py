"""analyses/counting_cut: the published optimum of the soft cut, and the hard optimum by annealing."""

from __future__ import annotations

import dataclasses
import runpy
import sys
from pathlib import Path

import numpy as np
import optax
import pytest
from coffea.nanoevents import BaseSchema

from diffea import anneal, distribute, exchange
from diffea.analysis import load_analysis
from diffea.run import run_variant

FOLDER = Path(__file__).parents[1] / "analyses" / "counting_cut"


def hard_significance(cut: float) -> float:
    """Of the published events, in NumPy."""
    generator = np.random.RandomState(0)
    b, s = ((x > cut).sum() for x in (generator.normal(40, 10, 8000), generator.normal(50, 5, 300)))
    return float(np.sqrt(2 * ((s + b) * np.log1p(s / b) - s)))


@pytest.mark.slow
def test_published_numbers(tmp_path) -> None:
    analysis = load_analysis(FOLDER)
    analysis.default_data(tmp_path / "data")
    result = run_variant(analysis, "fixed-width", data=tmp_path / "data", out=tmp_path / "fixed")
    cut = result["params"]["after"]["cut"]
    assert cut == pytest.approx(44.85, abs=0.005)
    assert -result["after"]["soft"] == pytest.approx(4.987, abs=5e-4)
    assert -result["after"]["hard_test"] == pytest.approx(5.056, abs=5e-4)
    assert -result["after"]["hard_test"] == pytest.approx(hard_significance(cut), rel=1e-12)
    variant = dataclasses.replace(
        analysis.variants["annealed"],
        steps=120,
        optimizer=optax.adam(optax.exponential_decay(0.02, 120, 0.1)),
        schedules={"width": anneal(1.0, 0.05)},
    )
    analysis = dataclasses.replace(analysis, variants={"annealed": variant})
    result = run_variant(analysis, "annealed", data=tmp_path / "data", out=tmp_path / "annealed")
    assert -result["after"]["hard_test"] > 5.1
    assert -result["after"]["hard_test"] == pytest.approx(
        hard_significance(result["params"]["after"]["cut"]), rel=1e-12
    )


def test_published_gradient_through_files(tmp_path) -> None:
    script = runpy.run_path(str(FOLDER / "through_a_file.py"))
    del sys.modules["analysis"]  # a name that other folders have too
    processor, params, loss = script["EXAMPLES"]["power"]
    fileset = script["filesets"](tmp_path)["power"]
    with distribute(processor, fileset, schemaclass=BaseSchema, chunksize=5) as templates:
        exchange.forward(templates, params, tmp_path / "templates.npz")
        assert exchange.respond(loss, tmp_path / "templates.npz", tmp_path / "cotangents.npz") == pytest.approx(6.875)
        gradient = exchange.backward(templates, params, tmp_path / "cotangents.npz")
    assert float(gradient["alpha"]) == pytest.approx(41.25, rel=1e-12)
    assert float(gradient["beta"]) == pytest.approx(6.875, rel=1e-12)
