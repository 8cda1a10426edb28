"""Mini-batches in an optimisation: each step takes the next part of the events, the same after a resumption."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import Composite, distribute, errors, optimise

BATCHES = 4


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    fileset = write_fileset(tmp_path_factory.mktemp("data"))
    with distribute(Search(), fileset, schemaclass=QuietSchema, chunksize=700) as templates:
        yield templates


def objective(found):
    return jnp.sum(jnp.sqrt(50.0 + found["few", "bkg"].values)) - jnp.sum(
        jnp.sqrt(50.0 + found["few", "signal"].values)
    )


def run(templates, steps=6, optimizer=None, loss=None, **options):
    loss = loss or Composite(templates, objective)
    optimizer = optimizer or optax.adam(0.5)
    return optimise(loss, PARAMS, optimizer=optimizer, steps=steps, batches=BATCHES, **options)


def test_each_step_takes_the_next_part_and_then_another_division(templates):
    """A rate of zero stays at the start, where the loss of each part is known."""
    before = templates.fills
    found = run(templates, optimizer=optax.sgd(0.0), steps=2 * BATCHES)
    expected = [
        float(objective(templates.batch(number, of=BATCHES, seed=epoch)(PARAMS)))
        for epoch in (0, 1)
        for number in range(BATCHES)
    ]
    assert [step.loss for step in found.history] == pytest.approx(expected, rel=1e-13)
    assert len(set(expected)) == 2 * BATCHES
    assert templates.fills - before < 2 * BATCHES  # each value with its gradient would be more than one fill


def test_the_last_point_is_the_result_and_a_resumption_has_its_bits(templates, tmp_path):
    straight = run(templates, steps=7)
    assert (
        optimise(Composite(templates, objective), PARAMS, optimizer=optax.adam(0.5), steps=7).params != straight.params
    )

    class EnoughError(Exception):
        pass

    def stop(step):
        if step.step == 5:
            raise EnoughError

    with pytest.raises(EnoughError):
        run(templates, steps=7, checkpoint=tmp_path, progress=stop)
    resumed = run(templates, steps=7, checkpoint=tmp_path, resume=True)
    assert resumed.params == straight.params
    assert [step.loss for step in resumed.history] == [step.loss for step in straight.history]
    with pytest.raises(errors.CheckpointError, match="of another run"), pytest.warns(UserWarning, match="another run"):
        optimise(
            Composite(templates, objective),
            PARAMS,
            optimizer=optax.adam(0.5),
            steps=7,
            checkpoint=tmp_path,
            resume=True,
        )


def test_validation_takes_all_events(templates):
    found = run(templates, optimizer=optax.sgd(0.0), validate=lambda p: objective(templates(p)))
    assert {step.validation for step in found.history} == {float(objective(templates(PARAMS)))}


def test_a_line_search_stays_with_its_part(templates):
    """It finds no decrease from its own start unless value, gradient and search see the same events."""
    found = run(templates, optimizer=optax.lbfgs(), steps=3)
    parts = [templates.batch(number, of=BATCHES) for number in range(3)]
    assert found.history[0].loss == pytest.approx(float(objective(parts[0](PARAMS))), rel=1e-13)
    assert float(objective(templates(found.params))) < float(objective(templates(PARAMS)))


def test_a_loss_compiled_before_is_not_taken_for_that_of_a_part(templates):
    compiled = jax.jit(lambda p: objective(templates(p)))
    whole = float(compiled(PARAMS))
    found = run(templates, loss=compiled, optimizer=optax.sgd(0.0), steps=2)
    assert found.history[0].loss == pytest.approx(float(objective(templates.batch(0, of=BATCHES)(PARAMS))), rel=1e-13)
    assert float(compiled(PARAMS)) == whole != found.history[0].loss


@pytest.mark.parametrize("optimizer", ["auto", "l-bfgs-b", "gauss-newton", "cma"])
def test_optimizers_that_compare_steps_refuse(templates, optimizer):
    with pytest.raises(errors.ParameterError, match="mini-batches make another each time"):
        run(templates, optimizer=optimizer, bounds={name: (x - 20.0, x + 20.0) for name, x in PARAMS.items()})


@pytest.mark.parametrize("batches", [0, 1.5, True])
def test_what_is_no_number_of_batches(templates, batches):
    with pytest.raises(errors.ParameterError, match="batches is a number of mini-batches"):
        optimise(Composite(templates, objective), PARAMS, optimizer=optax.adam(0.5), steps=1, batches=batches)


def test_a_loss_without_events_is_refused():
    with pytest.raises(errors.ParameterError, match="does not call its templates"):
        optimise(lambda p: p["x"] ** 2, {"x": 1.0}, optimizer=optax.adam(0.5), steps=1, batches=2)


def test_training_on_parts_comes_to_where_training_on_all_comes(templates):
    """Parts are unbiased in the templates, so that a loss that is linear in them has the same minimum."""
    target = templates({**PARAMS, "shift": -8.0})["few", "bkg"].flow_values

    def distance(found):  # the gradient is that of a fixed direction from the target, linear in the templates
        return jnp.dot(jnp.arange(10.0) - 5.0, found["few", "bkg"].flow_values - target) ** 2 / 1e6

    start = {**PARAMS, "shift": 0.0}
    found = optimise(
        Composite(templates, distance), start, optimizer=optax.adam(optax.cosine_decay_schedule(0.5, 60)), steps=60, batches=BATCHES,
        bounds={"mt": (44.999, 45.001), "jet_pt": (31.999, 32.001)},
    )  # fmt: skip
    assert float(distance(templates(found.params))) < 0.05 * float(distance(templates(start)))
    assert np.isfinite(found.params["shift"])
