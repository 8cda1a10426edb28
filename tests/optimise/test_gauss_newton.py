"""Gauss–Newton: the minima of L-BFGS-B in fewer passes, within bounds, to the same bits after a resumption."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests import samples
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import errors, objectives
from diffea.distributed import distribute
from diffea.optimise import Composite, anneal, optimise
from diffea.statistics import HistFactory

START = {"x": -1.2, "y": np.array([1.0, 0.3])}


def valley(params):
    """Residuals of Rosenbrock's function, and a third parameter that enters in a curved way."""
    y, z = params["y"]
    return {"r": jnp.stack([10.0 * (y - params["x"] ** 2), 1.0 - params["x"]]), "z": jnp.exp(z) - 2.0 * z}


def squares(t):
    return jnp.sum(t["r"] ** 2) + t["z"]


ROSENBROCK = Composite(valley, squares)  # lowest at x = y = 1, z = log 2


def test_reaches_a_minimum_whose_curvature_is_partly_learned() -> None:
    result = optimise(ROSENBROCK, START, optimizer="gauss-newton", steps=60)
    np.testing.assert_allclose(result.params["y"], [1.0, np.log(2.0)], atol=1e-4)
    assert float(result.params["x"]) == pytest.approx(1.0, abs=1e-4)
    assert len(result.history) < 40
    assert result.message.startswith("Gauss–Newton: ")
    assert [step.step for step in result.history] == list(range(1, len(result.history) + 1))


def test_stays_within_bounds_that_hold_the_minimum_back() -> None:
    bounds = {"x": (-2.0, 0.6), "y": (np.array([-np.inf, 0.0]), np.array([2.0, 0.5]))}
    found = {
        optimizer: optimise(ROSENBROCK, START, optimizer=optimizer, steps=200, bounds=bounds)
        for optimizer in ("gauss-newton", "l-bfgs-b")
    }
    lowest = {name: min(step.loss for step in result.history) for name, result in found.items()}
    assert lowest["gauss-newton"] == pytest.approx(lowest["l-bfgs-b"], rel=1e-6)
    assert float(found["gauss-newton"].params["x"]) == 0.6
    assert float(found["gauss-newton"].params["y"][1]) == 0.5


def test_resumes_to_the_same_bits(tmp_path) -> None:
    run = functools.partial(optimise, ROSENBROCK, START, optimizer="gauss-newton", steps=12)
    whole = run()

    class KilledError(Exception):
        pass

    def kill(step):
        if step.step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        run(checkpoint=tmp_path, progress=kill)
    resumed = run(checkpoint=tmp_path, resume=True)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [step.loss for step in whole.history] == [step.loss for step in resumed.history]


def test_the_best_validated_point_is_kept() -> None:
    result = optimise(ROSENBROCK, START, optimizer="gauss-newton", steps=40, validate=lambda p: (p["x"] + 0.5) ** 2)
    validated = [step.validation for step in result.history]
    assert float((result.params["x"] + 0.5) ** 2) == pytest.approx(min(validated))


def test_a_step_that_leads_up_is_taken_back() -> None:
    """From x = 0.09 Newton's step for arctan(20 x) leads beyond zero, and up: the next one begins at 0.09 again, a quarter as long."""
    steep = Composite(lambda p: jnp.arctan(20.0 * p["x"]), lambda residual: residual**2)
    result = optimise(steep, {"x": 0.09}, optimizer="gauss-newton", steps=8, validate=lambda p: p["x"])
    places = [step.validation for step in result.history]
    losses = np.arctan(20.0 * np.array(places)) ** 2
    np.testing.assert_allclose([step.loss for step in result.history], losses, rtol=1e-12)
    higher = [i for i in range(1, 7) if losses[i] > losses[:i].min()]
    assert higher[0] == 1
    for i in higher:
        best = places[int(np.argmin(losses[:i]))]
        assert abs(places[i + 1] - best) <= 0.25001 * abs(places[i] - best)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"loss": lambda p: p["x"] ** 2}, errors.ParameterError, r"diffea.Composite\(templates, objective\)"),
        ({"schedules": {"x": anneal(1, 2)}}, errors.ParameterError, "'gauss-newton' cannot follow"),
        ({"loss": Composite(valley, lambda t: t["r"])}, errors.LossError, r"shape \(2,\)"),
        ({"loss": Composite(valley, lambda t: jnp.log(t["r"][1] - 3.0))}, errors.NotFiniteError, "loss is nan"),
    ],
)
def test_what_makes_no_sense_is_named(arguments, error, text) -> None:
    given = {"loss": ROSENBROCK, **arguments}
    with pytest.raises(error, match=text):
        optimise(given.pop("loss"), START, optimizer="gauss-newton", steps=3, **given)


SAMPLES = [
    {"name": "signal", "data": "signal", "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
    {
        "name": "bkg",
        "data": "bkg",
        "modifiers": [
            {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}},
            {"name": "stat", "type": "staterror", "data": "bkg"},
        ],
    },
]
SPEC = {"channels": [{"name": "few", "samples": SAMPLES}]}


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """Of events with all their jets, on which both descents end in one corner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "MOST", None)
        fileset = write_fileset(tmp_path_factory.mktemp("data"))
    with distribute(Search(), fileset, schemaclass=QuietSchema, gradient="vjp") as templates:
        yield templates


@pytest.mark.slow
def test_one_pass_a_step_and_the_minimum_of_l_bfgs_b(templates) -> None:
    """Also where the gradient is otherwise taken in reverse mode: Gauss–Newton asks for the Jacobian by itself."""
    model = HistFactory(SPEC)
    bounds = {"mt": (20.0, 70.0), "jet_pt": (20.0, 60.0), "shift": (-2.0, 2.0)}
    loss = Composite(templates, lambda T: objectives.cls(model(T)))
    found = {}
    for optimizer in ("l-bfgs-b", "gauss-newton"):
        before = templates.passes
        result = optimise(loss, PARAMS, optimizer=optimizer, steps=40, bounds=bounds)
        found[optimizer] = min(step.loss for step in result.history), len(result.history), templates.passes - before
    lowest, evaluations, passes = found["gauss-newton"]
    assert lowest <= found["l-bfgs-b"][0] * (1 + 1e-5)
    assert passes == evaluations
    assert passes < found["l-bfgs-b"][2]
