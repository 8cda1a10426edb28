"""The pictures of docs/gallery.md: each is the `figure` of a script in docs/gallery/, run by the docs build."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

SCRIPTS = Path(__file__).parent / "gallery"
FOLDER = Path(__file__).parent / "_static" / "generated" / "gallery"


def draw(script: Path, folder: Path) -> Path:
    """Run a script, and save its figure."""
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    figure = runpy.run_path(str(script))["figure"]
    place = folder / f"{script.stem}.png"
    figure.savefig(place, dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return place


def main(folder: Path) -> None:
    """Draw all of them."""
    for script in sorted(SCRIPTS.glob("*.py")):
        draw(script, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
