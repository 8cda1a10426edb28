"""What is computed where there is an accelerator, on this machine's CPU: the code for many cores gives the numbers of that for one."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import distribute, histograms
from diffea.histograms import adding
from diffea.program import kernels, structure
from diffea.templates import TemplateJacobian, TemplateSet
from tests.samples import PARAMS, QuietSchema, Search, write

EDGES = np.array([0.0, 1.0, 2.5, 3.0, 4.0])
RANDOM = np.random.default_rng(5)
X, WEIGHTS = RANDOM.uniform(-1, 5, 400), RANDOM.normal(1, 0.5, 400)


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if what is traced were for an accelerator."""
    for room in (adding, kernels):
        monkeypatch.setattr(room, "for_cpu", lambda: False)
    monkeypatch.setattr(structure, "accelerator", object)


@pytest.mark.usefixtures("many_cores")
def test_values_and_variances_are_those_of_a_sum_over_every_bin() -> None:
    values, variances = jax.jit(lambda x, w: histograms.fill(x, EDGES, w, bandwidth=0.2))(X, WEIGHTS)
    one_by_one = [histograms.histogram(X[i : i + 1], EDGES, bandwidth=0.2, flow=True) for i in range(400)]
    shares = WEIGHTS[:, None] * np.array(one_by_one)
    np.testing.assert_allclose(values, shares.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variances, (shares**2).sum(axis=0), rtol=1e-12)


@pytest.mark.usefixtures("many_cores")
def test_gradients_are_the_finite_differences() -> None:
    slope = jnp.cos(jnp.arange(6))

    def loss(x: np.ndarray, weights: np.ndarray) -> jax.Array:
        values, variances = histograms.fill(x, EDGES, weights, bandwidth=0.2)
        return slope @ values + (slope**2) @ variances + slope @ histograms.histogram(x, EDGES, weights, flow=True)

    forward = jax.jit(lambda x, w: jax.jvp(loss, (X, WEIGHTS), (x, w))[1])
    direction = RANDOM.normal(size=(2, 400))
    step = 1e-6
    difference = (loss(X + step * direction[0], WEIGHTS + step * direction[1])) - (
        loss(X - step * direction[0], WEIGHTS - step * direction[1])
    )
    assert forward(*direction) == pytest.approx(float(difference) / (2 * step), rel=1e-6)
    reverse = jax.jit(jax.grad(loss, (0, 1)))(X, WEIGHTS)
    assert sum(np.vdot(*pair) for pair in zip(reverse, direction, strict=True)) == pytest.approx(
        float(difference) / (2 * step), rel=1e-6
    )


def test_batches_at_once_are_the_sums_over_their_blocks(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write(tmp_path / "events.root", 5_000, 3)
    fileset = {"signal": {"files": {str(tmp_path / "events.root"): "Events"}}}

    def found() -> tuple[TemplateSet, TemplateJacobian, TemplateSet]:
        with distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
            return templates(PARAMS), templates.jacobian(PARAMS), templates.hard(PARAMS)

    in_blocks = found()
    request.getfixturevalue("many_cores")
    at_once = found()
    for key in in_blocks[0]:
        for blocks, whole in zip(in_blocks[::2], at_once[::2], strict=True):
            np.testing.assert_allclose(whole[key].values, blocks[key].values, rtol=1e-11, atol=1e-9)
            np.testing.assert_allclose(whole[key].variances, blocks[key].variances, rtol=1e-11, atol=1e-9)
        for parameter in PARAMS:
            derivatives = [found[1][key].values[parameter] for found in (at_once, in_blocks)]
            np.testing.assert_allclose(*derivatives, rtol=1e-9, atol=1e-9)
    assert at_once[2]["few", "signal"].values.tolist() == in_blocks[2]["few", "signal"].values.tolist()
