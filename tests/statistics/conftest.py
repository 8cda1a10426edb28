"""Models that are compiled once and used by all tests of the room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest

from diffea.judge import remembering
from diffea.statistics import BoundModel, HistFactory
from tests.statistics.models import EVERYTHING, FITTED, OBSERVED


@pytest.fixture
def precise_pyhf() -> Iterator[None]:
    """pyhf with a minimiser that goes as far as it can: its default tolerance leaves 1e-4 in a band; each fit is made once a test."""
    pyhf.set_backend("numpy", remembering(pyhf.optimize.scipy_optimizer)(tolerance=1e-12, maxiter=10_000))
    yield
    pyhf.set_backend("numpy")


@pytest.fixture(scope="session")
def everything() -> tuple[BoundModel, pyhf.Model]:
    return HistFactory(EVERYTHING)(), pyhf.Model(EVERYTHING)


@pytest.fixture(scope="session")
def fitted() -> tuple[HistFactory, BoundModel, pyhf.Model]:
    model = HistFactory(FITTED)
    return model, model(), pyhf.Model(FITTED)


@pytest.fixture(scope="session")
def observed(fitted: tuple[HistFactory, BoundModel, pyhf.Model]) -> np.ndarray:
    return np.asarray(fitted[1].data(OBSERVED))


@pytest.fixture(scope="session")
def likelihood(open_data: Path) -> tuple[dict[str, Any], list[Any]]:
    """The published likelihood of ATLAS' search for sbottoms (region A), and the patch of one signal."""
    folder = open_data / "likelihoods" / "sbottom_A"
    if not folder.is_dir():
        pytest.skip(f"no published likelihood at {folder}: set DIFFEA_DATA to a folder that has it")
    files = (folder / "BkgOnly.json", folder / "patch.sbottom_1300_205_60.json")
    return tuple(json.loads(file.read_text()) for file in files)  # type: ignore[return-value]
