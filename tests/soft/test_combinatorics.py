"""Pairs, masses and distances against awkward and vector; cleaning against loops."""

from __future__ import annotations

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vector

from diffea import soft
from diffea.errors import ColumnError, CountError
from diffea.events.ragged import Ragged


@pytest.fixture(scope="module")
def jets(jagged):
    random = np.random.default_rng(8)
    counts, total = ak.num(jagged), ak.sum(ak.num(jagged))
    return ak.zip(
        {
            "pt": jagged,
            "eta": ak.unflatten(random.normal(0, 1.5, total), counts),
            "phi": ak.unflatten(random.uniform(-np.pi, np.pi, total), counts),
            "mass": ak.unflatten(random.uniform(0, 15, total), counts),
        },
        with_name="Momentum4D",
    )


@pytest.fixture(scope="module")
def columns(jets):
    return {name: Ragged.from_awkward(jets[name]) for name in ("pt", "eta", "phi", "mass")}


def test_dijet_masses_are_those_of_vector(jets, columns):
    vector.register_awkward()
    first, second = ak.unzip(ak.combinations(jets, 2))
    members = [soft.pairs(columns[name]) for name in ("pt", "eta", "phi", "mass")]
    mass = soft.invariant_mass(tuple(m[0] for m in members), tuple(m[1] for m in members))
    np.testing.assert_array_equal(mass.num(), ak.num(first))
    np.testing.assert_allclose(mass.sum(), ak.sum((first + second).mass, axis=1), rtol=1e-9)
    largest = ak.fill_none(ak.max((first + second).mass, axis=1), 0)
    np.testing.assert_allclose(soft.max(mass), largest, rtol=1e-9)
    distance = soft.delta_r(members[1][0], members[2][0], members[1][1], members[2][1])
    np.testing.assert_allclose(distance.sum(), ak.sum(first.deltaR(second), axis=1), rtol=1e-12)


def test_cleaning_is_a_loop_over_pairs(jets, columns):
    random = np.random.default_rng(1)
    shifted = {name: columns[name] + random.normal(0, 0.3) for name in ("eta", "phi")}
    good = soft.above(columns["pt"], 25.0, width=4.0)
    clear = soft.away_from(columns["eta"], columns["phi"], shifted["eta"], shifted["phi"], 0.4, width=0.1, cut=good)
    for event in range(len(jets)):
        for j in range(int(columns["eta"].num()[event])):
            expected = 1.0
            for k in range(int(columns["eta"].num()[event])):
                deta = columns["eta"].values[event, j] - shifted["eta"].values[event, k]
                dphi = (columns["phi"].values[event, j] - shifted["phi"].values[event, k] + np.pi) % (2 * np.pi) - np.pi
                near = 1 / (1 + np.exp((np.hypot(deta, dphi) - 0.4) / 0.1))
                expected *= 1 - near * float(good.values[event, k])
            np.testing.assert_allclose(clear.values[event, j], expected, rtol=1e-11)
    with soft.hard():
        exact = soft.away_from(columns["eta"], columns["phi"], columns["eta"], columns["phi"], 0.4, width=0.1)
    assert soft.sum(exact) is not None
    np.testing.assert_array_equal(exact.where(0), 0)  # every object is near to itself


def test_one_slot_has_no_pairs():
    first, second = soft.pairs(Ragged.from_awkward(ak.Array([[1.0], []])))
    assert first.num().tolist() == second.num().tolist() == [0, 0]
    np.testing.assert_array_equal(soft.max(first), 0)


def test_delta_phi_is_within_half_a_turn():
    phi = np.linspace(-10, 10, 101)
    difference = np.asarray(soft.delta_phi(phi, 1.0))
    assert np.all((difference > -np.pi) & (difference <= np.pi))
    np.testing.assert_allclose(np.exp(1j * difference), np.exp(1j * (phi - 1)))


def test_coinciding_directions_and_massless_particles_have_finite_gradients():
    def total(eta):
        mass = soft.invariant_mass((10.0, eta, 0.3, 0.0), (5.0, 1.0, 0.3, 0.0))
        return mass + soft.delta_r(eta, 0.3, 1.0, 0.3)

    value, gradient = jax.value_and_grad(total)(1.0)
    assert abs(value) < 1e-5
    assert jnp.isfinite(gradient)


def test_a_massless_particle_at_rest_has_a_finite_gradient():
    """Missing transverse momentum may be 0."""
    met = jnp.array([0.0, 30.0])

    def total(scale):
        mass = soft.invariant_mass((met * scale, 0.0, 0.5, 0.0), (40.0, 0.3, 2.0, 0.0), (0.0, 1.0, 1.0, 0.0))
        return jnp.sum(mass)

    value, gradient = jax.value_and_grad(total)(1.0)
    expected = np.sqrt(2 * 30 * 40 * (np.cosh(0.3) - np.cos(1.5)))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected / 2, rtol=1e-12)


@pytest.mark.parametrize("mass", [0.0, 0.1057])
def test_masses_of_near_particles_keep_their_digits_in_32_bits(mass):
    particles = [(50.0, 2.5, 0.0, mass), (20.0, 2.45, 0.03, mass)]
    exact = sum(
        (vector.obj(pt=pt, eta=eta, phi=phi, mass=m) for pt, eta, phi, m in particles), vector.obj(x=0, y=0, z=0, t=0)
    )
    columns = [tuple(np.array([value], np.float32) for value in particle) for particle in particles]
    found = soft.invariant_mass(*columns)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact.mass, rtol=3e-6)


def test_masses_of_whole_numbers_are_those_of_vector():
    """In MeV, whose squares have no place in 32 bits."""
    particles = [(125_003, 1, 0, 105_658), (91_188, -1, 3, 80_379)]
    exact = sum(
        (vector.obj(pt=pt, eta=eta, phi=phi, mass=m) for pt, eta, phi, m in particles), vector.obj(x=0, y=0, z=0, t=0)
    )
    found = soft.invariant_mass(*(tuple(np.array([value], np.int32) for value in one) for one in particles))
    np.testing.assert_allclose(found, exact.mass, rtol=1e-12)


def test_other_events_are_an_error(columns):
    with pytest.raises(ColumnError, match="same events"):
        soft.away_from(columns["eta"], columns["phi"], *(Ragged.from_awkward(ak.Array([[1.0]])),) * 2, 0.4, width=0.1)


def test_events_without_a_pair():
    """A block in which no event has two objects."""
    first, second = soft.pairs(Ragged.from_awkward(ak.Array([[50.0], [], [30.0]])))
    mass = soft.invariant_mass((first, 0.0, 0.0, 0.0), (second, 0.0, 1.0, 0.0))
    near = soft.above(mass, 10.0, width=1.0)
    np.testing.assert_array_equal(soft.at_least(1, near), [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(soft.leading(1, mass, default=-1.0), [-1.0, -1.0, -1.0])
    np.testing.assert_array_equal(soft.sort(mass, strength=1.0).num() + soft.rank(mass, strength=1.0).num(), [0, 0, 0])


@pytest.mark.parametrize(
    "use",
    [
        soft.pairs,
        soft.sum,
        soft.max,
        soft.min,
        lambda x: soft.leading(1, x),
        lambda x: soft.nth(1, x, x),
        lambda x: soft.rank(x, strength=1.0),
        lambda x: soft.sort(x, strength=1.0),
        lambda x: soft.away_from(x, x, x, x, 0.4, width=0.1),
    ],
)
def test_one_number_an_event_is_no_column_of_objects(use):
    with pytest.raises(CountError, match="expected one value an object"):
        use(np.ones(3))
