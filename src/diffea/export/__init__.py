"""Export: a result handed on to those who do not use diffea."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diffea.analysis import Analysis
from diffea.errors import ExportError
from diffea.export.cabinetry import write_cabinetry
from diffea.export.folders import whole_folder
from diffea.export.hepdata import write_hepdata
from diffea.export.likelihoods import write_combine, write_hs3, write_pyhf
from diffea.export.networks import write_networks
from diffea.export.processors import write_processor
from diffea.export.results import Result, read_result

__all__ = ["FORMATS", "Result", "export", "read_result"]

LIKELIHOODS: dict[str, Callable[[Result, Path], None]] = {
    "pyhf": write_pyhf,
    "cabinetry": write_cabinetry,
    "hs3": write_hs3,
    "combine": write_combine,
    "hepdata": write_hepdata,
}
FORMATS = ("coffea", "onnx", *LIKELIHOODS)
"""What a result is handed on as."""


def export(result: Result, to: str, folder: Path, analysis: Analysis | None = None, data: Path | None = None) -> Path:
    """Write a result into a folder, which appears whole or not at all.

    Args:
        result: of a finished run, see ``read_result``.
        to: one of ``FORMATS``.
        folder: which is made, or replaced.
        analysis: that was run; ``coffea`` and ``onnx`` need it.
        data: folder of its data; ``onnx`` needs it.

    Returns:
        the folder.

    Raises:
        ExportError: if there is no such format, or the result cannot be had in it, with what stands in the way.
        FormatError: if a likelihood has no counterpart there.
        MissingPackageError: if a library is not installed.
        OutputError: if the folder cannot be written.
    """
    if to not in FORMATS:
        msg = f"a result is exported to {', '.join(FORMATS)}; got {to!r}"
        raise ExportError(msg)
    with whole_folder(folder) as unfinished:
        if to in LIKELIHOODS:
            LIKELIHOODS[to](result, unfinished)
        elif analysis is None:
            msg = f"{to} is made of the analysis's own code: say which analysis it is"
            raise ExportError(msg)
        elif to == "coffea":
            write_processor(result, analysis, unfinished)
        elif data is None:
            msg = "the columns that a network reads are seen in the data: say in which folder these are"
            raise ExportError(msg)
        else:
            write_networks(result, analysis, data, unfinished)
    return folder
