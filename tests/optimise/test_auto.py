"""The default optimizer finds the global minimum with exact cuts, tells what it did, and resumes to the same bits."""

from __future__ import annotations

import functools
import sys
import threading

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from tests.optimise import two_basins

from diffea import anneal, errors, optimise, soft
from diffea.optimise import Composite, descend, explore


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return two_basins.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def loss(fileset):
    templates, loss = two_basins.composite(fileset)
    with templates:
        yield loss


@pytest.fixture(scope="module")
def found(loss):
    return optimise(loss, two_basins.START, bounds=two_basins.BOUNDS)


@pytest.fixture(scope="module")
def lowest():
    """By brute force on a grid of exact cuts."""
    events = two_basins.events()
    grid = np.meshgrid(np.linspace(0.5, 9.5, 451), np.linspace(0, 1, 101))
    return min(two_basins.exact(*point, events) for point in zip(*map(np.ravel, grid), strict=True))


def test_the_global_minimum_is_found_where_gradients_stay_in_the_first(loss, found, lowest):
    gradients = optimise(loss, two_basins.START, optimizer="l-bfgs-b", steps=40, bounds=two_basins.BOUNDS)
    assert float(gradients.params["center"]) == pytest.approx(2.0, abs=0.3)
    assert float(found.params["center"]) == pytest.approx(7.5, abs=0.3)
    assert found.hard <= lowest + 1e-9 * abs(lowest)


def test_the_hard_loss_is_that_of_plain_cuts(found):
    assert found.hard == pytest.approx(two_basins.exact(*(float(found.params[k]) for k in ("center", "quality"))))


def test_the_history_tells_phases_points_and_cost(loss, found):
    phases = list(dict.fromkeys(step.phase for step in found.history))
    assert phases[:4] == ["explore", "descend", "evolve", "sharpen"]
    assert "verify" in phases
    assert [step.step for step in found.history] == list(range(1, found.passes + 1))
    for step in found.history:
        soft_pass = step.gradient_norm is not None
        assert step.fills == pytest.approx(step.points * (1 + 0.35 * 2 if soft_pass else 1))
        assert (step.widths is not None) == soft_pass
    assert found.fills == pytest.approx(sum(step.fills for step in found.history))
    assert found.hard == min(step.loss for step in found.history if step.gradient_norm is None)


def test_each_parameter_is_told_to_be_at_a_minimum(found):
    assert set(found.scans) == set(two_basins.START)
    for name, scan in found.scans.items():
        value = float(found.params[name])
        assert list(scan.values) == sorted(scan.values)
        assert value in scan.values
        assert scan.losses[scan.values.index(value)] == found.hard == min(scan.losses)
        assert scan.at == "minimum"


def test_a_parameter_at_its_bound_is_told():
    bowl = Composite(lambda params: params, lambda at: (at["x"] - 2.0) ** 2 + (at["y"] - 0.3) ** 2 + (at["z"] + 1) ** 2)
    found = optimise(bowl, {"x": 0.5, "y": 0.5, "z": 0.5}, bounds={"x": (0.0, 1.0), "y": (0.0, 1.0), "z": (0.0, 1.0)})
    assert {name: scan.at for name, scan in found.scans.items()} == {
        "x": "upper bound",
        "y": "minimum",
        "z": "lower bound",
    }
    assert (float(found.params["x"]), float(found.params["z"])) == (1.0, 0.0)


def test_the_same_bits_again_and_after_a_resume(loss, found, tmp_path):
    def same(other):
        assert other.hard == found.hard
        assert all(np.array_equal(other.params[name], found.params[name]) for name in found.params)
        assert [(s.loss, s.gradient_norm, s.points) for s in other.history] == [
            (s.loss, s.gradient_norm, s.points) for s in found.history
        ]
        assert other.scans == found.scans

    def stop(after, step):
        if step.step == after:
            raise KeyboardInterrupt

    options = {"bounds": two_basins.BOUNDS, "checkpoint": tmp_path}
    for after in (1, 4, found.passes - 1):
        with pytest.raises(KeyboardInterrupt):
            optimise(loss, two_basins.START, progress=functools.partial(stop, after), resume=after > 1, **options)
    before = loss.templates.passes
    same(optimise(loss, two_basins.START, resume=True, **options))
    assert loss.templates.passes - before <= 1 + found.passes - (found.passes - 2)


def test_steps_are_passes_at_most(loss):
    few = optimise(loss, two_basins.START, bounds=two_basins.BOUNDS, steps=3)
    assert few.passes == 3
    assert few.message == "all 3 passes made"
    assert few.hard == min(step.loss for step in few.history if step.gradient_norm is None)
    none = optimise(loss, two_basins.START, bounds=two_basins.BOUNDS, steps=0)
    assert none.history == ()
    assert none.hard is None


