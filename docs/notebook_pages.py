"""The notebooks that the pages show: copies of those of binder/ and analyses/, with the modules beside them, for the docs build to run.

One whose data are not there is shown as it is, without what it gives.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "notebooks" / "generated"
NOTEBOOKS = {
    "quickstart": "binder/demo.ipynb",
    "own_processor": "docs/notebooks/own_processor.ipynb",
    "cluster": "docs/notebooks/cluster.ipynb",
    "gaussian_blobs": "analyses/gaussian_blobs/gaussian_blobs.ipynb",
    "htautau": "analyses/htautau/htautau.ipynb",
}
OPEN_DATA = {"htautau"}


def data() -> Path:
    """The folder of the open data."""
    return Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data")).resolve()


def lacking() -> list[str]:
    """The notebooks whose open data are neither where ``DIFFEA_DATA`` says nor beside the repository."""
    return [name for name in OPEN_DATA if not (data() / name).is_dir()]


def main(folder: Path) -> None:
    """Copy all of them, each into a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, place in NOTEBOOKS.items():
        (folder / name).mkdir(parents=True)
        shutil.copy(ROOT / place, folder / name / f"{name}.ipynb")
        for module in (ROOT / place).parent.glob("*.py"):
            shutil.copy(module, folder / name)


if __name__ == "__main__":
    main(FOLDER)
