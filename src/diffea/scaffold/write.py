"""Write: the files of a first draft."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from diffea.errors import AnalysisError
from diffea.files import whole
from diffea.scaffold.processors import Original
from diffea.scaffold.survey import Survey

TEXTS = Path(__file__).parent / "texts"
ANALYSIS, TEST, README = "analysis.py", "test_{name}.py", "README.md"
PLACEHOLDER = "hist.axis.Regular(10, 0.0, 100.0, name='observable')"
Kind = Literal["flat", "nanoaod", "processor"]


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
    sources = {ANALYSIS: f"{kind}.py.jinja", TEST: "test.py.jinja", README: "README.md.jinja"}
    return _write(folder, sources, found, {"found": found, "data": data})


def write_processor(
    folder: Path, original: Original, found: Survey | None, data: Path
) -> tuple[list[Path], dict[str, str]]:
    """Write the same files around the text of an existing processor.

    Args:
        folder: as for ``write``.
        original: the processor.
        found: the samples, where there are files already.
        data: folder of the files, for the README.

    Returns:
        the files, and what remains to be done, by place.

    Raises:
        AnalysisError: as for ``write``.
    """
    sources = {ANALYSIS: "processor.py.jinja", TEST: "test.py.jinja", README: "README-processor.md.jinja"}
    channels = original.channels or {"observable": PLACEHOLDER}
    columns = {cut.name: cut.source for cut in original.thresholds}
    columns |= {name: original.observables.get(name, "...") for name in channels}
    columns["weight"] = original.weight or "..."
    to_do = _to_do(original, found, channels)
    values = {"original": original, "channels": channels, "columns": columns, "to_do": to_do, "data": data}
    return _write(folder, sources, found, values), to_do


def unfinished(name: str, to_do: Mapping[str, str]) -> None:
    """See that nothing of a first draft remains to be done.

    Args:
        name: of the analysis.
        to_do: what remains, by place.

    Raises:
        AnalysisError: naming all of it.
    """
    if to_do:
        lines = "\n".join(f"  {place}: {what}" for place, what in to_do.items())
        msg = f"{name} is a first draft, of which this remains to be done (remove it from TO_DO in {ANALYSIS} when it is):\n{lines}"
        raise AnalysisError(msg)


def _to_do(original: Original, found: Survey | None, channels: Mapping[str, str]) -> dict[str, str]:
    """What remains, by place."""
    cuts, path = original.thresholds, original.path.name
    lines = ", ".join(str(line) for line in sorted({cut.line for cut in cuts}))
    samples = "cross-sections in pb, luminosity in 1/pb, and which samples are signal"
    to_do = {"samples.json": samples if found else f"files with their trees, numbers of generated events, {samples}"}
    if not original.channels:
        to_do["channels"] = (
            f"the axes of the histograms that {original.place} fills: none is written out in numbers there"
        )
    missing = [name for name in channels if name not in original.observables]
    missing += [] if original.weight else ["weight"]
    to_do["columns"] = (
        "one number an event or object under each name, without what cuts on numbers that are to be tuned"
        + (f" (lines {lines} of {path})" if lines else "")
        + ", and the weight times events.metadata['scale']"
        + (f"; not found in the text: {', '.join(missing)}" if missing else "")
    )
    many = [cut.name for cut in cuts if cut.objects]
    to_do["fill"] = (
        "one soft cut for each number that is to be tuned"
        + ("" if cuts else f"; no comparison with a number was found in {path}: write them, with params and bounds")
        + (f"; how many objects are needed of {', '.join(many)}" if many else "")
        + f"; one Fill for each histogram and variation that {path} filled"
    )
    if cuts:
        to_do["widths and bounds"] = "guesses: widths about the resolution, bounds what is worth looking at"
    if original.arguments:
        to_do["__init__"] = (
            f"left out, as it needs {', '.join(original.arguments)}: set what `columns` uses as attributes of the class"
        )
    return to_do


def _write(folder: Path, sources: Mapping[str, str], found: Survey | None, values: Mapping[str, object]) -> list[Path]:
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
    texts.filters["text"] = lambda text: json.dumps(str(text), ensure_ascii=False)  # a Python literal, too
    contents = {
        target.format(name=folder.name): texts.get_template(source).render(name=folder.name, **values)
        for target, source in sources.items()
    }
    contents["samples.json"] = json.dumps(_samples(found), indent=2) + "\n"
    for target, text in contents.items():
        with whole(folder / target) as opened:
            opened.write(text.encode())
    return [folder / target for target in contents]


def _samples(found: Survey | None) -> dict[str, object]:
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
            for sample in (found.samples if found else ())
        },
    }
