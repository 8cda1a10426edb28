"""analyses/simulation_parameters: weights against closed forms and direct generation, gradients against differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from coffea.nanoevents import BaseSchema

import diffea
from tests.scripts import ANALYSES, scripts

FOLDER = ANALYSES / "simulation_parameters"
MODULES = ("analysis", "exact", "detector", "fit", "surrogate")
ELSEWHERE = {"mass": 125.6, "width": 4.7, "coefficient": 0.2}
EVENTS = 4_000


@pytest.fixture(scope="module")
def study():
    """The folder's modules."""
    with scripts(FOLDER, *MODULES) as modules:
        yield dict(zip(MODULES, modules, strict=True))


@pytest.fixture(scope="module")
def templates(study, tmp_path_factory):
    """Of the parameters of simulation and detector, from few events."""
    analysis, folder = study["analysis"], tmp_path_factory.mktemp("events")
    fileset = analysis.write(folder, "signal", analysis.draw("signal", EVENTS, 1, **analysis.GENERATED))
    with diffea.distribute(analysis.Experiment(), fileset, schemaclass=BaseSchema) as made:
        yield made


def params(study, **other):
    return {**study["analysis"].DETECTOR, **ELSEWHERE, **other}


def chi_squared(found, error, expected):
    """p-value of bins against what is expected of them; those with few events do not count."""
    filled = expected > 0.002 * expected.sum()
    return scipy.stats.chi2.sf(np.sum(((found - expected) ** 2 / error)[filled]), filled.sum())


def test_weights_integrate_to_closed_forms(study) -> None:
    analysis = study["analysis"]
    for mass, width in ((125.0, 4.0), (123.0, 6.0)):
        line = scipy.integrate.quad(lambda m, at=(mass, width): float(analysis.breit_wigner(m, *at)), *analysis.LINE)
        assert line[0] == pytest.approx(1.0, abs=1e-9)
    for c in (-0.3, 0.0, 0.7):
        tail = scipy.integrate.quad(lambda x, c=c: np.exp(-x) * analysis.amplitude(x, c), 0, 60)
        assert tail[0] == pytest.approx(analysis.rate(c), rel=1e-9)
        assert study["exact"].hardness(c).sum() == pytest.approx(analysis.YIELDS["signal"] * analysis.rate(c), rel=1e-6)


def test_counts_are_quadratic_in_the_coefficient(study, templates) -> None:
    def counts(c):
        return np.asarray(templates(params(study, coefficient=c))["hardness", "signal"].values)

    basis = {c: counts(c) for c in study["analysis"].BASIS}
    c = 0.37
    expected = (1 - c**2) * basis[0.0] + c * (1 + c) / 2 * basis[1.0] - c * (1 - c) / 2 * basis[-1.0]
    np.testing.assert_allclose(counts(c), expected, rtol=1e-12)


def test_reweighted_events_are_those_of_another_simulation(study, templates) -> None:
    made = templates(params(study))
    exact = study["exact"].both(ELSEWHERE)
    count = 20_000
    other = study["fit"].simulated(ELSEWHERE, count, 7)
    for channel, expected in exact.items():
        template = made[channel, "signal"]
        assert chi_squared(template.values, template.variances, expected) > 1e-3
        per_event = study["analysis"].YIELDS["signal"] * study["analysis"].rate(ELSEWHERE["coefficient"]) / count
        assert chi_squared(other[channel], per_event * np.asarray(expected), expected) > 1e-3
        assert chi_squared(template.values, template.variances, expected * 1.2) < 1e-3


