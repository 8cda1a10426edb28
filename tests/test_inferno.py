"""analyses/inferno: the problem is the published one, and training for the uncertainty beats cross-entropy."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from scipy import stats

from diffea import HistFactory, distribute, optimise
from diffea.analysis import load_analysis
from tests.scripts import ANALYSES, scripts

FOLDER = ANALYSES / "inferno"


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
    with scripts(FOLDER, "study") as (module,):
        return module


@pytest.mark.parametrize("benchmark", ["0", "2", "4"])
def test_the_limit_is_that_of_the_paper(study, benchmark) -> None:
    """Fisher information of the events' own densities; the paper rounds to 0.01."""
    assert study.limit(benchmark, events=300_000) == pytest.approx(study.PAPER["limit"][benchmark], abs=0.08)


def by_hand(signal, background) -> float:
    """Uncertainty of s in benchmark 2, of the exact likelihood ratio in ten bins: NumPy, and SciPy's densities."""

    def bins(x, total):
        s = stats.norm.pdf(x[:, 0]) * stats.norm.pdf(x[:, 1]) * stats.expon.pdf(x[:, 2], scale=1 / 2)
        b = stats.norm.pdf(x[:, 0], 2, np.sqrt(5)) * stats.norm.pdf(x[:, 1], 0, 3)
        b *= stats.expon.pdf(x[:, 2], scale=1 / 3)
        return np.histogram(s / (s + b), 10, (0, 1))[0] * total / len(x)

    by_s, shift = bins(signal, 1.0), np.array([0.2, 0.0, 0.0])
    by_r = (bins(background + shift, 1000.0) - bins(background - shift, 1000.0)) / 0.4
    by_rate = bins(background * [1, 1, 3 / 3.5], 1000.0) - bins(background * [1, 1, 3 / 2.5], 1000.0)
    slopes = np.stack([by_s, by_r, by_rate])
    information = (slopes / (50 * by_s + bins(background, 1000.0))) @ slopes.T + np.diag([0, 1 / 5**2, 1 / 20**2])
    return float(np.sqrt(np.linalg.inv(information)[0, 0]))


def test_the_optimal_classifier(analysis, study, data) -> None:
    """As by hand from the same events; and by hand from the paper's million of each kind, as published."""
    variant = analysis.variants["optimal-2"]
    files = analysis.fileset(data)
    with distribute(variant.processor, files, schemaclass=BaseSchema) as templates:
        value = float(variant.objective(variant.model(templates.hard(variant.params))))
    kinds = [
        uproot.open(data / f"{name}.root")["Events"].arrays(["x0", "x1", "x2"], library="np")
        for name in ("signal", "background")
    ]
    assert value == pytest.approx(by_hand(*(np.stack(list(kind.values()), axis=1) for kind in kinds)), rel=1e-9)
    random, events = np.random.default_rng(11), 1_000_000
    signal = np.c_[random.normal(size=(events, 2)), random.exponential(1 / 2, events)]
    background = np.c_[random.normal((2, 0), np.sqrt((5, 9)), (events, 2)), random.exponential(1 / 3, events)]
    assert by_hand(signal, background) == pytest.approx(study.PAPER["optimal"]["2"], rel=0.01)


@pytest.mark.slow
def test_a_short_training(analysis, data) -> None:
    """A few steps of training lower the uncertainty, along its gradient."""
    trained = analysis.variants["inferno-2"]
    model = HistFactory(trained.spec)

    def events(variant, part):
        split = analysis.split.of(part)
        return distribute(variant.processor, analysis.fileset(data), schemaclass=BaseSchema, split=split)

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
