"""Many parameter points in one pass: ``jax.vmap`` over templates, soft, hard and with derivatives, with the bits of one by one."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import distribute, errors, soft

POINTS = {
    "mt": jnp.array([45.0, 20.0, 61.5]),
    "jet_pt": jnp.array([32.0, 40.0, 25.0]),
    "shift": jnp.array([0.5, -1, 2]),
}
ONE_BY_ONE = [{name: POINTS[name][number] for name in POINTS} for number in range(3)]


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=["jacobian", "vjp", "by-bin"])
def templates(request, fileset):
    with distribute(Search(), fileset, schemaclass=QuietSchema, chunksize=700, gradient=request.param) as templates:
        yield templates


@pytest.fixture
def passes(templates):
    """How many passes were made since the test began."""
    before = templates.passes
    return lambda: templates.passes - before


def loss(templates, params):
    return sum(
        jnp.sum(jnp.sqrt(50.0 + t.values)) + 1e-3 * jnp.sum(t.variances**1.5) for t in templates(params).values()
    )


def assert_same_bits(many, one_by_one):
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *one_by_one)
    jax.tree.map(np.testing.assert_array_equal, many, stacked)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_values_have_the_bits_of_one_by_one_in_one_pass(templates, passes, wrap):
    many = wrap(jax.vmap(templates))(POINTS)
    assert passes() == 1
    assert many["few", "signal"].values.shape == (3, 8)
    assert_same_bits(many, [templates(point) for point in ONE_BY_ONE])


def test_hard_templates_are_one_pass_too(templates, passes):
    many = jax.vmap(templates.hard)(POINTS)
    with soft.hard():
        again = jax.jit(jax.vmap(templates))(POINTS)
    assert passes() == 2
    assert_same_bits(many, [templates.hard(point) for point in ONE_BY_ONE])
    jax.tree.map(np.testing.assert_array_equal, again, many)


def test_gradients_are_those_of_one_by_one(templates, passes):
    def value(params):  # linear in the sums, so that the cotangents are the same numbers however they are computed
        return sum(jnp.sum(t.values) + 0.5 * jnp.sum(t.variances) for t in templates(params).values())

    many = jax.jit(jax.vmap(jax.value_and_grad(value)))(POINTS)
    assert passes() == (2 if templates._gradient == "vjp" else 1)
    for number, point in enumerate(ONE_BY_ONE):
        found, gradient = jax.value_and_grad(value)(point)
        assert float(many[0][number]) == pytest.approx(float(found), rel=1e-14)
        for name in point:
            np.testing.assert_allclose(many[1][name][number], gradient[name], rtol=1e-12)


def test_gradients_of_a_curved_loss_agree_with_finite_differences(templates):
    evaluate = functools.partial(loss, templates)
    gradients = jax.vmap(jax.grad(evaluate))(POINTS)
    for name, values in POINTS.items():
        up, down = (jax.vmap(evaluate)({**POINTS, name: values + sign * 1e-3}) for sign in (1, -1))
        np.testing.assert_allclose(gradients[name], (up - down) / 2e-3, rtol=1e-5, atol=1e-7)


def test_forward_derivatives_at_many_points(templates, passes):
    many = jax.vmap(jax.jacfwd(lambda params: templates.forward(params).values_flat))(POINTS)
    assert passes() == 1
    for number, point in enumerate(ONE_BY_ONE):
        one = templates.jacobian(point)
        found = np.stack([many[name][number] for name in sorted(POINTS)], axis=1)
        np.testing.assert_array_equal(found, one.flat[0])


def test_only_some_parameters_may_differ(templates, passes):
    axes = {"mt": 0, "jet_pt": None, "shift": None}
    points = {**PARAMS, "mt": POINTS["mt"]}
    many = jax.vmap(templates, in_axes=(axes,))(points)
    assert passes() == 1
    assert_same_bits(many, [templates({**PARAMS, "mt": mt}) for mt in POINTS["mt"]])


def test_nested_points_are_one_pass(templates, passes):
    """A grid: outer points differ in one parameter, inner ones in another."""
    inner = jax.vmap(lambda jet_pt, mt: templates({"mt": mt, "jet_pt": jet_pt, "shift": 0.5}), in_axes=(0, None))
    grid = jax.vmap(inner, in_axes=(None, 0))(POINTS["jet_pt"], POINTS["mt"])
    assert passes() == 1
    assert grid.values_flat.shape[:2] == (3, 3)
    one = templates({"mt": POINTS["mt"][1], "jet_pt": POINTS["jet_pt"][2], "shift": 0.5})
    np.testing.assert_array_equal(grid.values_flat[1, 2], one.values_flat)


def test_one_point_and_none(templates, passes):
    one = jax.tree.map(lambda leaf: leaf[:1], POINTS)
    assert_same_bits(jax.vmap(templates)(one), [templates(ONE_BY_ONE[0])])
    before = passes()
    none = jax.vmap(templates)(jax.tree.map(lambda leaf: leaf[:0], POINTS))
    assert none.values_flat.shape == (0, one_size(templates))
    assert passes() == before


def one_size(templates):
    return templates.layout(PARAMS).size


def test_fills_tell_what_a_pass_computed(templates):
    def spent(run):
        passes, fills = templates.passes, templates.fills
        run()
        return templates.passes - passes, templates.fills - fills

    assert spent(lambda: jax.vmap(templates)(POINTS)) == (1, 3)
    assert spent(lambda: templates.hard(PARAMS)) == (1, 1)
    passes, fills = spent(lambda: jax.vmap(jax.grad(functools.partial(loss, templates)))(POINTS))
    if templates._gradient == "vjp":
        assert (passes, fills) == (2, 3 * (1 + 2))
    elif templates._gradient == "jacobian":
        assert (passes, fills) == (1, pytest.approx(3 * (1 + 0.35 * 3)))
    else:
        assert passes == 1
        assert fills > 9


def test_exact_cuts_have_no_derivative_at_many_points(templates):
    with pytest.raises(errors.StrategyError, match="no derivative"):
        jax.vmap(jax.grad(lambda params: jnp.sum(templates.hard(params).values_flat)))(POINTS)


def test_a_point_that_is_not_finite_is_named(templates):
    points = {**POINTS, "shift": jnp.array([0.5, jnp.nan, 2.0])}
    with pytest.raises(errors.NotFiniteError, match="at the parameters"):
        jax.vmap(templates)(points)


# ---------------------------------------------------------------------------------------------------------------------------
# the scale of the widths travels with the parameters


class Wide(Search):
    """The same search with widths of another size."""

    def __init__(self, scale):
        self.scale = scale

    def fill(self, params, columns):
        with soft.sharpened(self.scale):
            yield from super().fill(params, columns)


def test_widths_sharpened_around_templates_are_those_sharpened_in_fill(fileset, templates):
    with distribute(Wide(0.25), fileset, schemaclass=QuietSchema, chunksize=700) as narrow:
        expected = narrow(PARAMS)
        with soft.sharpened(2.0):
            both = narrow(PARAMS)
    with soft.sharpened(0.25):
        found, jacobian = templates(PARAMS), templates.jacobian(PARAMS)
    np.testing.assert_allclose(found.values_flat, expected.values_flat, rtol=1e-12, atol=1e-12)
    assert np.abs(found.values_flat - templates(PARAMS).values_flat).max() > 1.0
    assert np.abs(jacobian.flat - templates.jacobian(PARAMS).flat).max() > 1e-3
    with soft.sharpened(0.5):
        np.testing.assert_allclose(both.values_flat, templates(PARAMS).values_flat, rtol=1e-12, atol=1e-12)


def test_a_scale_may_be_an_argument_of_a_compiled_function(templates, passes):
    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def sharp(params, scale):
        with soft.sharpened(scale):
            return templates(params)

    many = sharp(PARAMS, jnp.array([1.0, 0.1]))
    assert passes() == 1
    with soft.sharpened(0.1):
        np.testing.assert_array_equal(many.values_flat[1], templates(PARAMS).values_flat)
    np.testing.assert_array_equal(many.values_flat[0], templates(PARAMS).values_flat)


def test_a_scale_has_no_derivative_and_must_be_positive(templates):
    def sharp(scale):
        with soft.sharpened(scale):
            return jnp.sum(templates(PARAMS).values_flat)

    with pytest.raises(errors.StrategyError, match=r"by the scale of soft\.sharpened"):
        jax.grad(sharp)(0.5)
    with pytest.raises(errors.WidthError, match="positive scale"):
        jax.vmap(sharp)(jnp.array([1.0, -1.0]))


def test_soft_templates_are_soft_whatever_was_asked_first(fileset, templates):
    with distribute(Search(), fileset, schemaclass=QuietSchema, chunksize=700) as fresh:
        with soft.hard():
            exact = fresh(PARAMS)
        found = fresh(PARAMS)
    np.testing.assert_array_equal(exact.values_flat, templates.hard(PARAMS).values_flat)
    np.testing.assert_array_equal(found.values_flat, templates(PARAMS).values_flat)
