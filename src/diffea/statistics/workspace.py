"""Writing a model with numbers as a workspace that pyhf reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffea.statistics.layout import Layout
from diffea.statistics.pieces import FIELDS, Pieces, field_of
from diffea.statistics.spec import Spec
from diffea.statistics.yields import Yields

VERSION = "1.0.0"


def measurement_name(spec: Mapping[str, Any]) -> str:
    """The name of the first measurement of a specification or workspace, ``"measurement"`` where it has none."""
    first, *_ = spec.get("measurements") or [{}]
    return str(first.get("name", "measurement"))


def write_workspace(
    source: Mapping[str, Any],
    spec: Spec,
    layout: Layout,
    pieces: Pieces,
    yields: Yields,
    measurement: Mapping[str, str],
    main: np.ndarray,
) -> dict[str, Any]:
    """The workspace of a model with numbers; pyhf's schema has accepted it.

    Args:
        source: the specification as it was given: order and everything but the numbers come from it.
        spec: the same, read.
        layout, pieces, yields: where its numbers are, and the numbers.
        measurement: its ``name`` and parameter of interest, ``poi``, empty for none.
        main: observed events of all bins.
    """
    import pyhf

    numbers: dict[str, list[float]] = {}
    for name in FIELDS:
        values, start = np.asarray(getattr(yields, name)), 0
        for piece, length in pieces[name]:
            numbers[piece.place] = values[start : start + length].tolist()
            start += length
    by_place: dict[str, dict[str, list[float]]] = {}
    for _, sample, modifier, name, entry in spec.sources():
        owner = sample.place if field_of(modifier, name) == "nominal" else (modifier.place if modifier else "")
        by_place.setdefault(owner, {})[name] = numbers[entry.place]
    channels = []
    for i, channel in enumerate(source["channels"]):
        samples = []
        for j, sample in enumerate(channel["samples"]):
            here = f"channels[{i}]/samples[{j}]"
            modifiers = [
                {**modifier, "data": _modifier_data(modifier, by_place.get(f"{here}/modifiers[{k}]", {}))}
                for k, modifier in enumerate(sample["modifiers"])
            ]
            samples.append({**sample, "data": by_place[here]["data"], "modifiers": modifiers})
        channels.append({**channel, "samples": samples})
    workspace = {
        "channels": channels,
        "measurements": [
            {
                "name": measurement["name"],
                "config": {"poi": measurement["poi"], "parameters": list(source.get("parameters", []))},
            }
        ],
        "observations": [{"name": c, "data": main[s].tolist()} for c, s in layout.slices.items()],
        "version": VERSION,
    }
    pyhf.schema.validate(workspace, "workspace.json", version=VERSION)
    return workspace


def _modifier_data(modifier: Mapping[str, Any], numbers: Mapping[str, list[float]]) -> Any:
    match modifier["type"]:
        case "normsys":
            return {name: values[0] for name, values in numbers.items()}
        case "histosys":
            return dict(numbers)
        case "shapesys" | "staterror":
            return numbers["data"]
        case _:
            return None
