"""analyses/gaussian_blobs: the distributed templates are those in memory, and every loss trains."""

from __future__ import annotations

import argparse
import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from coffea.nanoevents import BaseSchema

from diffea import distribute
from diffea.run import run_variant
from tests.scripts import ANALYSES, scripts

FOLDER = ANALYSES / "gaussian_blobs"
POINTS = 300


@pytest.fixture(scope="module")
def blobs():
    """The study's module."""
    with scripts(FOLDER, "study") as (module,):
        yield module


@pytest.fixture(scope="module")
def data(blobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blobs")
    sys.modules["analysis"].make_data(folder, points=POINTS)
    return folder


@pytest.mark.slow
def test_distributed_templates_are_those_in_memory(blobs, data) -> None:
    analysis = sys.modules["analysis"]
    layers = blobs.initial(8, seed=3)
    batch = {blob: jnp.asarray(x) for blob, x in blobs.draw(points=POINTS).items()}
    expected = jax.jit(blobs.templates)(layers, batch)
    with distribute(analysis.Blobs(), analysis.fileset(data), schemaclass=BaseSchema) as templates:
        made = templates({"layers": layers})
    for key, counts in expected.items():
        np.testing.assert_allclose(made[key].values, counts.values, rtol=1e-12)
    entropy = blobs.cross_entropy(layers, batch, tuple(analysis.KEYS))
    assert float(analysis.mean_cross_entropy(made, tuple(analysis.KEYS))) == pytest.approx(float(entropy), rel=1e-12)
    assert sum(float(counts.values.sum()) for counts in expected.values()) == pytest.approx(320.0, rel=1e-12)

    def objectives(found):
        bound = blobs.MODEL(found)
        return jnp.stack([analysis.log_cls(bound), analysis.inferno(bound), analysis.three_terms(bound)])

    slopes = jax.jit(jax.jacrev(objectives))(expected)
    for counts in slopes.values():
        assert np.isfinite(counts.values).all()
        assert np.any(counts.values != 0, axis=1).all()


@pytest.mark.slow
def test_a_run_lowers_the_expected_cls(blobs, data, tmp_path) -> None:
    analysis = sys.modules["analysis"].analysis
    variant = analysis.variants["learned-bins"]
    params = {**variant.params, "layers": blobs.initial(8, seed=3)}
    small = dataclasses.replace(variant, params=params, limit=False, steps=8)
    chosen = dataclasses.replace(analysis, variants={"": small})
    result = run_variant(chosen, "", data=data, out=tmp_path)
    assert result["after"]["soft"] < result["before"]["soft"]
    assert np.isfinite(list(result["after"].values())).all()
    assert np.any(np.asarray(result["params"]["after"]["bins"]) != 0)


@pytest.mark.slow
def test_study_in_memory(blobs) -> None:
    losses = ["CLs (neos)", "cross-entropy, variations"]
    args = argparse.Namespace(
        means="paper", points=POINTS, width=8, steps=12, seeds=1, batch=100, precision="float64", losses=losses
    )
    rows = blobs.run(args)
    assert [row["loss"] for row in rows] == losses
    for row in rows:
        assert 0 < row["cls"] < 0.2
        assert row["sigma_mu"] > 0
        assert 0 <= row["constraint"] < 1
    assert blobs.table(blobs.by_loss(rows), blobs.COLUMNS).count("\n") == 1 + len(rows)