def test_gradients_through_the_events(study, templates) -> None:
    point, step = params(study), 1e-4
    jacobian = templates.jacobian(point)
    exact = study["exact"]
    for name in ELSEWHERE:
        up, down = (templates({**point, name: point[name] + sign * step}) for sign in (1, -1))
        for channel in ("mass", "hardness"):
            differences = (up[channel, "signal"].values - down[channel, "signal"].values) / (2 * step)
            np.testing.assert_allclose(jacobian[channel, "signal"].values[name], differences, rtol=1e-5, atol=1e-6)
    counts = [np.sum(jacobian["hardness", "signal"].values[name]) for name in ("coefficient", "mass")]
    rate = jax.grad(study["analysis"].rate)(ELSEWHERE["coefficient"])
    survival = study["analysis"].YIELDS["signal"] * exact.survival(study["analysis"].DETECTOR["thickness"])
    assert counts[0] == pytest.approx(float(rate * survival), rel=0.1)
    assert counts[1] == pytest.approx(0.0, abs=float(0.05 * survival))


def test_gradient_of_the_figure_of_merit_in_the_detector(study, tmp_path) -> None:
    analysis, exact = study["analysis"], study["exact"]
    analysis.make_data(tmp_path, EVENTS)
    with diffea.distribute(analysis.Design(), analysis.fileset(tmp_path), schemaclass=BaseSchema) as templates:
        loss = jax.jit(lambda phi: analysis.sigma_mu(exact.MODEL(templates(phi))))
        phi, step = {"thickness": 2.0, "shaping": 0.5}, 1e-4
        value, gradient = jax.jit(jax.value_and_grad(loss))(phi)
        for name, slope in gradient.items():
            up, down = (loss({**phi, name: phi[name] + sign * step}) for sign in (1, -1))
            assert slope == pytest.approx(float(up - down) / (2 * step), rel=1e-5)
    assert value == pytest.approx(float(exact.figure_of_merit(phi)), rel=0.05)
    assert gradient["thickness"] == pytest.approx(float(jax.grad(exact.figure_of_merit)(phi)["thickness"]), rel=0.2)


def test_interpolation_meets_its_templates(study) -> None:
    fit = study["fit"]
    for points, product in ((fit.STAR, False), (fit.CUBE, True)):
        for place, point in enumerate(points):
            weights = fit.interpolated(jnp.asarray(point, float), points, product=product)
            np.testing.assert_allclose(weights, np.eye(len(points))[place], atol=1e-12)
    x = np.array([0.3, -0.6, 0.8])
    sums = fit.interpolated(jnp.asarray(x), fit.STAR, product=False) @ (
        1 + fit.STAR.sum(axis=1) + (fit.STAR**2).sum(axis=1)
    )
    assert sums == pytest.approx(1 + x.sum() + (x**2).sum())
    products = fit.interpolated(jnp.asarray(x), fit.CUBE, product=True) @ np.prod(2 + fit.CUBE, axis=1)
    assert products == pytest.approx(np.prod(2 + x))


def test_the_surface_through_a_grid(study) -> None:
    points = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), axis=-1).reshape(-1, 2)
    bowl = 2 * (points[:, 0] - 0.4) ** 2 + (points[:, 1] + 0.2) ** 2 + points[:, 0] * points[:, 1]
    found = study["detector"].lowest_of_surface(points, bowl)
    np.testing.assert_allclose(found, np.linalg.solve([[4, 1], [1, 2]], [1.6, -0.4]), atol=1e-9)
    assert study["detector"].lowest_of_surface(points, -bowl) is None


def test_a_surrogate_learns_the_detector(study) -> None:
    surrogate, analysis = study["surrogate"], study["analysis"]
    centre = np.log([1.0, 0.7])
    network = surrogate.local(centre, 12_000, 3)
    for offset in (np.zeros(2), np.array([0.6, -0.6])):
        thickness, shaping = np.exp(centre + surrogate.RADIUS * offset)
        shift, width, logit = surrogate.response(network, offset, jnp.array([122.0, 128.0]))
        np.testing.assert_allclose(shift, 0.0, atol=0.4)
        np.testing.assert_allclose(jnp.exp(width), analysis.resolution(thickness, shaping), rtol=0.06)
        np.testing.assert_allclose(jax.nn.sigmoid(logit), study["exact"].survival(thickness), atol=0.05)
