"""``--to pyhf``, ``hs3`` and ``combine``: the likelihood of the optimum, of expected data and, once they were looked at, of observed ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from diffea.export.results import Result
from diffea.statistics import HistFactory
from diffea.types import JSONDict


def write_pyhf(result: Result, folder: Path) -> None:
    """Write workspace.json, workspace-observed.json once there are observed events, and the settings that a workspace has no place for.

    Each workspace also comes without signal, and with the signal as a JSON patch of that, for which others may put their own.
    """
    for ending, workspace in _workspaces(result):
        _write(folder / f"workspace{ending}.json", workspace)
        background, patch = without_signal(workspace)
        if patch and all(channel["samples"] for channel in background["channels"]):
            _write(folder / f"background{ending}.json", background)
            _write(folder / "signal-patch.json", patch)
    if result.model_settings:
        _write(folder / "modifier_settings.json", result.model_settings)


def write_hs3(result: Result, folder: Path) -> None:
    """Write hs3.json, and hs3-observed.json.

    Raises:
        FormatError: if HS3 has no counterpart; with the parameter.
    """
    for ending, workspace in _workspaces(result):
        model = model_of(result, workspace)
        _write(folder / f"hs3{ending}.json", model.hs3(None, model.observations))


def write_combine(result: Result, folder: Path) -> None:
    """Write datacard.txt and shapes.root, and those of observed events in the folder observed.

    Raises:
        FormatError: if a datacard has no counterpart; with its name.
    """
    for ending, workspace in _workspaces(result):
        model = model_of(result, workspace)
        model.datacard(folder / ending.removeprefix("-"), None, model.observations)


def without_signal(workspace: JSONDict) -> tuple[JSONDict, list[JSONDict]]:
    """A workspace without the samples that its parameter of interest scales, and the JSON patch (RFC 6902) that adds them at their places."""
    poi = workspace["measurements"][0]["config"]["poi"]
    channels, patch = [], []
    for number, channel in enumerate(workspace["channels"]):
        kept = []
        for place, sample in enumerate(channel["samples"]):
            if any(modifier["name"] == poi and modifier["type"] == "normfactor" for modifier in sample["modifiers"]):
                patch.append({"op": "add", "path": f"/channels/{number}/samples/{place}", "value": sample})
            else:
                kept.append(sample)
        channels.append({**channel, "samples": kept})
    return {**workspace, "channels": channels}, patch


def model_of(result: Result, workspace: JSONDict) -> HistFactory:
    """The model of a workspace, with the settings of the run."""
    return HistFactory.from_workspace(workspace, modifier_settings=result.model_settings)


def _workspaces(result: Result) -> Iterator[tuple[str, JSONDict]]:
    yield "", result.workspace
    if result.observed is not None:
        yield "-observed", result.observed


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
