"""What is computed where there is an accelerator, on this machine's CPU: the code for many cores gives the numbers of that for one."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import distribute, histograms, runtime
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


@pytest.mark.skipif(jax.devices()[0].platform != "cpu", reason="this machine has an accelerator")
@pytest.mark.parametrize("device", [None, "cpu"])
def test_without_an_accelerator_all_is_for_the_cpu(device: str | None) -> None:
    with jax.default_device(device):
        assert runtime.for_cpu()
    assert runtime.accelerator() is None


@pytest.mark.usefixtures("many_cores")
def test_sums_over_every_bin_are_those_of_one_event_after_the_other() -> None:
    def shares(x: jax.Array, weight: jax.Array) -> list[jax.Array]:
        return [weight * x, weight**2, weight * (1 - x), weight]

    first, columns = RANDOM.integers(0, 6, 400), [jnp.asarray(X), jnp.asarray(WEIGHTS)]
    found = adding._at_once(jnp.asarray(first), *columns, of=adding.Sums(shares, (0, 2), 9, 2))
    expected = np.zeros((2, 9))
    for number, parts in zip(first, np.transpose(shares(X, WEIGHTS)), strict=True):
        expected[:, number] += parts[:2]
        expected[:, number + 2] += parts[2:]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.usefixtures("many_cores")
def test_jacobians_are_the_finite_differences() -> None:
    def filled(shift: jax.Array) -> jax.Array:
        return jnp.stack(histograms.fill(X + shift[0] * X**2, EDGES, WEIGHTS * (1 + shift[1]), bandwidth=0.2))

    found, step = jax.jacfwd(filled)(jnp.zeros(2)), 1e-6
    for number, unit in enumerate(np.eye(2)):
        difference = (filled(step * unit) - filled(-step * unit)) / (2 * step)
        np.testing.assert_allclose(found[..., number], difference, rtol=1e-6, atol=1e-6)


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
