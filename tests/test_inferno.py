"""analyses/inferno: the problem is the published one, and training for the uncertainty beats cross-entropy."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from coffea.nanoevents import BaseSchema

from diffea import HistFactory, distribute, optimise
from diffea.analysis import load_analysis

FOLDER = Path(__file__).parents[1] / "analyses" / "inferno"


@pytest.fixture(scope="module")
def analysis():
    return load_analysis(FOLDER)


@pytest.fixture(scope="module")
def data(analysis, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inferno")
    analysis.default_data(folder)
    return folder


@pytest.fixture(scope="module")
def study():
    """The folder's study.py, with the folder's own analysis.py beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        others = {name: sys.modules.pop(name) for name in ("analysis", "study") if name in sys.modules}
        module = importlib.import_module("study")
        for name in ("analysis", "study"):
            del sys.modules[name]
        sys.modules.update(others)
    return module


@pytest.mark.parametrize("benchmark", ["0", "2", "4"])
def test_the_limit_is_that_of_the_paper(study, benchmark) -> None:
    """Fisher information of the events' own densities; the paper rounds to 0.01."""
    assert study.limit(benchmark, events=300_000) == pytest.approx(study.PAPER["limit"][benchmark], abs=0.08)


@pytest.mark.slow
def test_the_optimal_classifier_and_a_short_training(analysis, study, data) -> None:
    """Ten bins of the exact likelihood ratio give nearly the paper's uncertainty (it is 4 % lower); a few steps of training lower it."""
    optimal, trained = (analysis.variants[f"{kind}-2"] for kind in ("optimal", "inferno"))
    model = HistFactory(optimal.spec)

    def events(variant, part):
        split = analysis.split.of(part)
        return distribute(variant.processor, analysis.fileset(data), schemaclass=BaseSchema, split=split)

    with events(optimal, "test") as templates:
        value = float(optimal.objective(model(templates.hard(optimal.params))))
        assert value == pytest.approx(study.PAPER["optimal"]["2"], rel=0.06)
    with events(trained, "train") as templates:

        def loss(params):
            return trained.objective(model(templates(params)))

        step = jax.jit(jax.value_and_grad(loss))
        first, gradient = step(trained.params)
        direction = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), gradient)
        up, down = (
            float(step(jax.tree.map(lambda p, d, by=by: p + by * d, trained.params, direction))[0])
            for by in (1e-4, -1e-4)
        )
        slope = sum(float(np.vdot(g, d)) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
        assert slope == pytest.approx((up - down) / 2e-4, rel=1e-4)
        found = optimise(loss, trained.params, optimizer=trained.optimizer, steps=15)
        assert found.history[-1].loss < 0.9 * float(first)
