"""What all rooms share: where the open data are, and small ROOT files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def open_data() -> Path:
    """The folder of the CERN open data; the test is skipped where it is missing."""
    folder = Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no open data at {folder}: set DIFFEA_DATA to a folder that has them")
    return folder
