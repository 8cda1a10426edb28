"""Categories in several scores: against SciPy's Gaussians, finite differences and brute force; and penalties by hand."""

from __future__ import annotations

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from scipy.special import softmax
from scipy.stats import multivariate_normal

from diffea import (
    Composite,
    DifferentiableProcessor,
    Fill,
    TemplateSet,
    anneal,
    distribute,
    errors,
    learning,
    optimise,
    soft,
)
from diffea.templates import Layout

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(50, 2))
START = {
    "mean": RANDOM.normal(size=(4, 2)),
    "precision": RANDOM.normal(size=(4, 2, 2)) * 0.5,
    "logit": RANDOM.normal(size=4),
}


def by_scipy(params, x):
    """Logarithms of π N(x; μ, Σ), shape (events, categories)."""
    found = []
    for mean, lower, share in zip(params["mean"], params["precision"], softmax(params["logit"]), strict=True):
        triangle = np.tril(lower, -1) + np.diag(np.exp(np.diag(lower)))
        found.append(np.log(share) + multivariate_normal(mean, np.linalg.inv(triangle.T @ triangle)).logpdf(x))
    return np.stack(found, axis=1)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_gaussian_regions_are_those_of_scipy(temperature):
    expected = softmax(by_scipy(START, X) / temperature, axis=1)
    np.testing.assert_allclose(
        learning.gaussian_regions(START, X, temperature=temperature), expected, rtol=1e-9, atol=1e-12
    )
    with soft.sharpened(temperature):
        np.testing.assert_allclose(learning.gaussian_regions(START, X), expected, rtol=1e-9, atol=1e-12)


def test_hard_regions_are_the_largest_and_the_limit_of_soft_ones():
    best = by_scipy(START, X).argmax(axis=1)
    with soft.hard():
        hard = learning.gaussian_regions(START, X)
    np.testing.assert_array_equal(hard, np.eye(4)[best])
    np.testing.assert_allclose(learning.gaussian_regions(START, X, temperature=1e-6), hard, atol=1e-9)
    lines = {"slope": RANDOM.normal(size=(2, 3)), "offset": RANDOM.normal(size=3)}
    with soft.hard():
        np.testing.assert_array_equal(
            learning.plane_regions(lines, X), np.eye(3)[(X @ lines["slope"] + lines["offset"]).argmax(axis=1)]
        )


def test_planes_start_at_what_is_nearest():
    start, centres = learning.planes(6, (0, 0), (2, 1), seed=3), learning.gaussians(6, (0, 0), (2, 1), seed=3)["mean"]
    x = RANDOM.random((200, 2)) * (2, 1)
    with soft.hard():
        found = np.asarray(learning.plane_regions(start, x)).argmax(axis=1)
    np.testing.assert_array_equal(found, np.linalg.norm((x[:, None] - centres) / (2, 1), axis=2).argmin(axis=1))


@pytest.mark.parametrize(
    ("regions", "start"),
    [(learning.gaussian_regions, START), (learning.plane_regions, learning.planes(4, (-1, -1), (1, 1)))],
)
def test_gradients_against_differences(regions, start):
    weights = RANDOM.normal(size=(50, 4))

    def value(params):
        return jnp.sum(weights * regions(params, X, temperature=0.7))

    gradient = jax.grad(value)(start)
    for name, leaf in start.items():
        for place in np.ndindex(leaf.shape):
            step = np.zeros_like(leaf)
            step[place] = 1e-6
            difference = (value({**start, name: leaf + step}) - value({**start, name: leaf - step})) / 2e-6
            assert float(gradient[name][place]) == pytest.approx(float(difference), rel=1e-5, abs=1e-7)


def made(values, variances):
    layout = Layout(
        {"c": (hist.axis.IntCategory(range(len(values)), name="c"),)}, (("c", "a", "nominal"), ("c", "b", "nominal"))
    )
    halves = [np.pad(np.asarray(array, float) / 2, 1) for array in (values, variances)]
    return TemplateSet(layout, *(jnp.asarray(np.tile(half, 2)) for half in halves))


