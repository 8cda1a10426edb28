"""Soft sort and rank against the definition: a Euclidean projection onto the permutahedron, by quadratic programming."""

from __future__ import annotations

import itertools

import awkward as ak
import jax
import numpy as np
import pytest
import scipy.optimize

from diffea import soft
from diffea.errors import WidthError
from diffea.events.ragged import Ragged

ROWS = [[3.0, 1.0, 2.2], [0.3, 0.1, 0.25, 0.9, -1.0], [], [4.0], [1.0, 1.0, 5.0]]


@pytest.fixture(scope="module")
def column():
    return Ragged.from_awkward(ak.Array(ROWS))


@jax.jit
def rank(x, strength):
    return soft.rank(x, strength=strength)


@jax.jit
def sort(x, strength):
    return soft.sort(x, strength=strength)


def projected(z, w):
    """The point of the permutahedron of ``w`` nearest to ``z``, as a mixture of all permutations."""
    corners = np.array(list(itertools.permutations(w)))
    share = scipy.optimize.nnls(np.vstack([corners.T, 1e4 * np.ones(len(corners))]), np.append(z, 1e4), maxiter=10000)[
        0
    ]
    return share @ corners


@pytest.mark.parametrize("strength", [0.1, 1.0, 10.0])
def test_projection(column, strength):
    ranks = rank(column, strength)
    values = sort(column, strength)
    for event, row in enumerate(ROWS):
        if row:
            rho = np.arange(len(row), 0, -1)
            oracle = projected(-np.array(row) / strength, rho)
            np.testing.assert_allclose(np.asarray(ranks.values)[event, : len(row)], oracle, atol=2e-3)
            oracle = projected(rho / strength, sorted(row, reverse=True))
            np.testing.assert_allclose(np.asarray(values.values)[event, : len(row)], oracle, atol=2e-3)
    np.testing.assert_allclose(values.sum(), [sum(row) for row in ROWS], atol=1e-12)
    np.testing.assert_allclose(ranks.sum(), [len(row) * (len(row) + 1) / 2 for row in ROWS], atol=1e-12)


def test_weak_regularisation_and_the_hard_twin_are_exact(column):
    with soft.hard():
        ranks, values = rank(column, 1.0), sort(column, 1.0)
    np.testing.assert_array_equal(ranks.where(0)[0, :3], [1, 3, 2])
    np.testing.assert_array_equal(values.where(0)[1, :5], sorted(ROWS[1], reverse=True))
    np.testing.assert_allclose(rank(column, 1e-3).where(0)[:4], ranks.where(0)[:4], atol=1e-12)
    np.testing.assert_allclose(sort(column, 1e-3).where(0), values.where(0), atol=1e-12)


def test_rank_does_not_depend_on_the_order_of_objects(column):
    backwards = Ragged(np.asarray(column.values)[:2, 2::-1], np.asarray(column.mask)[:2, 2::-1])
    forwards = Ragged(np.asarray(column.values)[:2, :3], np.asarray(column.mask)[:2, :3])
    left, right = rank(backwards, 1.0), rank(forwards, 1.0)
    np.testing.assert_allclose(left.values[:, ::-1], right.values, atol=1e-12)


def test_no_strength_is_an_error(column):
    with pytest.raises(WidthError, match="positive"):
        soft.rank(column, strength=0.0)
    with pytest.raises(WidthError, match="positive"):
        soft.sort(column, strength=-1.0)
