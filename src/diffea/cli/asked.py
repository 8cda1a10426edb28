"""What was asked for on the command line: an analysis by its place, its variants, its data."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from diffea.analysis import Analysis
from diffea.errors import AnalysisError
from diffea.files import UNFINISHED, named

ANALYSES = Path("analyses")
PORTAL = "https://opendata.cern.ch/record"


def made_data(analysis: Analysis, out: Path, console: Console) -> Path:
    """The data that the analysis makes itself, in OUT/data: all of them or none."""
    folder = out / "data"
    if folder.is_dir() or analysis.default_data is None:
        return folder
    temporary = out / f"{UNFINISHED}data"
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    try:
        with named(folder), console.status("making the data"):
            temporary.mkdir()
            analysis.default_data(temporary)
            temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def variants(analysis: Analysis, variant: str | None) -> list[str]:
    """The names of all variants, or of the one asked for."""
    if variant is not None and variant not in analysis.variants:
        msg = f"{analysis.name} has no variant {variant!r}; it has: {', '.join(filter(None, analysis.variants)) or 'none'}"
        raise AnalysisError(msg)
    return list(analysis.variants) if variant is None else [variant]


def place_of(analysis: str) -> Path:
    """The path, or the folder of that name in ./analyses.

    Raises:
        AnalysisError: naming the analyses that are here, if this is none.
    """
    for path in (Path(analysis), ANALYSES / analysis):
        if path.exists():
            return path
    here = [str(path.parent) for folder in (Path(), ANALYSES) for path in sorted(folder.glob("*/analysis.py"))]
    msg = (
        f"an analysis is a folder with analysis.py, or a Python file with an object named `analysis`; got {analysis}, which is not there. "
        f"Here: {', '.join(here) or 'none'}. `diffea demo` needs no file, `diffea new NAME` writes a first draft"
    )
    raise AnalysisError(msg)


def where_from(analysis: Analysis, place: str) -> str:
    """What to do for an analysis that needs data and was given none."""
    lines = [f"{analysis.name} needs data: give their folder with --data DIR."]
    if analysis.fetch:
        records = sorted({file.record for file in analysis.fetch if file.record is not None})
        lines += [f"  CERN Open Data portal, record {record}: {PORTAL}/{record}" for record in records]
        lines.append(f"Download and check all of it with: diffea fetch {place} --data DIR")
    return "\n".join(lines)
