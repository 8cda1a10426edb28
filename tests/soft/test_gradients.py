"""Derivatives of every soft operation, forward and reverse, to second order, against finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from diffea import soft
from diffea.events.ragged import Ragged

X = np.array([-3.0, 0.3, 1.1, 1.9, 2.6, 7.0])
MASK = np.array([[True, True, True], [True, False, False], [False, False, False], [True, True, False]])
PASSED = np.array([[0.3, 0.8, 0.6], [0.7, 0.5, 0.5], [0.5, 0.5, 0.5], [0.2, 0.9, 0.5]])
VALUES = np.array([[1.3, 4.0, 2.2], [0.7, 1.0, 1.0], [1.0, 1.0, 1.0], [5.0, 3.1, 1.0]])
FACTOR = soft.ScaleFactor(("x", "y"), ([0.0, 1.5], [2.0]), np.array([[0.9, 1.2], [1.1, 0.8], [1.0, 0.7]]))
FILE = {
    "corrections": [
        {
            "name": "folded",
            "inputs": [{"name": "x", "type": "real"}],
            "data": {
                "nodetype": "transform",
                "input": "x",
                "rule": {"nodetype": "formula", "expression": "x^2 + 1", "parser": "TFormula", "variables": ["x"]},
                "content": {
                    "nodetype": "binning",
                    "input": "x",
                    "edges": [1.0, 4.0, 60.0],
                    "content": [
                        {"nodetype": "formula", "expression": "exp(-x/5)", "parser": "TFormula", "variables": ["x"]},
                        0.3,
                    ],
                    "flow": 0.9,
                },
            },
        }
    ]
}
READ = soft.ScaleFactor.from_correctionlib(FILE, "folded")


def objects(values):
    return Ragged(values, MASK)


def cut(operation, shape):
    return lambda x, *numbers: operation(x, *numbers[:-1], width=numbers[-1], shape=shape)


def cleaned(eta, phi, distance):
    others = objects(VALUES + 0.2), objects(0.3 * VALUES)
    return soft.away_from(objects(eta), objects(phi), *others, distance, width=0.3, cut=objects(PASSED)).where(0.0)


def sharpened(scale):
    with soft.sharpened(scale):
        return soft.above(X, 1.0, width=0.7)


def gaussian(x, params):
    return -0.5 * ((x - params[0]) / params[1]) ** 2 - jnp.log(params[1])


OPERATIONS = {
    "above sigmoid": (cut(soft.above, "sigmoid"), X, 1.3, 0.8),
    "above normal": (cut(soft.above, "normal"), X, 1.3, 0.8),
    "above polynomial": (cut(soft.above, "polynomial"), X, 1.3, 0.8),
    "below": (cut(soft.below, "sigmoid"), X, 1.3, 0.8),
    "between": (cut(soft.between, "normal"), X, 0.5, 2.1, 0.8),
    "outside": (cut(soft.outside, "sigmoid"), X, 0.5, 2.1, 0.8),
    "all_of": (soft.all_of, X, 2 * X, X - 1),
    "any_of": (soft.any_of, X, 2 * X, X - 1),
    "not_": (soft.not_, X),
    "count": (lambda p: soft.count(objects(p)), PASSED),
    "at_least": (lambda p: soft.at_least(2, objects(p)), PASSED),
    "exactly": (lambda p: soft.exactly(1, objects(p)), PASSED),
    "at_most": (lambda p: soft.at_most(1, objects(p)), PASSED),
    "sum": (lambda x, p: soft.sum(objects(x), objects(p)), VALUES, PASSED),
    "leading": (lambda x, p, d: soft.leading(2, objects(x), objects(p), default=d), VALUES, PASSED, 0.4),
    "max": (lambda x, p: soft.max(objects(x), objects(p)), VALUES, PASSED),
    "min": (lambda x, p: soft.min(objects(x), objects(p)), VALUES, PASSED),
    "nth": (lambda p: soft.nth(2, objects(p), objects(VALUES)).where(0.0), PASSED),
    "pairs": (lambda x: [member.where(0.0) for member in soft.pairs(objects(x))], VALUES),
    "invariant_mass": (
        lambda p, q: soft.invariant_mass(tuple(p), tuple(q)),
        X[2:] / 2,
        np.array([2.0, -0.3, 0.2, 0.1]),
    ),
    "delta_phi": (soft.delta_phi, X, X[::-1] - 0.1),
    "delta_r": (soft.delta_r, X, X / 2, X[::-1], X[::-1] / 3),
    "away_from": (cleaned, VALUES, 0.3 * VALUES + 0.1, 0.4),
    "choice": (lambda logits, t: soft.choice(logits, [X, 2 * X, -X], temperature=t), np.array([0.1, 1.2, -0.4]), 0.7),
    "rank": (lambda x, s: soft.rank(objects(x), strength=s).where(0.0), VALUES, 1.3),
    "sort": (lambda x, s: soft.sort(objects(x), strength=s).where(0.0), VALUES, 0.9),
    "ScaleFactor": (lambda x, y, w: FACTOR(x, y, width=(w, 0.5)), X, X[::-1], 0.8),
    "ScaleFactor of a file": (lambda x, w: READ(x, width=w), X, 0.8),
    "reweight": (lambda x, p: soft.reweight(gaussian, x, p, (1.0, 2.0)), X, np.array([1.3, 1.7])),
    "sharpened": (sharpened, 0.6),
}


def test_no_operation_is_missing():
    settings = {"hard", "is_hard"}
    assert {name.split()[0] for name in OPERATIONS} == set(soft.__all__) - settings


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives(name):
    function, *arguments = OPERATIONS[name]
    check_grads(jax.jit(function), arguments, order=2, modes=("fwd", "rev"), eps=1e-4, atol=1e-5, rtol=1e-5)
