"""Exact: sums of numbers that no order of adding changes, not even in the last bit.

A floating-point number is a whole multiple of 2⁻¹¹²⁶, so that a sum is a whole number, and is rounded once, at the end. Hard histograms are
the same whatever the chunks and the cluster, and those of any other program that sums exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diffea.errors import NotFiniteError

UNIT = 1126  # minus the exponent of the last of 53 bits of the smallest number, 2⁻¹⁰⁷⁴
HALF = 26  # bits; sums of so many bits of up to 2²⁶ numbers are exact in floating point
AT_ONCE = 1 << HALF


def exact_sums(places: np.ndarray, numbers: np.ndarray, size: int) -> np.ndarray:
    """Sums of the numbers that go to each place.

    Args:
        places: from 0 up to, and not, ``size``, shape ``(numbers,)``.
        numbers: finite, shape ``(numbers,)``.
        size: how many places there are.

    Returns:
        whole numbers in units of 2⁻¹¹²⁶, as objects, shape ``(size,)``; ``rounded`` makes floating-point numbers of them.
    """
    total = np.zeros(size, object)
    for start in range(0, len(numbers), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        for place, exponent, summed in _by_exponent(places[part], numbers[part], size):
            total[place] += summed << (exponent + UNIT - 53)
    return total


def _by_exponent(places: np.ndarray, numbers: np.ndarray, size: int) -> Iterator[tuple[int, int, int]]:
    """Place, exponent and sum of the mantissas, of 53 bits, that have both."""
    mantissas, exponents = np.frexp(numbers)
    first = int(exponents.min(initial=0))
    many = int(exponents.max(initial=0)) - first + 1
    cells = places * many + (exponents - first)
    high = np.floor(mantissas * 2.0 ** (53 - HALF))
    low = mantissas * 2.0**53 - high * 2.0**HALF
    sums = [np.bincount(cells, half, minlength=size * many) for half in (high, low)]
    for cell in np.flatnonzero((sums[0] != 0) | (sums[1] != 0)):
        place, exponent = divmod(int(cell), many)
        yield place, exponent + first, (int(sums[0][cell]) << HALF) + int(sums[1][cell])


def rounded(sums: np.ndarray) -> np.ndarray:
    """Exact sums, any shape, as the floating-point numbers that are nearest to them; others as they are.

    Raises:
        NotFiniteError: if a sum is beyond all floating-point numbers.
    """
    if sums.dtype != object:
        return sums
    try:
        return np.array([total / (1 << UNIT) for total in sums.flat], float).reshape(sums.shape)
    except OverflowError as error:
        msg = "a hard histogram's sum of weights, or of their squares, is beyond the largest floating-point number: scale the weights"
        raise NotFiniteError(msg) from error
