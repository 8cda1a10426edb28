"""Scalars: NumPy's numbers, which metadata and sums over events often are, as Python's own."""

from __future__ import annotations

from typing import Any

import numpy as np

Static = str | bool | int | float | None
"""A plain Python value among the columns, on which ``fill`` may branch."""


def plain(value: object) -> Any:
    """A NumPy scalar or an array of no dimensions as the Python value that it is.

    What no ``Static`` stands for (complex numbers, dates, bytes), and whatever is no scalar, is left as it is.
    """
    if getattr(value, "shape", None) != () or np.asarray(value).dtype.kind not in "biufU":
        return value
    number = np.asarray(value)
    return float(number) if number.dtype.kind == "f" else number.item()
