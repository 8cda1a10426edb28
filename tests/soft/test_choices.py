"""Choices: mixtures, hardening, straight-through."""

from __future__ import annotations

import contextlib

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea import soft
from diffea.errors import ChoiceError, WidthError
from diffea.events.ragged import Ragged

OPTIONS = [np.array([1.0, 2.0]), np.array([3.0, -1.0]), np.array([0.0, 5.0])]
LOGITS = jnp.array([0.1, 1.2, -0.4])


def test_a_choice_is_the_softmax_mixture():
    shares = np.exp(np.array(LOGITS) / 0.5) / np.sum(np.exp(np.array(LOGITS) / 0.5))
    np.testing.assert_allclose(soft.choice(LOGITS, OPTIONS, temperature=0.5), shares @ np.stack(OPTIONS))
    np.testing.assert_allclose(soft.choice(LOGITS, np.stack(OPTIONS), temperature=0.5), shares @ np.stack(OPTIONS))


def test_it_hardens_to_one_option():
    with soft.hard():
        np.testing.assert_array_equal(soft.choice(LOGITS, OPTIONS), OPTIONS[1])
        undefined = [np.full(2, np.nan), OPTIONS[1], np.full(2, np.inf)]
        np.testing.assert_array_equal(jax.jit(lambda logits: soft.choice(logits, undefined))(LOGITS), OPTIONS[1])
    with soft.sharpened(1e-3):
        np.testing.assert_allclose(soft.choice(LOGITS, OPTIONS), OPTIONS[1])


def test_straight_through_has_the_hard_value_and_the_soft_gradient():
    def total(logits, straight):
        return jnp.sum(soft.choice(logits, OPTIONS, straight_through=straight))

    assert total(LOGITS, True) == sum(OPTIONS[1])
    np.testing.assert_allclose(jax.grad(total)(LOGITS, True), jax.grad(total)(LOGITS, False))


def test_options_may_be_pytrees_of_ragged_columns():
    columns = [{"jets": Ragged.from_awkward(ak.Array([[1.0, 2.0], []])) * k, "met": np.full(2, k)} for k in (1, 2, 4)]
    mixed = soft.choice(jnp.zeros(3), columns)
    np.testing.assert_allclose(mixed["jets"].where(0), [[7 / 3, 14 / 3], [0, 0]])
    np.testing.assert_allclose(mixed["met"], 7 / 3)


def test_nonsense_is_an_error():
    with pytest.raises(ChoiceError, match="one logit for each option"):
        soft.choice(LOGITS, OPTIONS[:2])
    with pytest.raises(WidthError, match="positive"):
        soft.choice(LOGITS, OPTIONS, temperature=0.0)


@pytest.mark.parametrize("hard", [False, True])
def test_options_of_unlike_objects_are_no_number(hard):
    jets = Ragged.from_awkward(ak.Array([[1.0, 5.0], [6.0, 7.0]]))
    tight = jets.keep(jets > 2)
    with soft.hard() if hard else contextlib.nullcontext():
        total = jax.jit(lambda logits: soft.choice(logits, [jets, tight]).sum())(jnp.array([0.0, 9.0]))
    assert np.isnan(total[0])
    np.testing.assert_allclose(total[1], 13.0)


@pytest.mark.parametrize("other", [np.ones((2, 1)), 1.0, {"a": np.ones(2)}])
def test_options_that_are_not_alike(other):
    for hard in (False, True):
        with (
            soft.hard() if hard else contextlib.nullcontext(),
            pytest.raises(ChoiceError, match="same structure and shapes"),
        ):
            soft.choice([0.0, 1.0], [np.ones(2), other])
