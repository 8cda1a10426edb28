"""What makes no sense among parameters, bounds, options and losses is named before the first step."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffea import errors
from diffea.optimise import Composite, anneal, optimise

VECTOR = {"x": 1.0, "net": [np.array([1.0, 2.0]), 3.0]}

SMALL_STEPS = optax.sgd(0.01)


class Cuts(NamedTuple):
    mt: float
    iso: float


def loss(params):
    return (params["x"] - 2.0) ** 2 + jnp.sum(params["net"][0] ** 2) + params["net"][1] ** 2


def run(bounds=None, params=VECTOR, loss=loss, optimizer=SMALL_STEPS, steps=2, **options):
    return optimise(loss, params, optimizer=optimizer, steps=steps, bounds=bounds, **options)


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"x": (np.nan, 2.0)}, "'x' must be .* low < high"),
        ({"x": (0.0, np.nan)}, "'x' must be .* low < high"),
        ({"x": (2.0, 0.0)}, "'x' must be .* low < high"),
        ({"x": (1.0, 1.0)}, "'x' must be .* low < high"),
        ({"net": [([0.0, 5.0], [3.0, 4.0]), None]}, "'net.0' must be .* low < high"),
        ({"x": (-1e308, 1e308)}, "'x' are so far apart"),
        ({"x": (0.0, 1.0, 2.0)}, "'x' must be a pair"),
        ({"x": 2.0}, "'x' must be a pair"),
        ({"x": "01"}, "'x' must be a pair"),
        ({"x": {0.0: 1, 5.0: 2}}, "'x' must be a pair"),
        ({"x": {0.0, 5.0}}, "'x' must be a pair"),
        ({"x": ("0", "5")}, "'x' must be .* each a number"),
        ({"x": (False, True)}, "'x' must be .* each a number"),
        ({"x": (0.0, 5j)}, "'x' must be .* each a number"),
        ({"net": [(np.zeros(3), 9.0), None]}, r"of its shape \(2,\), got the shapes \(3,\)"),
        ({"net": {"0": (0.0, 9.0)}}, "bounds for '0' in 'net', but no such parameter"),
        ({"net": [None, (0.0, 9.0), (0.0, 9.0)]}, "bounds for 2 in 'net', but no such parameter"),
        ({"net": [(0.0, 9.0)]}, "for 'net.1' got"),
        ({"z": None, "y": (0.0, 1.0)}, "bounds for 'y', but no such parameter; there are: net, x"),
        ((0.0, 9.0), "pytree like the parameters"),
        ("x", "pytree like the parameters"),
        (3.0, "pytree like the parameters"),
    ],
)
def test_bounds_of_another_structure_or_order_are_refused(bounds, text) -> None:
    with pytest.raises(errors.ParameterError, match=text):
        run(bounds)


@pytest.mark.parametrize(
    ("params", "bounds"),
    [
        (Cuts(1.0, 2.0), Cuts((0.0, 1.5), None)),
        (Cuts(1.0, 2.0), {"mt": (0.0, 1.5)}),
        ([None, 1.0, 2.0], [None, (0.0, 1.5), None]),
        ((1.0, 2.0), [(0.0, 1.5), (None, np.inf)]),
        ({"a": 1.0, "b": {"c": 2.0}}, {"a": np.array([0.0, 1.5])}),
    ],
)
def test_bounds_may_be_given_as_the_parameters_are(params, bounds) -> None:
    def uphill(params):
        first, second = params.values() if isinstance(params, dict) else [p for p in params if p is not None]
        return -first - (second["c"] if isinstance(second, dict) else second)

    found = run(bounds, params=params, loss=uphill, optimizer=optax.sgd(1.0), steps=4).params
    first = found["a"] if isinstance(found, dict) else next(p for p in found if p is not None)
    assert float(first) == 1.5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        *(
            ({"steps": steps}, "steps is a number of steps, 0 or more")
            for steps in (1.5, np.nan, 3.0, True, "3", None, -1)
        ),
        *(({"validate_every": every}, "validate_every is a number of steps, 1") for every in (0.5, True, None)),
        *(({"patience": patience}, "patience is a number of validations, 1") for patience in (2.5, np.inf, True)),
        ({"loss": 3.0}, "loss is a function, got 3.0"),
        ({"progress": "yes"}, "progress is a function"),
        ({"validate": 1.0}, "validate is a function"),
        ({"resume": True}, "resume goes on from a checkpoint"),
        ({"params": {}}, "no parameter to optimise"),
        ({"schedules": True}, "schedules is a dict of functions by parameter"),
        ({"schedules": [anneal(9.0, 1.0)]}, "schedules is a dict of functions by parameter"),
        ({"schedules": {"x": 3.0}}, "schedule of 'x' must map the fraction"),
        ({"schedules": {"x": lambda _: np.nan}}, "schedule of 'x' must map the fraction .* got nan"),
        ({"schedules": {"x": lambda _: np.ones(2)}}, r"schedule of 'x' must .* of shape \(\)"),
        ({"schedules": {"x": anneal(9.0, 1.0)}, "bounds": {"x": (0.0, 5.0)}}, "'x' is set to 9.0, outside"),
    ],
)
def test_options_that_make_no_sense_are_named(options, text) -> None:
    with pytest.raises(errors.ParameterError, match=text):
        run(**options)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (np.inf, 1.0), (np.nan, 1.0), (1.0, np.inf)])
def test_a_schedule_goes_through_positive_numbers(ends) -> None:
    with pytest.raises(errors.ParameterError, match="positive"):
        anneal(*ends)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_validation_that_is_no_number_is_not_passed_over(value) -> None:
    with pytest.raises(errors.NotFiniteError, match=r"validation loss is (nan|inf)"):
        run(validate=lambda _: value)


OPTIMIZERS = {"sgd": optax.sgd(0.1), "lbfgs": optax.lbfgs(), "l-bfgs-b": "l-bfgs-b", "gauss-newton": "gauss-newton"}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("bounds", [None, {"x": (1.0, 2.0), "y": (None, 4.0)}])
def test_a_start_at_which_the_loss_is_flat_is_refused(optimizer, bounds) -> None:
    """As CLs is where it underflows: exp(−1000 x²) is 0, and all that is seen of it."""
    underflow = Composite(
        lambda p: jnp.stack([p["x"], p["y"]]), lambda t: jnp.exp(-1000.0 * t[0] ** 2) * (1 + t[1] ** 2)
    )
    with pytest.raises(errors.FlatLossError, match=r"normalisation, or minimise `objectives.log_cls`"):
        run(bounds, params={"x": 1.0, "y": 1.0}, loss=underflow, optimizer=optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_start_in_the_minimum_is_not_flat(optimizer) -> None:
    residuals = Composite(lambda p: jnp.stack([p["x"] - 2.0, p["y"]]), lambda r: 7.0 + r[0] ** 2 - r[1] ** 2)
    result = run(params={"x": 2.0, "y": 0.0}, loss=residuals, optimizer=optimizer)
    assert (float(result.params["x"]), float(result.params["y"])) == (2.0, 0.0)


def test_a_bound_that_holds_the_start_does_not_make_it_flat() -> None:
    """All of the gradient leads out of the bounds: the best point there is, and none to refuse."""
    result = run({"x": (0.0, 1.0)}, params={"x": 1.0}, loss=lambda p: -p["x"], optimizer="l-bfgs-b")
    assert float(result.params["x"]) == 1.0
    assert result.history[0].gradient_norm == 1.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda x: None, "one number, got NoneType"),
        (lambda x: "low", "one number, got str"),
        (lambda x: (x, x), "one number, got tuple"),
        (lambda x: {"loss": x}, "one number, got dict"),
        (lambda x: [], "one number, got list"),
        (lambda x: object(), "one number, got object"),
        (lambda x: x * 1j, r"shape \(\) of complex128"),
        (lambda x: x > 0, r"shape \(\) of bool"),
        (lambda x: jnp.stack([x]), r"shape \(1,\) of float64"),
    ],
)
@pytest.mark.parametrize("optimizer", ["sgd", "gauss-newton"])
def test_a_loss_that_is_no_real_number_is_named(value, text, optimizer) -> None:
    residual = Composite(lambda p: p["x"], value)
    with pytest.raises(errors.LossError, match=f"the loss must be .*{text}"):
        run(params={"x": 1.0}, loss=residual, optimizer=OPTIMIZERS[optimizer])


def test_a_gradient_whose_square_is_no_number_has_a_norm() -> None:
    result = run(params={"x": 3.0, "y": 4.0}, loss=lambda p: 1e200 * (3.0 * p["x"] + 4.0 * p["y"]), steps=1)
    assert result.history[0].gradient_norm == pytest.approx(5e200)
