"""The cross-entropy of a histogrammed score: that of scikit-learn on gathered events, on all of them and on mini-batches."""

from __future__ import annotations

import functools

import hist
import jax
import numpy as np
import optax
import pytest
from coffea.nanoevents import BaseSchema

from diffea import Composite, DifferentiableProcessor, Fill, Ragged, distribute, errors, learning, optimise
from tests.learning.scores import PARAMS, Scored, arrays, write

ENTROPY = learning.CrossEntropy("score", signal="signal")


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def read(fileset):
    return functools.partial(distribute, fileset=fileset, schemaclass=BaseSchema)


@pytest.fixture(scope="module")
def sums(read):
    with read(ENTROPY.of(Scored())) as sums:
        yield sums


def gathered(params, samples):
    """Labels, scores and weights of events, hard-coded once more."""
    found = [arrays(sample) for sample in samples]
    x, y, weight = (np.concatenate([columns[name] for columns in found]) for name in ("x", "y", "weight"))
    label = np.concatenate([np.full(len(arrays(sample)["x"]), sample == "signal") for sample in samples])
    score = 1 / (1 + np.exp(-params["slope"] * x - params["offset"]))
    return label, score, weight, y


@pytest.mark.parametrize("balance", [True, False])
def test_it_is_that_of_scikit_learn(sums, balance):
    log_loss = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle of this test").log_loss
    entropy = learning.CrossEntropy("score", signal="signal", background=["top"], balance=balance)
    label, score, weight, y = gathered(PARAMS, ["signal", "top"])
    kept = y > PARAMS["cut"]
    label, score, weight = label[kept], score[kept], weight[kept]
    if balance:
        weight = weight / np.where(label, weight[label].sum(), weight[~label].sum())
    expected = log_loss(label, score, sample_weight=weight)
    assert float(entropy(sums.hard(PARAMS))) == pytest.approx(expected, rel=1e-12)
    assert float(entropy(sums(PARAMS))) == pytest.approx(expected, rel=0.02)  # the cut is soft


def test_all_other_samples_are_background_negative_weights_included(sums):
    label, score, weight, y = gathered(PARAMS, ["signal", "top", "multijet"])
    weight = weight * (y > PARAMS["cut"])
    losses = -np.where(label, np.log(score), np.log1p(-score))
    expected = 0.5 * sum((weight * losses)[of].sum() / weight[of].sum() for of in (label, ~label))
    assert float(ENTROPY(sums.hard(PARAMS))) == pytest.approx(expected, rel=1e-12)


def test_gradient_against_differences_on_all_events_and_on_a_part(sums):
    for some in (sums, sums.batch(1, of=5)):
        loss = jax.jit(lambda p, some=some: ENTROPY(some(p)))
        gradient = jax.jit(jax.grad(lambda p, some=some: ENTROPY(some(p))))(PARAMS)
        for name in PARAMS:
            up, down = (float(loss({**PARAMS, name: PARAMS[name] + side * 1e-4})) for side in (1, -1))
            assert float(gradient[name]) == pytest.approx((up - down) / 2e-4, rel=1e-6, abs=1e-9)


def test_training_on_parts_finds_the_best_slope(sums):
    """The score's logarithm of odds is 0.8 x − 0.32 by the two Gaussians, each class counted alike."""
    entropy = learning.CrossEntropy("score", signal="signal", background="top")
    found = optimise(
        Composite(sums, entropy), PARAMS, optimizer=optax.adam(optax.cosine_decay_schedule(0.1, 120)), steps=120, batches=6,
        bounds={"cut": (-1.01, -0.99)},
    )  # fmt: skip
    whole = optimise(Composite(sums, entropy), PARAMS, optimizer="l-bfgs-b", steps=40, bounds={"cut": (-1.01, -0.99)})
    for name, truth in (("slope", 0.8), ("offset", -0.32)):
        assert float(whole.params[name]) == pytest.approx(truth, abs=0.12)
        assert float(found.params[name]) == pytest.approx(float(whole.params[name]), abs=0.05)


def test_beside_the_channels_of_the_processor(read, sums):
    with read(ENTROPY.of(Scored(), beside=True)) as both, read(Scored()) as plain:
        found, alone = both(PARAMS), plain(PARAMS)
        assert set(alone) < set(found)
        np.testing.assert_allclose(
            found["score", "top", "shift_up"].values, alone["score", "top", "shift_up"].values, rtol=1e-12
        )
        assert float(ENTROPY(found)) == pytest.approx(float(ENTROPY(sums(PARAMS))), rel=1e-12)
    assert {channel for channel, _, _ in sums(PARAMS)} == {"cross-entropy of score"}
    assert {variation for _, _, variation in sums(PARAMS)} == {"nominal"}


@pytest.mark.parametrize("channel", ["scores", "plane"])
def test_a_channel_that_holds_no_score_is_refused(channel):
    class Plane(Scored):
        channels = {"plane": (hist.axis.Regular(2, 0, 1, name="a"), hist.axis.Regular(2, 0, 1, name="b"))}  # noqa: RUF012

    with pytest.raises(errors.FillError, match="channel of one axis"):
        learning.CrossEntropy(channel, signal="signal").of(Plane())


def test_objects_have_no_class(read):
    class Objects(DifferentiableProcessor):
        channels = {"score": hist.axis.Regular(2, 0, 1, name="score")}  # noqa: RUF012

        def columns(self, events):
            return {"x": events.x}

        def fill(self, params, columns):
            x = columns["x"][:, None]
            yield Fill("score", Ragged(x, x > -9))

    with read(ENTROPY.of(Objects())) as sums, pytest.raises(errors.FillError, match="one score an event"):
        sums({})


def test_one_class_alone_is_refused(sums):
    templates = sums(PARAMS)
    with pytest.raises(errors.UnknownTemplateError, match=r"are signal and \(\) background"):
        learning.CrossEntropy("score", signal=["signal", "top", "multijet"])(templates)
    with pytest.raises(errors.UnknownTemplateError, match="higgs"):
        learning.CrossEntropy("score", signal="higgs")(templates)


def test_a_class_without_weight_is_refused_in_compiled_code_too(sums):
    nothing = {**PARAMS, "cut": 1e4}
    with pytest.raises(errors.YieldError, match="total weight of signal"):
        ENTROPY(sums(nothing))
    with pytest.raises(errors.YieldError, match="total weight of background"):
        optimise(Composite(sums, ENTROPY), nothing, optimizer=optax.adam(0.1), steps=1)
