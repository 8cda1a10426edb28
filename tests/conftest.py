"""What all rooms share: where the open data are, and small ROOT files."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    """LLVM is told to be quick, here and in the processes that tests start: what compiles models takes two thirds of the time."""
    if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        jax.config.update("jax_disable_most_optimizations", True)


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector need not look at it again, a tenth of the tests' time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def open_data() -> Path:
    """The folder of the CERN open data; the test is skipped where it is missing."""
    folder = Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no open data at {folder}: set DIFFEA_DATA to a folder that has them")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_programs_at_once() -> Iterator[None]:
    """Each compiled program takes about a dozen of the 65 530 mappings that Linux grants a process, and XLA aborts where there are no more."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()
