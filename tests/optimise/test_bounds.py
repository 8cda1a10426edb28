"""At a bound the gradient is the one from within, by finite differences, and steps are those of projected descent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffea.optimise import Composite, optimise
from diffea.optimise.box import Box

BOUNDS = {"cut": (0.3, 0.9), "net": (np.array([-1.0, -np.inf]), np.array([0.5, 2.0]))}  # 0.3 + (0.9 − 0.3) > 0.9
CORNERS = {"lower": {"cut": 0.3, "net": np.array([-1.0, 0.3])}, "upper": {"cut": 0.9, "net": np.array([0.5, 2.0])}}
LOSS = Composite(
    lambda p: jnp.stack([p["cut"] - 0.5, *(p["net"] - 0.1)]),
    lambda r: jnp.sum(r**2) + 0.2 * r[0] * r[1] - r[2],
)
OPTIMIZERS = {"sgd": optax.sgd(1e-3), "adam": optax.adam(1e-3), "l-bfgs-b": "l-bfgs-b", "gauss-newton": "gauss-newton"}


def slopes_from_within(start):
    """Finite differences in the units of steps: of the range where it is finite."""
    slopes, low, high = [], *(np.append(BOUNDS["cut"][side], BOUNDS["net"][side]) for side in (0, 1))
    flat = np.append(start["cut"], start["net"])

    def value(x):
        return float(LOSS({"cut": x[0], "net": x[1:]}))

    for i, x in enumerate(flat):
        unit = high[i] - low[i] if np.isfinite(high[i] - low[i]) else 1.0
        inward = 1e-6 * unit * (-1.0 if x == high[i] else 1.0)
        near, far = (np.where(np.arange(3) == i, x + k * inward, flat) for k in (1, 2))
        slopes.append((4 * value(near) - value(far) - 3 * value(flat)) / (2 * inward) * unit)
    return slopes


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_gradient_at_a_bound_is_the_one_from_within(optimizer, corner) -> None:
    result = optimise(LOSS, CORNERS[corner], optimizer=optimizer, steps=1, bounds=BOUNDS)
    expected = np.linalg.norm(slopes_from_within(CORNERS[corner]))
    assert result.history[0].gradient_norm == pytest.approx(expected, rel=1e-7)


def test_beyond_a_bound_the_loss_is_flat_and_its_value_that_of_the_bound() -> None:
    box = Box.of({"x": jnp.asarray(1.0)}, {"x": (0.0, 4.0)})
    loss = jax.value_and_grad(lambda u: box.to_params(u)["x"] ** 2)
    for u, value, slope in ((0.5, 4.0, 16.0), (1.0, 16.0, 32.0), (1.25, 16.0, 0.0), (-0.25, 0.0, 0.0)):
        found, gradient = loss({"x": jnp.asarray(u)})
        assert (float(found), float(gradient["x"])) == (value, slope)


def test_steps_are_those_of_projected_gradient_descent() -> None:
    """A learning rate that is negative for ten steps drives uphill against the bound; then descent leaves it at once."""
    x, expected = 0.5, []
    for step in range(20):
        expected.append((x - 0.25) ** 2)
        x = np.clip(x - (-0.3 if step < 10 else 0.1) * 2 * (x - 0.25), 0.0, 1.0)
    rate = optax.join_schedules([optax.constant_schedule(-0.3), optax.constant_schedule(0.1)], [10])
    result = optimise(
        lambda p: (p["x"] - 0.25) ** 2, {"x": 0.5}, optimizer=optax.sgd(rate), steps=20, bounds={"x": (0.0, 1.0)}
    )
    np.testing.assert_allclose([step.loss for step in result.history], expected, rtol=1e-12)
    assert expected.count(0.75**2) > 5
