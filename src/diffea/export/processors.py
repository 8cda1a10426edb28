"""``--to coffea``: selection and histograms as one plain coffea processor, in NumPy, at the optimum."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffea.analysis import Analysis
from diffea.errors import ExportError
from diffea.events.splits import Split
from diffea.export.modules import is_own
from diffea.export.results import Result
from diffea.export.slicing import Slice
from diffea.processor import DifferentiableProcessor
from diffea.types import JSONDict, Params, PyTree

HEADER = '''"""{title}

Exported by diffea {version} from the run of {name}: a plain coffea processor with exact cuts, at the parameters in parameters.json.
It needs NumPy, awkward, hist and coffea{more}. `run.py` runs it, and compares what it fills with expected.json.
"""

from __future__ import annotations

'''
README = """# {name}: the selection, to run without diffea

{title}

- `processor.py`: a plain coffea processor, `{cls}()`, with exact cuts. Its result is one `hist.Hist` a channel, with the axes process (the sample),
  variation and the channel's own, and Weight storage. Sums are rounded once, at the end, so that they are the same bits with any executor
  and chunk size.
- `parameters.json`: the optimum{folds}.
- `expected.json`: the histograms that diffea filled with it.
- `run.py`: {run}

Datasets with `is_data` in their metadata are observed events; `run.py` leaves them out.
"""
_KNOWN = ("numpy", "awkward", "hist", "coffea")
PLAIN = (bool, int, float, str, type(None))


def write_processor(result: Result, analysis: Analysis, folder: Path) -> None:
    """Write processor.py, parameters.json, expected.json, run.py and a README.

    Args:
        result: of a run.
        analysis: that was run.
        folder: to write into.

    Raises:
        ExportError: if the analysis is another one, or its code cannot be had in plain NumPy, naming file and line.
    """
    variant = result.check_analysis(analysis)
    processor, params = variant.processor, result.params(variant)
    chosen = Slice()
    chosen.need_processor(type(processor))
    schema = _named(analysis.schemaclass, chosen)
    fileset, why = _fileset(analysis, chosen)
    stored = {
        "processor": type(processor).__name__,
        "schema": schema,
        "chunksize": analysis.chunksize,
        "params": [_json(one) for one in params],
        "edges": _edges(processor, params),
        "split": _split(analysis.split),
    }
    several = f", one for each of {len(params)} folds: an event is judged by the parameters that did not see it"
    readme = README.format(
        name=result.name,
        title=analysis.title,
        cls=type(processor).__name__,
        folds=several if len(params) > 1 else "",
        run="`python run.py DATA`, with the folder of the data, runs it with coffea's Runner."
        if fileset
        else f"not here: {why}.",
    )
    files = {
        "processor.py": _text(fileset or chosen, processor, analysis, result),
        "parameters.json": json.dumps(stored, indent=1),
        "expected.json": json.dumps(result.templates, indent=1),
        "README.md": readme,
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    if fileset:
        shutil.copyfile(Path(__file__).with_name("plain") / "run.py", folder / "run.py")


def _text(chosen: Slice, processor: DifferentiableProcessor, analysis: Analysis, result: Result) -> str:
    """Of processor.py."""
    imports, body = chosen.source()
    packages = {line.split()[1].partition(".")[0] for line in chosen.imports} - sys.stdlib_module_names
    header = HEADER.format(
        title=analysis.title.replace("\\", "\\\\").replace('"', '\\"'),
        version=result.result["versions"].get("diffea", ""),
        name=result.name,
        more="".join(f", {name}" for name in sorted(packages - set(_KNOWN))),
    )
    parts = [f"{header}{imports}", body, *_settings(processor)]
    text = "\n\n\n".join(parts) + "\n"
    try:
        compile(text, "processor.py", "exec")
    except SyntaxError as error:
        msg = f"the text of {type(processor).__name__} cannot be copied into one file: {error}"
        raise ExportError(msg) from error
    return text


def _named(cls: type, chosen: Slice) -> str:
    """A class, such as a schema, by a name that the file has."""
    if is_own(cls.__module__):
        chosen.need(cls.__module__, cls.__name__)
        return cls.__name__
    line = f"from {cls.__module__} import {cls.__name__}"
    chosen.imports.add(line)
    chosen.claim(cls.__name__, line, f"the schema {cls.__module__}.{cls.__name__}")
    return cls.__name__


def _fileset(analysis: Analysis, chosen: Slice) -> tuple[Slice | None, str]:
    """The slice with the function that makes the fileset too, or why it is not there."""
    made, function = chosen.copy(), analysis.fileset
    if not inspect.isfunction(function) or function.__name__ != "fileset" or not is_own(function.__module__):
        return None, "the analysis has no function named `fileset` at the top level of its file"
    try:
        made.need(function.__module__, function.__name__)
    except ExportError as error:
        return None, f"the analysis's `fileset` cannot be copied ({error})"
    return made, ""


def _settings(processor: DifferentiableProcessor) -> list[str]:
    """Lines that give the class what the processor object holds.

    Raises:
        ExportError: if that is more than plain values.
    """
    lines = []
    for name, value in vars(processor).items():
        if not _is_plain(value):
            msg = (
                f"the processor holds {name} = {type(value).__name__}, which has no text to be copied: make it a class attribute, or a plain value "
                "(a number, text, list or dict)"
            )
            raise ExportError(msg)
        lines.append(f"{type(processor).__name__}.{name} = {value!r}")
    return lines


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, PLAIN)


def _edges(processor: DifferentiableProcessor, params: list[Params]) -> JSONDict:
    """The edges that were learned, by channel."""
    found = [{name: np.asarray(edges).tolist() for name, edges in processor.edges(one).items()} for one in params]
    if any(one != found[0] for one in found):
        msg = "the folds learned unlike bin edges, so that their histograms are not one: fix the edges, or run with a split without folds"
        raise ExportError(msg)
    return found[0]


def _split(split: Split | None) -> JSONDict | None:
    if split is None:
        return None
    if split.fold is not None or split.part not in (None, "test"):
        msg = f"the split {split} takes one part of the events only: run with all folds, or with a test part"
        raise ExportError(msg)
    low, high = split.of("test").interval
    return {"seed": split.seed, "folds": split.folds, "low": low, "high": high}


def _json(tree: PyTree) -> PyTree:
    """A pytree of parameters as JSON.

    Raises:
        ExportError: if it is more than dicts and lists of numbers.
    """
    if isinstance(tree, Mapping):
        return {str(key): _json(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return [_json(value) for value in tree]
    if isinstance(tree, np.ndarray):
        return tree.tolist()
    msg = f"parameters in plain NumPy are dicts and lists of numbers and arrays, got {type(tree).__name__}"
    raise ExportError(msg)
