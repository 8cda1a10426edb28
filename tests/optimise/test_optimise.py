"""optimise: both loops reach known minima, within bounds, and go on from a checkpoint to the same bits."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffea import errors
from diffea.optimise import Composite, anneal, optimise

START = {"mt": 30.0, "iso": 0.1, "net": [np.array([1.0, -2.0]), 0.5]}
BOUNDS = {"mt": (10.0, 80.0), "iso": (0.01, 0.3)}
OPTIMIZERS = {"adam": optax.adam(0.05), "l-bfgs-b": "l-bfgs-b"}


def loss(params):
    """Lowest at mt = 55, beyond the upper bound of iso, at net = 0."""
    net = jnp.sum(params["net"][0] ** 2) + params["net"][1] ** 2
    return ((params["mt"] - 55.0) / 20.0) ** 2 + (params["iso"] - 0.5) ** 2 + net


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_reaches_the_minimum_within_bounds(optimizer) -> None:
    result = optimise(loss, START, optimizer=optimizer, steps=300, bounds=BOUNDS)
    assert result.params["mt"] == pytest.approx(55.0, abs=0.05)
    assert float(result.params["iso"]) == 0.3
    assert jnp.abs(result.params["net"][0]).max() < 1e-2
    assert min(step.loss for step in result.history) == pytest.approx(float(loss(result.params)), rel=1e-12)
    assert [step.step for step in result.history] == list(range(1, len(result.history) + 1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_resumes_to_the_same_bits(optimizer, tmp_path) -> None:
    run = functools.partial(optimise, loss, START, optimizer=optimizer, bounds=BOUNDS)
    whole = run(steps=12)

    class KilledError(Exception):
        pass

    def kill(step):
        if step.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        run(steps=12, checkpoint=tmp_path, progress=kill)
    seen = []
    resumed = run(steps=12, checkpoint=tmp_path, resume=True, progress=lambda step: seen.append(step.step))
    assert seen[0] == 5  # the step whose checkpoint was never written is done again
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [step.loss for step in whole.history] == [step.loss for step in resumed.history]


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(tmp_path) -> None:
    run = functools.partial(optimise, loss, START, optimizer=optax.adam(0.1), checkpoint=tmp_path)
    whole = run(steps=6)
    last = max(tmp_path.glob("step-*.npz"))
    last.write_bytes(last.read_bytes()[:200])
    with pytest.warns(UserWarning, match="truncated or damaged"):
        resumed = run(steps=6, resume=True)
    assert float(resumed.params["mt"]) == float(whole.params["mt"])


def test_a_foreign_checkpoint_is_refused(tmp_path) -> None:
    optimise(loss, START, optimizer=optax.adam(0.1), steps=2, checkpoint=tmp_path)
    with pytest.raises(errors.CheckpointError, match="another run"), pytest.warns(UserWarning, match="another run"):
        optimise(loss, {**START, "mt": 31.0}, optimizer=optax.adam(0.1), steps=2, checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize("validate", [None, loss])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_checkpoint_of_another_loss_is_refused(optimizer, validate, tmp_path) -> None:
    run = functools.partial(optimise, optimizer=optimizer, steps=3, checkpoint=tmp_path)
    run(loss, START, validate=validate)
    with pytest.raises(errors.CheckpointError, match="of another loss"):
        run(
            lambda params: loss(params) + 1e-4,
            START,
            validate=validate and (lambda params: validate(params) + 1e-4),
            resume=True,
        )


def test_the_checkpoint_before_a_foreign_one_is_used(tmp_path) -> None:
    run = functools.partial(optimise, loss, optimizer=optax.adam(0.1), steps=4)
    whole = run(START, checkpoint=tmp_path / "own")
    run({**START, "mt": 31.0}, checkpoint=tmp_path / "foreign")
    (tmp_path / "foreign" / "step-00000004.npz").rename(tmp_path / "own" / "step-00000009.npz")
    (tmp_path / "own" / "step-00000004.npz").unlink()
    with pytest.warns(UserWarning, match="another run"):
        resumed = run(START, checkpoint=tmp_path / "own", resume=True)
    assert [step.loss for step in resumed.history] == [step.loss for step in whole.history]
    assert float(resumed.params["mt"]) == float(whole.params["mt"])


def test_a_new_run_does_not_mix_with_the_checkpoints_of_an_old_one(tmp_path) -> None:
    optimise(loss, START, optimizer=optax.adam(0.1), steps=5, checkpoint=tmp_path)
    optimise(loss, START, optimizer=optax.adam(0.1), steps=2, checkpoint=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-0000000{n}.npz" for n in (1, 2)]


def test_checkpoints_hold_no_pickles_and_no_leftovers(tmp_path) -> None:
    optimise(loss, START, optimizer=optax.adam(0.1), steps=5, checkpoint=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-0000000{n}.npz" for n in (3, 4, 5)]
    with np.load(tmp_path / "step-00000005.npz", allow_pickle=False) as content:
        assert {content[name].dtype.kind for name in content.files} <= set("fiuU")


def test_the_best_validated_point_is_kept_and_patience_ends_the_run() -> None:
    result = optimise(
        lambda p: (p - 3.0) ** 2,
        0.0,
        optimizer=optax.sgd(0.05),
        steps=200,
        validate=lambda p: (p - 1.0) ** 2,
        patience=5,
    )
    assert float(result.params) == pytest.approx(1.0, abs=0.15)
    assert len(result.history) < 30
    assert "5 validations" in result.message


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "gauss-newton"])
def test_other_optimizers_validate_as_seldom_and_wait_as_long(optimizer) -> None:
    valley = Composite(
        lambda p: jnp.stack([10.0 * (p["y"] - p["x"] ** 2), 1.0 - p["x"]]), lambda residuals: jnp.sum(residuals**2)
    )
    result = optimise(
        valley,
        {"x": -1.2, "y": 1.0},
        optimizer=optimizer,
        steps=60,
        validate=lambda p: (p["x"] + 1.0) ** 2,
        validate_every=3,
        patience=2,
    )
    validated = {step.step: step.validation for step in result.history if step.validation is not None}
    assert list(validated) == [1, *range(3, len(result.history) + 1, 3)]
    lowest = min(validated, key=validated.get)
    assert len([step for step in validated if step > lowest]) == 2
    assert "2 validations" in result.message
    assert float((result.params["x"] + 1.0) ** 2) == pytest.approx(validated[lowest])


def test_none_is_no_bound() -> None:
    result = optimise(loss, START, optimizer="l-bfgs-b", steps=50, bounds={"mt": (10.0, None), "iso": (None, 0.3)})
    assert float(result.params["mt"]) == pytest.approx(55.0, abs=0.05)
    assert float(result.params["iso"]) == 0.3


def test_schedules_set_a_parameter_and_the_last_point_is_the_result() -> None:
    result = optimise(
        lambda p: p["width"] * (1 + (p["x"] - 2.0) ** 2),
        {"x": 0.0, "width": 5.0},
        optimizer=optax.sgd(0.1),
        steps=20,
        schedules={"width": anneal(1.0, 0.01)},
    )
    assert float(result.params["width"]) == pytest.approx(0.01)
    assert result.history[0].loss == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"bounds": {"mt": (40.0, 80.0)}}, errors.ParameterError, "'mt' starts at 30.0, outside"),
        ({"bounds": {"mtt": (40.0, 80.0)}}, errors.ParameterError, "no such parameter"),
        ({"bounds": {"mt": 3.0}}, errors.ParameterError, "pair"),
        ({"bounds": {"mt": (80.0, 10.0)}}, errors.ParameterError, "low < high"),
        ({"params": {"mt": "x"}}, errors.ParameterError, "must be a number"),
        ({"params": {"mt": np.nan}}, errors.ParameterError, "must be finite"),
        ({"optimizer": "adam"}, errors.ParameterError, "optax transformation"),
        ({"schedules": {"w": anneal(1, 2)}}, errors.ParameterError, "no such parameters"),
        ({"params": {"x": [1.0, 2.0]}, "bounds": {"x": [(0.0, 3.0)]}}, errors.ParameterError, r"for 'x.1' got \[\(0.0"),
        ({"steps": -1}, errors.ParameterError, "steps is a number of steps, 0 or more, got -1"),
        ({"validate_every": 0}, errors.ParameterError, "validate_every is a number of steps, 1 or more, got 0"),
        ({"patience": 0}, errors.ParameterError, "patience is a number of validations, 1 or more, got 0"),
        ({"loss": lambda p: jnp.log(p["mt"] - 30.0)}, errors.NotFiniteError, "loss is -inf"),
        ({"loss": lambda p: jnp.sqrt(p["mt"] - 30.0)}, errors.NotFiniteError, "gradient by parameter 'mt'"),
        ({"loss": lambda p: p["mt"] * jnp.ones(3)}, errors.LossError, r"shape \(3,\)"),
    ],
)
def test_what_makes_no_sense_is_named(arguments, error, text) -> None:
    default = {"loss": lambda p: p["mt"] ** 2, "params": {"mt": 30.0}, "optimizer": optax.sgd(0.1), "steps": 3}
    given = {**default, **arguments}
    with pytest.raises(error, match=text):
        optimise(given.pop("loss"), given.pop("params"), **given)


def test_a_parameter_without_influence_is_reported() -> None:
    with pytest.warns(UserWarning, match="'unused' has no influence"):
        optimise(lambda p: p["x"] ** 2, {"x": 1.0, "unused": 1.0}, optimizer=optax.sgd(0.1), steps=2)
