"""What holds for any objects: their order does not matter, nor do those that fail or are not there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffea import histograms, soft
from diffea.events.ragged import Ragged

SLOTS = 5


@jax.jit
def summaries(values, passed, mask):
    """Whatever summarises the objects of an event, one column each."""
    x, cut = Ragged(values, mask), Ragged(passed, mask)
    found = [soft.count(cut), soft.sum(x, cut), soft.max(x, cut, default=-1.0), soft.min(x, cut, default=-1.0)]
    found += [soft.leading(2, x, cut), soft.at_least(2, cut), soft.exactly(1, cut), soft.at_most(3, cut)]
    return jnp.stack(found, axis=1)


rows = st.lists(st.floats(0.0, 1e3), min_size=SLOTS, max_size=SLOTS, unique=True)
shares = st.lists(st.floats(0.0, 1.0), min_size=SLOTS, max_size=SLOTS)


@settings(max_examples=60, deadline=None)
@given(
    values=rows,
    passed=shares,
    present=st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS),
    order=st.permutations(range(SLOTS)),
)
def test_order_and_failing_objects_do_not_matter(values, passed, present, order):
    x, p, mask = np.array([values]), np.array([passed]), np.array([present])
    found = summaries(x, p, mask)
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(summaries(x[:, order], p[:, order], mask[:, order]), found, atol=1e-9)
    np.testing.assert_allclose(summaries(x, np.where(mask, p, 0.0), np.ones_like(mask)), found, atol=1e-9)


def test_columns_without_any_object_have_finite_values_and_gradients():
    mask = np.zeros((3, 4), bool)

    def everything(scale):
        x = Ragged(scale * jnp.ones((3, 4)), mask)
        cut = soft.all_of(soft.above(x, scale, width=1.0), soft.not_(soft.outside(x, 0.0, 2.0 * scale, width=1.0)))
        members = [soft.pairs(x) for _ in range(4)]
        mass = soft.invariant_mass(tuple(m[0] for m in members), tuple(m[1] for m in members))
        near = soft.away_from(x, x, x, x, 0.4 * scale, width=0.1, cut=cut)
        columns = [soft.rank(x, strength=scale), soft.sort(x, strength=scale), soft.nth(1, cut, x), mass, near]
        total = sum(column.sum() for column in columns) + soft.max(x) + soft.choice(jnp.ones(2) * scale, [x, cut]).sum()
        return jnp.sum(total) + jnp.sum(histograms.fill(x, [0.0, 1.0, 2.0], cut)[0])

    value, gradient = jax.jit(jax.value_and_grad(everything))(1.0)
    assert value == 0.0
    assert gradient == 0.0
