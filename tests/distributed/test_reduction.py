"""The fixed tree: the same bits from any partition in any order, and a ledger without gaps or doubles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffea.distributed.reduction import Partial, merge
from diffea.errors import LedgerError


def leaf(batches: int, index: int, value: float) -> Partial:
    return Partial(batches, {(0, index): (1, np.array([value]))})


@settings(deadline=None)
@given(st.data())
def test_any_partition_in_any_order_gives_the_same_bits(data) -> None:
    batches = data.draw(st.integers(1, 40))
    values = np.random.default_rng(batches).normal(size=batches) * 10.0 ** np.arange(batches)
    leaves = [leaf(batches, index, value) for index, value in enumerate(values)]
    order = data.draw(st.permutations(range(batches)))
    cuts = sorted(data.draw(st.lists(st.integers(0, batches), max_size=5)))
    groups = [order[a:b] for a, b in zip([0, *cuts], [*cuts, batches], strict=True) if b > a]
    total = merge(merge(leaves[index] for index in group) for group in groups)
    assert total.events == batches
    assert total.total.tobytes() == merge(leaves).total.tobytes()
    np.testing.assert_allclose(total.total, values.sum(), rtol=1e-9)


def test_a_gap_is_an_error() -> None:
    with pytest.raises(LedgerError, match="events are missing"):
        _ = merge([leaf(3, 0, 1.0), leaf(3, 2, 1.0)]).total


@pytest.mark.parametrize("again", [0, 3])
def test_a_double_is_an_error(again) -> None:
    with pytest.raises(LedgerError, match="twice"):
        merge([merge([leaf(4, 0, 1.0), leaf(4, 1, 1.0), leaf(4, 3, 1.0)]), leaf(4, again, 1.0)])
