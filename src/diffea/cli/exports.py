"""``diffea export``: a result handed on."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from diffea.analysis import Analysis, load_analysis
from diffea.demo import analysis as demo_analysis
from diffea.errors import ExportError
from diffea.export import FORMATS, export, read_result

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)


@click.command(name="export")
@click.argument("out", type=EXISTING_FOLDER)
@click.option("--to", type=click.Choice(FORMATS), required=True, help="What for.")
@click.option("--variant", metavar="NAME", help="Which variant's result, where OUT has several.")
@click.option("--into", type=FOLDER, help="Folder to write, or to replace.  [default: OUT/export/FORMAT]")
@click.option(
    "--analysis", type=EXISTING, help="File or folder of the analysis, for coffea and onnx.  [default: analyses/NAME]"
)
@click.option("--data", type=EXISTING_FOLDER, help="Folder of the analysis's data, for onnx.  [default: OUT/data]")
def export_command(
    out: Path, to: str, variant: str | None, into: Path | None, analysis: Path | None, data: Path | None
) -> None:
    """Hand on what a finished run left in OUT, to those who do not use diffea.

    coffea: selection and histograms as one plain processor. onnx: the networks. pyhf, cabinetry, hs3, combine: the likelihood. hepdata: a submission.
    """
    result = read_result(out, variant)
    given = _analysis(str(result.result["analysis"]), analysis) if to in ("coffea", "onnx") else None
    folder = export(result, to, into or result.folder / "export" / to, given, data or _data(out))
    Console().print(f"exported: {escape(str(folder))}", soft_wrap=True)


def _analysis(name: str, place: Path | None) -> Analysis:
    """The analysis that was run: the one given, the demo, or that of its name in ./analyses."""
    if place is None and name == demo_analysis.name:
        return demo_analysis
    place = place or Path("analyses") / name
    if not place.exists():
        msg = f"the run is of the analysis {name!r}, which is not at {place}: say where its file or folder is with --analysis"
        raise ExportError(msg)
    return load_analysis(place)


def _data(out: Path) -> Path | None:
    """The data that the run made itself, if it did."""
    folder = out / "data"
    return folder if folder.is_dir() else None
