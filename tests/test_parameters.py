"""Parameters that are none are named, whether they have a name or are all of φ."""

from __future__ import annotations

from typing import Any

import pytest

from diffea.errors import ParameterError
from diffea.parameters import as_arrays


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