def plain(params):
    """Templates of plain JAX, without a distributed function."""
    x = jnp.linspace(-3.0, 3.0, 2001)
    return jnp.sum(soft.above(x, params["cut"], width=0.3) * x), jnp.sum(jnp.asarray(params["free"]) ** 2)


def test_any_function_of_soft_cuts_will_do_and_what_has_no_bounds_is_only_descended_along():
    loss = Composite(plain, lambda sums: -sums[0] / 100 + jnp.sum((sums[1] - 4.0) ** 2))
    found = optimise(loss, {"cut": 2.0, "free": 1.5}, bounds={"cut": (-2.0, 2.5)})
    assert set(found.scans) == {"cut"}
    assert float(found.params["free"]) == pytest.approx(2.0, abs=0.02)
    assert float(found.params["cut"]) == pytest.approx(0.0, abs=0.02)


def test_points_where_the_statistics_fail_are_passed_by(loss):
    def failing(templates):
        value = two_basins.objective(templates)
        return jnp.where(jnp.sum(templates["all", "signal"].values) < 20, jnp.nan, value)

    found = optimise(Composite(loss.templates, failing), two_basins.START, bounds=two_basins.BOUNDS)
    assert float(found.params["center"]) == pytest.approx(7.5, abs=0.3)
    with pytest.raises(errors.NotFiniteError, match="a number nowhere"):
        optimise(Composite(loss.templates, lambda _: jnp.nan), two_basins.START, bounds=two_basins.BOUNDS)


def test_a_loss_that_is_flat_everywhere_is_refused(loss):
    with pytest.raises(errors.FlatLossError, match="wherever it was looked at"):
        optimise(Composite(loss.templates, lambda _: jnp.asarray(3.0)), two_basins.START, bounds=two_basins.BOUNDS)


def test_a_loss_in_one_piece_is_refused():
    with pytest.raises(errors.ParameterError, match="Composite"):
        optimise(lambda params: params["x"] ** 2, {"x": 1.0})


@pytest.mark.parametrize("optimizer", ["cma", "tpe"])
def test_black_boxes_see_exact_cuts_at_several_points_a_pass(loss, lowest, optimizer):
    runs = [optimise(loss, two_basins.START, bounds=two_basins.BOUNDS, optimizer=optimizer, steps=25) for _ in (0, 1)]
    assert runs[0].hard == runs[1].hard
    assert runs[0].passes == 25
    assert runs[0].fills == pytest.approx(sum(step.points for step in runs[0].history))
    assert runs[0].hard < 0.6 * lowest + 0.4 * two_basins.exact(*two_basins.START.values())
    with pytest.raises(errors.ParameterError, match=r"give \(low, high\) for 'center'"):
        optimise(loss, two_basins.START, bounds={"quality": (0, 1)}, optimizer=optimizer, steps=4)


def test_a_missing_package_is_named(loss, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(errors.MissingPackageError, match=r"pip install 'diffea\[blackbox\]'"):
        optimise(loss, two_basins.START, bounds=two_basins.BOUNDS, optimizer="tpe", steps=4)


def test_a_single_parameter_is_looked_at_all_along(loss):
    line = Composite(lambda params: loss.templates({**params, "quality": 0.5}), loss.objective)
    found = optimise(line, {"center": 2.3}, bounds={"center": (0.5, 9.5)})
    centers = np.linspace(0.5, 9.5, 1801)
    lowest = min(two_basins.exact(center, 0.5, two_basins.events()) for center in centers)
    assert found.hard <= lowest + 0.01


# ---------------------------------------------------------------------------------------------------------------------------
# annealing is a property of the loss, for every optimizer


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "gauss-newton"])
def test_widths_go_down_in_stages_of_optimizers_that_need_one_loss(loss, optimizer, tmp_path):
    options = {"optimizer": optimizer, "bounds": two_basins.BOUNDS, "widths": anneal(1.0, 0.25), "steps": 30}
    start = {"center": 7.0, "quality": 0.3}
    found = optimise(loss, start, **options)
    widths = list(dict.fromkeys(step.widths for step in found.history))
    assert widths == pytest.approx([1.0, 0.5, 0.25])
    with soft.sharpened(0.25):
        assert float(loss(found.params)) == pytest.approx(found.history[-1].loss, rel=1e-3)
    half = optimise(loss, start, checkpoint=tmp_path, **{**options, "steps": 30}, progress=None)
    assert [step.loss for step in half.history] == [step.loss for step in found.history]
    wide = optimise(loss, start, **{**options, "widths": None})
    exact = [two_basins.exact(*(float(r.params[k]) for k in ("center", "quality"))) for r in (found, wide)]
    assert exact[0] < exact[1]


