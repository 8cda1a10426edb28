"""Exact: sums of numbers that no order of adding changes, not even in the last bit.

A floating-point number is a whole multiple of 2⁻¹⁰⁷⁴, so that a sum is a whole number, and is rounded once, at the end. Hard histograms are
the same whatever the chunks and the cluster, and those of any other program that sums exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diffea.errors import NotFiniteError

UNIT = 1074  # minus the exponent of the smallest number
BITS = 36  # of which sums of AT_ONCE numbers are exact in floating point
AT_ONCE = 1 << 17  # numbers, which stay in the processor's cache


def exact_sums(places: np.ndarray, numbers: np.ndarray, size: int) -> np.ndarray:
    """Sums of the numbers that go to each place.

    Args:
        places: from 0 up to, and not, ``size``, shape ``(numbers,)``.
        numbers: finite, shape ``(numbers,)``.
        size: how many places there are.

    Returns:
        whole numbers in units of 2⁻¹⁰⁷⁴, as objects, shape ``(size,)``; ``rounded`` makes floating-point numbers of them.
    """
    total = np.zeros(size, object)
    for start in range(0, len(numbers), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        for exponent, sums in _by_bits(places[part], numbers[part], size):
            for place in np.flatnonzero(sums):
                whole, shift = int(sums[place]), exponent + UNIT
                total[place] += whole << shift if shift >= 0 else whole >> -shift  # of zeros: there is no smaller unit
    return total


def _by_bits(places: np.ndarray, numbers: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """The sums of the first bits of all numbers, in units of two to an exponent, then those of the next bits, until there are no more."""
    exponent = int(np.frexp(np.abs(numbers).max(initial=0.0))[1])
    rest = numbers
    while rest.any():
        exponent -= BITS
        first = np.rint(_times_two_to(-exponent, rest))
        yield exponent, np.bincount(places, first, minlength=size)
        rest = rest - _times_two_to(exponent, first)


def _times_two_to(exponent: int, numbers: np.ndarray) -> np.ndarray:
    return numbers * 2.0**exponent if abs(exponent) < 1000 else np.ldexp(numbers, exponent)


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
