"""Sums that no order changes: against the standard library's correctly rounded sum and exact fractions."""

from __future__ import annotations

import math

import hist
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from diffea import DifferentiableProcessor, Fill, distribute, errors
from diffea.program.exact import AT_ONCE, exact_sums, rounded


@pytest.mark.parametrize("exponents", [(-3, 3), (-1074, -1000), (900, 1000), (-1060, 1000)])
def test_a_sum_is_the_correctly_rounded_one_in_any_order(exponents: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    numbers = np.ldexp(rng.uniform(-1, 1, 3000), rng.integers(*exponents, 3000))
    places = rng.integers(0, 5, 3000)
    expected = [math.fsum(numbers[places == place]) for place in range(5)]
    order = rng.permutation(3000)
    whole = exact_sums(places, numbers, 5)
    shuffled = exact_sums(places[order], numbers[order], 5)
    parts = exact_sums(places[:700], numbers[:700], 5) + exact_sums(places[700:], numbers[700:], 5)
    for found in (whole, shuffled, parts):
        np.testing.assert_array_equal(rounded(found), expected)


def test_many_of_one_number_do_not_overflow_a_mantissa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffea.program.exact.AT_ONCE", 1000)
    found = exact_sums(np.zeros(2500, int), np.full(2500, 0.1), 1)
    assert rounded(found)[0] == math.fsum([0.1] * 2500)


def test_as_many_as_are_summed_at_once_fit_into_a_mantissa() -> None:
    random = np.random.default_rng(8)
    numbers = np.nextafter(1.0, 0.0) - 2.0**-53 * random.integers(0, 1 << 20, AT_ONCE)
    assert rounded(exact_sums(np.zeros(AT_ONCE, int), numbers, 1))[0] == math.fsum(numbers)


def test_nothing_is_zero_and_too_much_is_an_error() -> None:
    np.testing.assert_array_equal(rounded(exact_sums(np.zeros(0, int), np.zeros(0), 3)), np.zeros(3))
    with pytest.raises(errors.NotFiniteError, match="beyond the largest"):
        rounded(exact_sums(np.zeros(2, int), np.full(2, 1.7e308), 1))


class Weighted(DifferentiableProcessor):
    """One channel, filled with the weights that there are."""

    channels = {"c": hist.axis.Regular(3, 0, 1, name="x")}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "w": events.w}

    def fill(self, params, columns):
        yield Fill("c", columns["x"], columns["w"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):

    rng = np.random.default_rng(5)
    x, w = rng.uniform(size=4000), rng.lognormal(0, 5, 4000) * rng.choice([-1, 1], 4000)
    path = tmp_path_factory.mktemp("exact") / "events.root"
    with uproot.recreate(path) as file:
        file["Events"] = {"x": x, "w": w}
    return {"s": {"files": {str(path): "Events"}}}, x, w


def test_hard_histograms_are_correctly_rounded_whatever_the_chunks(written) -> None:
    fileset, x, w = written
    inside = np.minimum((x * 3).astype(int), 2)
    expected = [[math.fsum(terms[inside == place]) for place in range(3)] for terms in (w, w * w)]
    for chunksize in (4000, 613):
        with distribute(Weighted(), fileset, schemaclass=BaseSchema, chunksize=chunksize) as templates:
            found = templates.hard({"unused": 0.0})
        np.testing.assert_array_equal(found["c", "s"].values, expected[0])
        np.testing.assert_array_equal(found["c", "s"].variances, expected[1])


def test_weights_whose_squares_are_infinite_are_named(written) -> None:
    class Huge(Weighted):
        def fill(self, params, columns):
            yield Fill("c", columns["x"], columns["w"] * 1e200)

    with (
        distribute(Huge(), written[0], schemaclass=BaseSchema) as templates,
        pytest.raises(errors.NotFiniteError, match="squares that are infinite"),
    ):
        templates.hard({"unused": 0.0})
