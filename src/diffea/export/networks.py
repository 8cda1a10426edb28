"""``--to onnx``: the networks of an analysis, at the optimum, as ONNX files, by jax2onnx."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

from diffea.analysis import Analysis
from diffea.errors import ExportError, MissingPackageError
from diffea.export.observables import Observable, learned_observables
from diffea.export.results import Result
from diffea.types import JSONDict, Params, PyTree

AGREEMENT = 1e-9
"""To which onnxruntime must find what JAX finds, relative to the largest."""

OUTPUT = "output"
FOLDS = "folds.py"
README = """# {name}: its networks

{title}

An `.onnx` file computes what one channel of the analysis is filled with, at the optimum: inputs as the analysis has them, their scaling, the network and
what follows it in one graph, in double precision, for any number of events. `networks.json` lists them, with the channel, the names of the
`inputs` (columns of the analysis) with shape and type, and the `files`{folds}.

    import onnxruntime
    session = onnxruntime.InferenceSession("{file}")
    (found,) = session.run(None, {{name: table[name] for name in {inputs}}})
"""
OF_FOLDS = """, one for each of {folds} folds: an event is judged by the network that did not see it. Which one
that is says `fold_of({seed}, {folds}, run, luminosityBlock, event)` of `folds.py`"""


def write_networks(result: Result, analysis: Analysis, data: Path, folder: Path) -> None:
    """Write a file for each learned observable and fold, networks.json, a README, and folds.py where there are folds.

    Args:
        result: of a run.
        analysis: that was run.
        data: folder of its data, of which the first entries are read.
        folder: to write into.

    Raises:
        ExportError: if the analysis is another one; if it has no such observable, or one that is no function of the columns; if jax2onnx cannot
            convert it, or onnxruntime finds other numbers than JAX.
        MissingPackageError: without jax2onnx and what comes with it.
    """
    convert, onnx, session = _libraries()
    variant = result.check_analysis(analysis)
    params, entries = result.params(variant), list[JSONDict]()
    for one in learned_observables(analysis, variant, data):
        stem = re.sub(r"[^\w.-]", "_", one.name)
        files = [f"{stem}-fold-{fold}.onnx" if len(params) > 1 else f"{stem}.onnx" for fold in range(len(params))]
        if taken := [file for file in files if (folder / file).exists()]:
            msg = f"two channels would be the file {taken[0]}: give one of them another name"
            raise ExportError(msg)
        for file, own in zip(files, params, strict=True):
            model = _converted(convert, one, own)
            onnx.helper.set_model_props(
                model, {"analysis": result.name, "channel": one.channel, "title": analysis.title}
            )
            onnx.checker.check_model(model)
            onnx.save_model(model, str(folder / file))
            _compare(session(str(folder / file)), one, own)
        inputs = [
            {"name": name, "shape": ["events", *array.shape[1:]], "type": str(array.dtype)}
            for name, array in one.inputs.items()
        ]
        entries.append({"channel": one.channel, "observable": one.name, "files": files, "inputs": inputs})
    _describe(result, analysis, entries, folder)


def _libraries() -> tuple[Callable[..., PyTree], ModuleType, Callable[..., PyTree]]:
    """``to_onnx`` of jax2onnx, the module onnx, and onnxruntime's sessions."""
    try:
        import jax2onnx
        import onnx
        import onnxruntime
    except ImportError as error:
        msg = f"networks are converted by jax2onnx, and compared by onnxruntime ({error}): pip install 'diffea[onnx]'"
        raise MissingPackageError(msg) from error
    return jax2onnx.to_onnx, onnx, onnxruntime.InferenceSession


def _converted(convert: Callable[..., PyTree], one: Observable, params: Params) -> PyTree:
    inputs = [jax.ShapeDtypeStruct(("events", *array.shape[1:]), array.dtype) for array in one.inputs.values()]
    try:
        return convert(
            one.at(params),
            inputs,
            model_name=one.name,
            enable_double_precision=True,
            input_names=list(one.inputs),
            output_names=[OUTPUT],
        )
    except Exception as error:
        msg = f"jax2onnx cannot convert what channel {one.name!r} is filled with: {type(error).__name__}: {error}"
        raise ExportError(msg) from error


def _compare(session: PyTree, one: Observable, params: Params) -> None:
    """See that the file gives on events of the data what the analysis gives."""
    ours = np.asarray(one.at(params)(*one.inputs.values()))
    (theirs,) = session.run(None, dict(one.inputs))
    off = np.abs(theirs - ours).max(initial=0.0)
    if theirs.shape != ours.shape or not off <= AGREEMENT * np.abs(ours).max(initial=1.0):
        msg = f"what channel {one.name!r} is filled with is not the same in ONNX: on {len(ours)} events of {one.where} onnxruntime differs by {off:.2g}"
        raise ExportError(msg)


def _describe(result: Result, analysis: Analysis, entries: list[JSONDict], folder: Path) -> None:
    split, folds, first = analysis.split, "", entries[0]
    if split and split.folds:
        shutil.copyfile(Path(__file__).with_name("plain") / FOLDS, folder / FOLDS)
        folds = OF_FOLDS.format(folds=split.folds, seed=split.seed)
    names = [one["name"] for one in first["inputs"]]
    readme = README.format(name=result.name, title=analysis.title, folds=folds, file=first["files"][0], inputs=names)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    content = {
        "analysis": result.name,
        "split": split and {"seed": split.seed, "folds": split.folds},
        "output": OUTPUT,
        "networks": entries,
    }
    (folder / "networks.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