def test_widths_follow_the_steps_of_optax(loss):
    found = optimise(
        loss, {"center": 7.0, "quality": 0.3}, optimizer=optax.adam(0.03), steps=5,
        bounds=two_basins.BOUNDS, widths=anneal(1.0, 0.1),
    )  # fmt: skip
    with soft.sharpened(0.1):
        assert found.history[-1].loss == pytest.approx(float(loss(found.params)), rel=1e-12)


@pytest.mark.parametrize("widths", [lambda fraction: -1.0, lambda fraction: None, 0.5])
def test_widths_that_are_none_are_named(loss, widths):
    with pytest.raises(errors.ParameterError, match="widths"):
        optimise(loss, two_basins.START, optimizer="l-bfgs-b", steps=4, bounds=two_basins.BOUNDS, widths=widths)


@pytest.mark.parametrize("optimizer", ["auto", "cma"])
def test_widths_of_a_search_with_exact_cuts_are_refused(loss, optimizer):
    with pytest.raises(errors.ParameterError, match="leave out widths"):
        optimise(loss, two_basins.START, bounds=two_basins.BOUNDS, optimizer=optimizer, widths=lambda f: 1.0, steps=4)


# ---------------------------------------------------------------------------------------------------------------------------
# the parts


def test_the_spread_points_fill_the_box_and_leave_the_rest_at_the_start():
    low, high, begin = np.array([0.0, -np.inf, 2.0]), np.array([1.0, np.inf, 4.0]), np.array([0.25, 7.0, 3.0])
    points = explore.spread(low, high, begin, np.array([True, False, True]), 33)
    np.testing.assert_array_equal(points[0], begin)
    np.testing.assert_array_equal(points[:, 1], 7.0)
    for axis, number in ((0, 4), (2, 4)):  # of 32 points of a Sobol sequence each quarter of each axis holds eight
        counts, _ = np.histogram(points[1:, axis], number, (low[axis], high[axis]))
        np.testing.assert_array_equal(counts, 8)
    np.testing.assert_array_equal(points, explore.spread(low, high, begin, np.array([True, False, True]), 33))


def test_points_apart_are_the_best_of_each_neighbourhood():
    points = np.array([[0.0, 0.0], [0.05, 0.05], [0.5, 0.0], [0.5, 0.3], [1.0, 1.0]])
    values = np.array([2.0, 1.0, 3.0, 2.5, np.inf])
    assert explore.apart(points, values, 3, 0.1) == [1, 3, 2]
    assert explore.apart(points, values, 1, 0.1) == [1]


def test_descents_side_by_side_are_those_of_scipy():
    """Rosenbrock's valley from three starts, in a box."""
    asked = []

    def evaluate(points):
        asked.append(len(points))
        return np.array([scipy.optimize.rosen(x) for x in points]), np.array(
            [scipy.optimize.rosen_der(x) for x in points]
        )

    starts, low, high = np.array([[-1.0, 1.0], [0.5, 1.5], [1.0, 1.0]]), np.full(2, -2.0), np.array([0.8, 2.0])
    points, losses = descend.together(evaluate, starts.clip(low, high), low, high, 200)
    for start, point, loss in zip(starts, points, losses, strict=True):
        one = scipy.optimize.minimize(
            scipy.optimize.rosen, start.clip(low, high), jac=scipy.optimize.rosen_der, method="L-BFGS-B",
            bounds=scipy.optimize.Bounds(low, high),
        )  # fmt: skip
        assert loss <= one.fun
        np.testing.assert_allclose(point, one.x, atol=1e-6)
    assert asked[0] == 3
    few, _ = descend.together(evaluate, starts[:1], low, high, 3)
    assert scipy.optimize.rosen(few[0]) >= losses[0]


def test_an_error_ends_all_descents():
    def evaluate(points):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        descend.together(evaluate, np.zeros((3, 2)), np.full(2, -1.0), np.ones(2), 10)
    assert threading.active_count() == before


def test_validation_chooses_among_what_was_the_best_once(loss, found):
    def far(params):  # prefers what was found before the search went to the deeper basin
        return (params["center"] - 2.0) ** 2

    chosen = optimise(loss, two_basins.START, bounds=two_basins.BOUNDS, validate=far)
    assert chosen.hard >= found.hard
    assert abs(float(chosen.params["center"]) - 2.0) <= abs(float(found.params["center"]) - 2.0)
