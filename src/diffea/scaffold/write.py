"""Write: the files of a first draft."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from diffea.errors import AnalysisError
from diffea.files import whole
from diffea.scaffold.survey import Survey

TEXTS = Path(__file__).parent / "texts"
FILES = {"analysis.py": "{kind}.py.jinja", "test_{name}.py": "test.py.jinja", "README.md": "README.md.jinja"}
Kind = Literal["flat", "nanoaod"]


def write(folder: Path, found: Survey, kind: Kind, data: Path) -> list[Path]:
    """Write analysis.py, samples.json, a test and a README.

    Args:
        folder: where to; its name is that of the analysis.
        found: what the analysis is made of.
        kind: of the input.
        data: folder of the files, for the README.

    Returns:
        the files.

    Raises:
        AnalysisError: if the folder is not empty, or its name is not one of a Python module.
    """
    import jinja2

    if not re.fullmatch(r"[a-z][a-z0-9_]*", folder.name):
        msg = f"an analysis is called by small letters, digits and underscores, got {folder.name!r}"
        raise AnalysisError(msg)
    if folder.exists() and any(folder.iterdir()):
        msg = f"{folder} is not empty: choose another name, or remove it"
        raise AnalysisError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    texts = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEXTS), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    texts.filters["text"] = lambda text: json.dumps(str(text))  # a Python literal, too
    values = {"name": folder.name, "found": found, "data": data}
    contents = {
        target.format(name=folder.name): texts.get_template(source.format(kind=kind)).render(values)
        for target, source in FILES.items()
    }
    contents["samples.json"] = json.dumps(_samples(found), indent=2) + "\n"
    for target, text in contents.items():
        with whole(folder / target) as opened:
            opened.write(text.encode())
    return [folder / target for target in contents]


def _samples(found: Survey) -> dict[str, object]:
    """Luminosity and cross-sections, which nobody but the user knows."""
    return {
        "luminosity": 1000.0,
        "samples": {
            sample.name: {
                "files": {sample.file: sample.tree},
                "cross_section": 1.0,
                "generated": sample.entries,
                "signal": sample.signal,
            }
            for sample in found.samples
        },
    }
