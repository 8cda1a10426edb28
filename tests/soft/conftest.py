"""Ragged columns for the tests of this room."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from diffea.events.ragged import Ragged


@pytest.fixture(scope="session")
def jagged() -> ak.Array:
    """Transverse momenta of 0 to 4 objects in each of 40 events, empty events among them."""
    random = np.random.default_rng(5)
    counts = random.integers(0, 5, 40)
    counts[:2] = [0, 4]
    return ak.unflatten(random.exponential(30.0, counts.sum()) + 5.0, counts)


@pytest.fixture(scope="session")
def pt(jagged: ak.Array) -> Ragged:
    return Ragged.from_awkward(jagged)
