"""analyses/many_systematics: templates of thirty nuisances against histograms by hand, gradients against differences, pyhf as the judge."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from scipy import stats

from diffea import HistFactory, distribute
from diffea.analysis import load_analysis
from tests.scripts import ANALYSES, scripts

FOLDER = ANALYSES / "many_systematics"
EVENTS, NUISANCES = 400, 30


@pytest.fixture(scope="module")
def study():
    """The folder's study.py, with the folder's own analysis.py beside it."""
    with scripts(FOLDER, "study") as (module,):
        return module


@pytest.fixture(scope="module")
def many(study):
    return study.many


@pytest.fixture(scope="module")
def data(many, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("many_systematics")
    many.make_data(folder, EVENTS)
    return folder


@pytest.fixture(scope="module")
def templates(many, data):
    with distribute(many.Classes(NUISANCES), many.fileset(data), schemaclass=BaseSchema) as made:
        yield made


@pytest.fixture(scope="module")
def hard(many, templates):
    return templates.hard(many.untrained(3))


def by_hand(layers, x, edges):
    """Yields by class and bin of the largest output: NumPy alone."""
    for layer in layers[:-1]:
        x = np.tanh(x @ layer["w"] + layer["b"])
    logits = x @ layers[-1]["w"] + layers[-1]["b"]
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    return np.histogram2d(scores.argmax(axis=1), scores.max(axis=1), bins=(np.arange(5), edges))[0]


def test_templates_are_histograms_of_shifted_columns(many, data, hard) -> None:
    layers = many.untrained(3)["network"]
    assert len([key for key in hard if key[1] == "signal_a"]) == 2 * NUISANCES + 1
    for name, expected in many.YIELDS.items():
        columns = uproot.open(data / f"{name}.root")["Events"].arrays(list(many.COLUMNS), library="np")
        x = np.stack([columns[column].astype(float) for column in many.COLUMNS], axis=1)
        np.testing.assert_allclose(
            hard["classes", name].values, by_hand(layers, x, many.EDGES) * expected / EVENTS, rtol=1e-12
        )
        for number, moved in (
            (2, lambda column: column - 0.3),  # a shift of a sharp column, down
            (14, lambda column: column * (1 - 0.012)),  # a scale of another
            (21, lambda column: column - 0.2 * np.sin(column)),
        ):
            shifted = x.copy()
            shifted[:, number % 10] = moved(x[:, number % 10])
            found = hard["classes", name, f"{many.name_of(number)}_down"].values
            np.testing.assert_allclose(found, by_hand(layers, shifted, many.EDGES) * expected / EVENTS, rtol=1e-12)


@pytest.mark.slow
def test_gradient_of_both_variances(many, data) -> None:
    few = 5  # each up and down, more than are written out
    model, params = HistFactory(many.spec(few)), many.untrained(3)
    direction = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), params)
    with distribute(many.Classes(few), many.fileset(data), schemaclass=BaseSchema) as templates:
        step = jax.jit(jax.value_and_grad(lambda params: many.both_variances(model(templates(params)))))
        _, gradient = step(params)
        up, down = (step(jax.tree.map(lambda p, d, by=by: p + by * d, params, direction))[0] for by in (1e-4, -1e-4))
    slope = sum(float(np.vdot(g, d)) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    assert slope == pytest.approx(float(up - down) / 2e-4, rel=1e-4)


def test_both_variances_are_those_that_pyhf_finds(study, many, hard) -> None:
    """diffea's information, that of pyhf's rates by differences, and HESSE of pyhf's own fit."""
    model = HistFactory(many.spec(2))
    found = study.sigmas(model, hard)
    ours = many.variances(model(hard))
    assert found == pytest.approx({name: float(np.sqrt(variance)) for name, variance in ours.items()}, rel=1e-5)
    judged = pyhf.Workspace(model.workspace(hard)).model()
    asimov = judged.expected_data(judged.config.suggested_init())
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    try:
        fitted = pyhf.infer.mle.fit(asimov, judged, return_uncertainties=True)
    finally:
        pyhf.set_backend(*before)
    for name, sigma in found.items():
        assert fitted[judged.config.par_names.index(name)][1] == pytest.approx(sigma, rel=0.01)


def test_the_limit_is_the_information_of_the_densities(study, many) -> None:
    """Slopes of the densities against differences of SciPy's, events moved back to where they came from; and no nuisance, lower limit."""
    x = np.random.default_rng(1).normal(size=(50, 10))
    for number in (3, 15, 27):
        kind, column, amount = many.nuisance(number)
        place, step = many.COLUMNS.index(column), 1e-5
        mean, width = many.MEAN["background_b"][place], many.WIDTH["background_b"][place]

        def log_density(theta, kind=kind, amount=amount, place=place, mean=mean, width=width):
            came_from = x[:, place]
            for _ in range(50):  # y = x + θ·amount·g(x), solved for x
                came_from = x[:, place] - theta * amount * np.asarray(many.KINDS[kind][0](came_from))
            jacobian = 1 + theta * amount * np.asarray(many.KINDS[kind][1](came_from))
            return stats.norm.logpdf(came_from, mean, width) - np.log(jacobian)

        expected = (log_density(step) - log_density(-step)) / (2 * step)
        np.testing.assert_allclose(study._slope(x, "background_b", number), expected, rtol=1e-5, atol=1e-8)
    none, all_ = (study.limit(nuisances, events=5_000) for nuisances in (0, 30))
    assert all(none[name] < all_[name] for name in none)


def test_drawn_nuisances_are_normal_and_the_events_own(many) -> None:
    columns = {name: jnp.zeros(2000) for name in many.COLUMNS} | {"event": jnp.arange(2000)}
    first, again, other = (many.drawn(columns, draw) for draw in (1.0, 1.0, 2.0))
    np.testing.assert_array_equal(first["x0"], again["x0"])
    assert not np.any(first["x0"] == other["x0"])
    # at 0 neither scale nor bend moves anything
    assert np.std(first["x0"]) == pytest.approx(0.3, rel=0.06)
    assert np.std(first["x9"]) == pytest.approx(0.03, rel=0.06)
    assert abs(np.corrcoef(first["x0"], first["x1"])[0, 1]) < 0.08


def test_it_can_be_run() -> None:
    analysis = load_analysis(FOLDER)
    assert set(analysis.variants) == {"cross-entropy", "uncertainty"}
    (channel,) = analysis.variants["uncertainty"].spec["channels"]
    names = {modifier["name"] for sample in channel["samples"] for modifier in sample["modifiers"]}
    assert len(names) == NUISANCES + 2 + 1 + 2
