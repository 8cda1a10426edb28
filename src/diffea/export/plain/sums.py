"""Sums of weights that depend on no order: the same histograms whatever the chunks and the executor, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np

UNIT = 1074  # minus the exponent of the smallest floating-point number, of which every other one is a whole multiple
BITS = 26  # of which sums are exact in floating point


def exact_sums(places: Any, weights: Any, size: int) -> Any:
    """Sum of the weights at each place, as whole numbers in units of 2**-1074."""
    total = np.zeros(size, object)
    for start in range(0, len(weights), 1 << BITS):
        where, rest = places[start : start + (1 << BITS)], weights[start : start + (1 << BITS)]
        exponent = int(np.frexp(np.abs(rest).max())[1])
        while rest.any():
            exponent -= BITS
            first = np.rint(np.ldexp(rest, -exponent))
            sums, shift = np.bincount(where, first, minlength=size), exponent + UNIT
            for place in np.flatnonzero(sums):
                whole = int(sums[place])
                total[place] += whole << shift if shift >= 0 else whole >> -shift
            rest = rest - np.ldexp(first, exponent)
    return total


def rounded(total: Any) -> Any:
    """Exact sums as the nearest floating-point numbers."""
    return np.array([number / (1 << UNIT) for number in total.flat], float).reshape(total.shape)
