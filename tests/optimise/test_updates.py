"""Optax optimizers that want the loss itself: line searches, plateaus, Polyak's step."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute
from diffea.errors import ParameterError
from diffea.optimise import Composite, anneal, optimise

SEARCHES = {
    "zoom": optax.lbfgs(),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15, store_grad=True)),
    "backtracking without gradients": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
}
START = {"x": -1.2, "y": np.array([1.0])}


def rosenbrock(params):
    """Lowest, 0, at x = y = 1."""
    return 100.0 * (params["y"][0] - params["x"] ** 2) ** 2 + (1.0 - params["x"]) ** 2


def test_l_bfgs_with_a_line_search_ends_in_the_minimum() -> None:
    result = optimise(rosenbrock, START, optimizer=optax.lbfgs(), steps=60)
    assert float(result.params["x"]) == pytest.approx(1.0, abs=1e-6)


def test_a_line_search_follows_the_bounds() -> None:
    """The minimum under x ≤ 0.5 is at y = x² = 0.25, by hand."""
    bounds = {"x": (-2.0, 0.5), "y": (None, 3.0)}
    result = optimise(rosenbrock, START, optimizer=optax.lbfgs(), steps=60, bounds=bounds)
    assert float(result.params["x"]) == 0.5
    assert float(result.params["y"][0]) == pytest.approx(0.25, abs=1e-5)
    assert rosenbrock(result.params) == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("optimizer", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("killed_at", [1, 2, 7])
def test_a_line_search_resumes_to_the_same_bits(optimizer, killed_at, tmp_path) -> None:
    bounds = {"x": (-2.0, 0.5)}
    run = functools.partial(optimise, rosenbrock, START, optimizer=optimizer, bounds=bounds, steps=12)
    whole = run()
    optimise(rosenbrock, START, optimizer=optimizer, bounds=bounds, steps=killed_at, checkpoint=tmp_path)
    resumed = run(checkpoint=tmp_path, resume=True)
    assert [step.loss for step in whole.history] == [step.loss for step in resumed.history]
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)


def test_what_a_line_search_evaluated_is_not_evaluated_again() -> None:
    """On a parabola the first step of length one is right: one evaluation a step, and one to begin."""
    evaluations = []

    def loss(x):
        jax.debug.callback(lambda _: evaluations.append(1), x)
        return jnp.sum((x - 3.0) ** 2) / 2

    result = optimise(loss, np.zeros(2), optimizer=SEARCHES["backtracking"], steps=3)
    np.testing.assert_allclose(result.params, 3.0)
    assert len(evaluations) == 1 + 3


def test_the_loss_noted_after_a_step_that_a_bound_cut_is_that_of_the_bound() -> None:
    result = optimise(
        lambda p: (p["x"] - 3.0) ** 2,
        {"x": 0.0},
        optimizer=SEARCHES["backtracking"],
        steps=3,
        bounds={"x": (None, 1.0)},
    )
    assert [step.loss for step in result.history] == [9.0, 4.0, 4.0]
    assert result.history[1].gradient_norm == 4.0


def test_schedules_move_a_point_away_from_where_the_line_search_ended() -> None:
    result = optimise(
        lambda p: p["width"] + (p["x"] - 3.0) ** 2,
        {"x": 0.0, "width": 8.0},
        optimizer=optax.chain(optax.sgd(1e-3), optax.scale_by_backtracking_linesearch(15, store_grad=True)),
        steps=4,
        schedules={"width": anneal(8.0, 1.0)},
    )
    widths = [8.0, 4.0, 2.0, 1.0]
    assert all(0 < step.loss - width <= 9.0 for step, width in zip(result.history, widths, strict=True))


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.polyak_sgd(),
        optax.chain(optax.adam(0.3), optax.contrib.reduce_on_plateau()),
        optax.MultiSteps(optax.sgd(0.01), every_k_schedule=2),
        optax.adam(0.3, mu_dtype=jnp.bfloat16),
        optax.chain(optax.sgd(0.01), optax.add_noise(0.01, 0.55, jax.random.key(0))),
    ],
    ids=["polyak", "plateau", "every other step", "bfloat16", "noise"],
)
def test_optimizers_with_unusual_states_go_on_from_a_checkpoint(optimizer, tmp_path) -> None:
    run = functools.partial(optimise, lambda p: jnp.sum((p["x"] - 1.0) ** 2), {"x": np.zeros(3)}, optimizer=optimizer)
    whole = run(steps=30)
    run(steps=13, checkpoint=tmp_path)
    resumed = run(steps=30, checkpoint=tmp_path, resume=True)
    assert [step.loss for step in whole.history] == [step.loss for step in resumed.history]
    assert whole.history[-1].loss < whole.history[0].loss


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam,
        None,
        3,
        optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True),
        optax.multi_transform({"a": optax.sgd(0.1)}, {"x": "b"}),
        optax.masked(optax.sgd(0.1), {"z": True}),
        optax.lookahead(optax.sgd(0.1), 5, 0.5),
    ],
    ids=[
        "a function",
        "none",
        "a number",
        "wants grad_fn",
        "unknown label",
        "of other parameters",
        "of two parameters for each",
    ],
)
def test_what_is_no_optimizer_for_these_parameters_is_named(optimizer) -> None:
    with pytest.raises(ParameterError, match=r"optimizer (is an optax|does not work with these parameters)"):
        optimise(lambda p: p["x"] ** 2, {"x": 1.0}, optimizer=optimizer, steps=2)


@pytest.mark.slow
def test_every_evaluation_of_a_line_search_is_a_pass_over_the_data(tmp_path) -> None:
    evaluations = []
    with distribute(Search(), write_fileset(tmp_path), schemaclass=QuietSchema, gradient="jacobian") as templates:

        def loss(params):
            made = templates(params)
            jax.debug.callback(lambda _: evaluations.append(1), made.values_flat)
            return jnp.sum((made.values_flat - 30.0) ** 2) / 1e4

        before = templates.passes
        result = optimise(loss, PARAMS, optimizer=optax.lbfgs(), steps=4, bounds={"mt": (20.0, 70.0)})
        assert templates.passes - before == len(evaluations) > len(result.history) == 4
    losses = [step.loss for step in result.history]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("more", [{"widths": anneal(1.0, 0.4)}, {"batches": 3}])
def test_steps_compile_nothing_after_the_first(more, tmp_path, caplog) -> None:
    """Whatever the widths and the part of the events."""
    told = []

    def objective(templates):
        return jnp.sum(jnp.sqrt(50.0 + templates["few", "bkg"].values) * jnp.arange(8))

    def note(step):
        told.append(sum("ompiling" in record.message for record in caplog.records))

    fileset = write_fileset(tmp_path)
    with jax.log_compiles(), distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
        optimise(Composite(templates, objective), PARAMS, optimizer=optax.adam(0.01), steps=7, progress=note, **more)
    assert told[0] > 0
    assert told[1] == told[-1]
