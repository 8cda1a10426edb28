"""Parameters that are none are named, whether they have a name or are all of φ."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffea.errors import ParameterError
from diffea.parameters import as_arrays, names


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (float("nan"), "^the parameter must be finite, got nan"),
        ("many", "^the parameter must be a number .*got str"),
        ({"mt": float("inf")}, "^parameter 'mt' must be finite"),
        ({"net": [{"bias": "x"}]}, "^parameter 'net.0.bias' must be a number"),
    ],
)
def test_which_parameter_is_wrong(params: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        as_arrays(params)


@pytest.mark.parametrize(
    "leaf",
    [
        "1.5",
        b"12",
        np.array(["1.5"]),
        np.array([1.0], object),
        decimal.Decimal("1.5"),
        10**400,
        True,
        np.array([True, False]),
        jnp.array([True]),
        np.datetime64("2020-01-01"),
        np.timedelta64(3, "s"),
        np.array([1], "datetime64[s]"),
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        1j,
        np.complex64(1.0),
        jnp.array([1j]),
        np.zeros(2, [("a", float)]),
        np.ma.masked_array([1.0, 2.0], [False, True]),
        jax.random.key(0),
        {1.0, 2.0},
        jax.ShapeDtypeStruct((2,), float),
    ],
    ids=lambda leaf: f"{leaf!r:.30}",
)
def test_what_is_no_real_number_is_no_parameter(leaf: Any) -> None:
    with pytest.raises(ParameterError, match=r"parameter 'a\.0' must be a number or an array of numbers, got"):
        as_arrays({"a": [leaf]})


@pytest.mark.parametrize(
    "leaf", [3, np.int8(3), np.float16(3), jnp.bfloat16(3), np.longdouble(3), np.uint64(3), np.array(3)]
)
def test_real_numbers_of_every_type_become_float64(leaf: Any) -> None:
    (array,) = jax.tree.leaves(as_arrays({"a": leaf}))
    assert (float(array), array.dtype) == (3.0, np.float64)


def test_what_is_complex_or_boolean_within_jax_is_refused_as_well() -> None:
    for leaf in (1j * jnp.ones(2), jnp.ones(2) > 0):
        with pytest.raises(ParameterError, match="parameter 'a' must be a number"):
            jax.jit(as_arrays)({"a": leaf})


def test_a_module_with_functions_says_how_to_give_its_arrays() -> None:
    module = {"layers": [{"weight": np.ones((2, 2))}], "activation": jax.nn.relu}
    with pytest.raises(ParameterError, match=r"parameter 'activation' .* is a function: .*equinox.partition\(module"):
        as_arrays(module)


@pytest.mark.parametrize(
    "params", [{"a.b": 1.0, "a": {"b": 2.0}}, {"a": [1.0], "a.0": 2.0}, {"x": {"y.z": 1.0}, "x.y": {"z": 2.0}}]
)
def test_two_parameters_of_one_name_are_refused(params: Any) -> None:
    assert len(set(names(params))) == 1
    with pytest.raises(ParameterError, match=f"name of its own, got several called '{names(params)[0]}'"):
        as_arrays(params)


def test_keys_that_have_no_order_are_refused() -> None:
    with pytest.raises(ParameterError, match="keys of one type"):
        as_arrays({1: 1.0, "1": 2.0})
