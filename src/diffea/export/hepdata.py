"""``--to hepdata``: a submission with the templates, the optimum, the limits and the likelihood, by hepdata-lib."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from diffea.errors import ExportError, MissingPackageError
from diffea.export.results import Result
from diffea.report.contents import leaves
from diffea.types import JSONMapping, PyTree

DIGITS = 8


def write_hepdata(result: Result, folder: Path) -> None:
    """Write a submission that hepdata-validator takes, its tables, and submission.tar.gz.

    Raises:
        MissingPackageError: without hepdata-lib.
        ExportError: if the validator refuses the submission.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), tempfile.TemporaryDirectory() as place:
        library = _library()
        submission = library.Submission()
        submission.comment = str(result.result.get("title") or result.name)
        for table in _tables(library, result):
            submission.add_table(table)
        workspace = Path(place) / "workspace.json"
        workspace.write_text(json.dumps(result.observed or result.workspace, indent=1), encoding="utf-8")
        about = "HistFactory workspace of pyhf: the full likelihood, at the optimised selection"
        submission.add_additional_resource(about, str(workspace), copy_file=True, file_type="HistFactory")
        try:
            with contextlib.chdir(folder):  # hepdata-lib writes its archive where it stands
                submission.create_files(".", validate=True)
        except AssertionError as error:
            msg = f"hepdata-validator refuses the submission: {error}\n{said.getvalue()}"
            raise ExportError(msg) from error


def _library() -> ModuleType:
    try:
        import hepdata_lib
    except ImportError as error:
        msg = "a HEPData submission takes hepdata-lib: pip install 'diffea[hepdata]'"
        raise MissingPackageError(msg) from error
    return hepdata_lib


def _tables(library: ModuleType, result: Result) -> Iterator[PyTree]:
    for channel in result.workspace["channels"]:
        yield _channel_table(library, result, channel)
    parameters = library.Table("Parameters of the selection")
    parameters.description = "Parameters of the selection, before and after the optimisation of the expected result."
    folds = result.result.get("folds")
    ends = [fold["params"] for fold in folds] if folds else [result.result["params"]["after"]]
    columns = {"before": result.result["params"]["before"]} | {
        f"after (fold {number})" if len(ends) > 1 else "after": one for number, one in enumerate(ends)
    }
    numbers = {name: {key: np.atleast_1d(array).ravel() for key, array in leaves(one)} for name, one in columns.items()}
    scalars = [key for key, array in numbers["before"].items() if array.size <= 100]
    names = [
        key if numbers["before"][key].size == 1 else f"{key}[{i}]"
        for key in scalars
        for i in range(numbers["before"][key].size)
    ]
    if names:
        parameters.add_variable(_variable(library, "parameter", names, independent=True))
        for name, one in numbers.items():
            parameters.add_variable(_variable(library, name, np.concatenate([one[key] for key in scalars]).tolist()))
        yield parameters
    if result.result.get("limit_after") is not None:
        yield _limits(library, result)


def _channel_table(library: ModuleType, result: Result, channel: JSONMapping) -> PyTree:
    """Expected yields of each sample with their statistical and systematic uncertainties, and observed events once they were looked at."""
    table = library.Table(f"Yields in {channel['name']}")
    table.description = f"Expected events of each sample in the channel {channel['name']}, at the optimised selection."
    bins = len(channel["samples"][0]["data"])
    label, edges = result.edges(channel["name"], bins)
    if edges is not None:
        pairs = list(itertools.pairwise(edges))
        table.add_variable(library.Variable(label, is_independent=True, is_binned=True, values=pairs))
    else:
        table.add_variable(_variable(library, "bin", list(range(bins)), independent=True))
    for sample in channel["samples"]:
        variable = _variable(library, sample["name"], sample["data"])
        for modifier in sample["modifiers"]:
            if (uncertainty := _uncertainty(library, sample["data"], modifier)) is not None:
                variable.add_uncertainty(uncertainty)
        table.add_variable(variable)
    if result.observed is not None:
        data = next(one["data"] for one in result.observed["observations"] if one["name"] == channel["name"])
        table.add_variable(_variable(library, "Data", data))
    return table


def _uncertainty(library: ModuleType, nominal: list[float], modifier: JSONMapping) -> PyTree:
    data, name, events = modifier["data"], modifier["name"], np.array(nominal)
    match modifier["type"]:
        case "staterror":
            found, values = library.Uncertainty("MC statistics", is_symmetric=True), data
        case "shapesys":
            found, values = library.Uncertainty(name, is_symmetric=True), data
        case "normsys":
            up, down = (events * (data[side] - 1.0) for side in ("hi", "lo"))
            found, values = (
                library.Uncertainty(name, is_symmetric=False),
                list(zip(down.tolist(), up.tolist(), strict=True)),
            )
        case "histosys":
            up, down = (np.array(data[side]) - events for side in ("hi_data", "lo_data"))
            found, values = (
                library.Uncertainty(name, is_symmetric=False),
                list(zip(down.tolist(), up.tolist(), strict=True)),
            )
        case _:
            return None
    found.values = values
    return found


def _limits(library: ModuleType, result: Result) -> PyTree:
    """Limits at 95 % confidence level, before and after."""
    table = library.Table("Upper limits")
    table.description = "Upper limits on the parameter of interest at 95 % confidence level (CLs)."
    content = result.result
    limits = {"expected, before": content.get("limit_before"), "expected, after": content["limit_after"]}
    observed = (content.get("observed") or {}).get("limit")
    if observed is not None:
        limits["observed, after"] = observed
    limits = {name: limit for name, limit in limits.items() if limit is not None}
    table.add_variable(_variable(library, "limit", list(limits), independent=True))
    table.add_variable(
        _variable(library, str(result.workspace["measurements"][0]["config"]["poi"]), list(limits.values()))
    )
    return table


def _variable(library: ModuleType, name: str, values: Sequence[object], *, independent: bool = False) -> PyTree:
    found = library.Variable(
        name, is_independent=independent, is_binned=False, values=values, zero_uncertainties_warning=False
    )
    found.digits = DIGITS
    return found
