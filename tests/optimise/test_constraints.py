"""Working points: constrained optima against closed forms, brute force and finite differences."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import Composite, Constraint, distribute, errors, optimise
from diffea.optimise.box import Box
from diffea.optimise.constraints import Augmented

BOWL = Composite(lambda p: p, lambda p: (p["x"] - 2.0) ** 2 + (p["y"] - 1.0) ** 2 + 5.0)
TOTAL = lambda p: p["x"] + p["y"]
START = {"x": 0.3, "y": 0.1}


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", optax.adam(0.05)], ids=["l-bfgs-b", "adam"])
@pytest.mark.parametrize(
    ("constraint", "x", "y"),
    [
        (Constraint(TOTAL, exactly=1.0), 1.0, 0.0),
        (Constraint(TOTAL, at_most=2.0), 1.5, 0.5),
        (Constraint(TOTAL, at_least=4.0), 2.5, 1.5),
        (Constraint(TOTAL, at_least=1.0), 2.0, 1.0),  # holds where the minimum is
        ([Constraint(TOTAL, exactly=2.0), Constraint(lambda p: p["x"], at_most=1.2)], 1.2, 0.8),
        (Constraint(TOTAL, exactly=-1.0), 0.0, -1.0),
    ],
)
def test_a_quadratic_bowl(optimizer, constraint, x, y):
    found = optimise(BOWL, START, optimizer=optimizer, steps=240, constraint=constraint)
    loose = 1e-4 if optimizer == "l-bfgs-b" else 0.02
    assert [float(found.params[name]) for name in ("x", "y")] == pytest.approx([x, y], abs=loose)
    assert found.constraints[0] == pytest.approx(x + y, abs=2 * loose)


def test_the_gradient_with_terms_against_differences():
    constraints = [
        Constraint(TOTAL, exactly=1.5),
        Constraint(lambda p: p["x"] * p["y"], at_most=0.2),
        Constraint(TOTAL, at_least=9.0),
    ]
    evaluate = Augmented(BOWL, Box.of(START, None), constraints)
    evaluate.weigh(START, None)
    for _ in range(2):
        evaluate.update({"x": 0.9, "y": 0.4}, None)
    assert np.count_nonzero(evaluate.multipliers) == 3
    at = {name: jnp.asarray(value) for name, value in {"x": 0.7, "y": 0.5}.items()}
    _, gradient = evaluate(at)
    for name in at:
        up, down = (evaluate({**at, name: at[name] + side * 1e-5})[0] for side in (1, -1))
        assert float(gradient[name]) == pytest.approx((up - down) / 2e-5, rel=1e-6)


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    fileset = write_fileset(tmp_path_factory.mktemp("data"))
    with distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
        yield templates


def background(found):
    return jnp.sum(found["few", "bkg"].values) + jnp.sum(found["many", "bkg"].values)


def signal(found):
    return jnp.sum(found["few", "signal"].values) + 3.0 * jnp.sum(found["many", "signal"].values)


BOUNDS = {"mt": (10.0, 90.0), "jet_pt": (20.0, 70.0), "shift": (0.499, 0.501)}


def test_most_signal_at_a_background_yield_is_that_of_brute_force(templates):
    loss = Composite(templates, lambda found: -signal(found))
    low = 600.0
    found = optimise(
        loss, PARAMS, optimizer="l-bfgs-b", steps=160, bounds=BOUNDS, constraint=Constraint(background, at_most=low)
    )
    assert found.constraints[0] == pytest.approx(low, rel=1e-3)
    mt, jet_pt = (axis.ravel() for axis in np.meshgrid(np.linspace(10, 90, 81), np.linspace(20, 70, 26)))
    grid = {"mt": jnp.asarray(mt), "jet_pt": jnp.asarray(jet_pt), "shift": jnp.full(mt.size, 0.5)}
    yields, gains = (np.asarray(jax.vmap(of)(jax.vmap(templates)(grid))) for of in (background, signal))
    best = gains[yields <= low].max()
    assert float(signal(templates(found.params))) == pytest.approx(best, rel=0.01)
    assert float(signal(templates(found.params))) > 0.999 * best


def test_a_resumption_has_the_bits_of_a_straight_run(templates, tmp_path):
    run = functools.partial(
        optimise, Composite(templates, lambda found: -signal(found)), PARAMS, steps=24, bounds=BOUNDS,
        constraint=Constraint(background, at_most=600.0),
    )  # fmt: skip

    class EnoughError(Exception):
        pass

    def stop(step):
        if step.step == 14:
            raise EnoughError

    for name, optimizer in (("adam", optax.adam(0.02)), ("l-bfgs-b", "l-bfgs-b")):
        straight = run(optimizer=optimizer)
        with pytest.raises(EnoughError):
            run(optimizer=optimizer, checkpoint=tmp_path / name, progress=stop)
        resumed = run(optimizer=optimizer, checkpoint=tmp_path / name, resume=True)
        assert resumed.params == straight.params
        assert [step.loss for step in resumed.history] == [step.loss for step in straight.history]
        assert [step.step for step in resumed.history] == list(range(1, len(straight.history) + 1))
        assert resumed.constraints == straight.constraints


def test_mini_batches_hold_the_constraint_on_all_events(templates):
    found = optimise(
        Composite(templates, lambda some: -signal(some)), PARAMS, optimizer=optax.adam(optax.constant_schedule(0.01)), steps=240,
        bounds=BOUNDS, batches=3, constraint=Constraint(background, at_most=600.0),
    )  # fmt: skip
    assert found.constraints[0] == pytest.approx(float(background(templates(found.params))), rel=1e-12)
    assert (
        500.0 < found.constraints[0] < 606.0
    )  # of an inequality fluctuations of the parts count as violations: it errs on the safe side


def test_what_cannot_hold_is_told():
    with pytest.warns(errors.ConstraintWarning, match="constraint 0 is 2, asked at least 3"):
        found = optimise(
            BOWL,
            START,
            optimizer="l-bfgs-b",
            steps=80,
            bounds={"x": (0, 1), "y": (0, 1)},
            constraint=Constraint(TOTAL, at_least=3.0),
        )
    assert "asked at least 3" in found.message


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"at_least": 0.0},
        {"at_most": float("nan")},
        {"at_least": 1.0, "at_most": 2.0},
        {"exactly": "1"},
        {"exactly": [1.0]},
    ],
)
def test_what_is_no_constraint(given):
    with pytest.raises(errors.ParameterError, match="one of at_least, at_most"):
        Constraint(TOTAL, **given)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"optimizer": "auto", "bounds": {"x": (0, 1), "y": (0, 1)}}, "'l-bfgs-b' or an optimizer of optax"),
        ({"optimizer": "gauss-newton"}, "'l-bfgs-b' or an optimizer of optax"),
        ({"loss": lambda p: p["x"] ** 2}, "needs diffea.Composite"),
        ({"optimizer": optax.lbfgs()}, "line search"),
        ({"validate": BOWL}, "neither with validate"),
        ({"schedules": {"x": lambda _: 1.0}}, "neither with validate nor with schedules"),
        ({"constraint": TOTAL}, "is a diffea.Constraint"),
    ],
)
def test_what_a_constraint_does_not_go_with(options, match):
    given = {
        "loss": BOWL,
        "optimizer": optax.adam(0.1),
        "steps": 4,
        "constraint": Constraint(TOTAL, at_most=1.0),
        **options,
    }
    with pytest.raises(errors.ParameterError, match=match):
        optimise(given.pop("loss"), START, **given)