def test_penalties_by_hand():
    templates = made([20.0, 5.0, 0.0, -1.0], [1.0, 4.0, 0.0, 1.0])
    low = learning.low_yields(templates, "c", ["a", "b"], at_least=10.0)
    assert float(low) == pytest.approx(0.5**2 + 1.0 + 1.1**2)
    large = learning.large_errors(templates, "c", ["a", "b"], at_most=0.2)
    assert float(large) == pytest.approx((0.4 / 0.2 - 1) ** 2 + 2 * 81.0)
    for penalty in (
        lambda T: learning.low_yields(T, "c", ["a", "b"], 10.0),
        lambda T: learning.large_errors(T, "c", ["a", "b"], 0.2),
    ):
        gradient = jax.grad(penalty)(templates)
        assert np.isfinite(gradient.values_flat).all()
        for field in ("values_flat", "variances_flat"):
            up, down = (
                float(penalty(TemplateSet(templates.layout, **{
                    "values_flat": templates.values_flat, "variances_flat": templates.variances_flat,
                    field: getattr(templates, field).at[2].add(side * 1e-5),
                })))
                for side in (1, -1)
            )  # fmt: skip
            assert float(getattr(gradient, field)[2]) == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: learning.gaussian_regions(START, X[:, :1]),
        lambda: learning.gaussian_regions({**START, "logit": np.zeros(3)}, X),
        lambda: learning.plane_regions({"slope": np.zeros((3, 2)), "offset": np.zeros(2)}, X),
        lambda: learning.gaussians(3, (0, 0), (1, 0)),
        lambda: learning.gaussians(0, (0,), (1,)),
        lambda: learning.low_yields(made([1.0], [1.0]), "c", "a", 10.0),
        lambda: learning.large_errors(made([1.0], [1.0]), "c", ["a"], 0.0),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(errors.OptionError):
        wrong()


class Squares(DifferentiableProcessor):
    """Signal lies in two opposite corners of a square: no cut on one score, and no line, divides it from the rest."""

    channels = {"c": hist.axis.IntCategory(range(3), name="c")}  # noqa: RUF012

    def columns(self, events):
        return {"a": events.a, "b": events.b}

    def fill(self, params, columns):
        yield Fill("c", learning.gaussian_regions(params, jnp.stack([columns["a"], columns["b"]], axis=1)))


def test_regions_find_signal_that_no_line_divides_from_the_rest(tmp_path):
    random, fileset = np.random.default_rng(1), {}
    corners = random.integers(0, 2, (2000, 1))
    for name, points in {
        "signal": np.abs(corners - 0.25 * random.random((2000, 2))),
        "background": random.random((4000, 2)),
    }.items():
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            file["Events"] = {"a": points[:, 0], "b": points[:, 1]}
        fileset[name] = {"files": {str(tmp_path / f"{name}.root"): "Events"}}

    def objective(found):
        signal, background = found["c", "signal"].values, found["c", "background"].values
        return -jnp.sqrt(jnp.sum(signal**2 / (background + 1.0))) + learning.low_yields(
            found, "c", ["background"], 20.0
        )

    with distribute(Squares(), fileset, schemaclass=BaseSchema) as templates:
        start = learning.gaussians(3, (0, 0), (1, 1), seed=0)
        loss = Composite(templates, objective)
        found = optimise(loss, start, optimizer=optax.adam(0.05), steps=150, widths=anneal(1.0, 0.1))
        reached = float(objective(templates.hard(found.params)))
        assert templates.hard(found.params)["c", "background"].values.min() > 15.0
    ideal = -2000 / np.sqrt(
        4000 / 8 + 1
    )  # two corner squares, an eighth of all, in one category; regions of Gaussians end at conics
    assert reached < 0.88 * ideal
