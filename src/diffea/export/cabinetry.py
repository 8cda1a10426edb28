"""``--to cabinetry``: its templates folder and configuration, from the workspace of the optimum.

cabinetry splits a shape variation into its normalisation, which it interpolates exponentially, and its shape: what it builds from the
templates is the same at -1, 0 and +1 of every parameter. workspace.json is the likelihood of diffea itself, which cabinetry reads too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import yaml

from diffea.errors import ExportError
from diffea.export.results import Result
from diffea.types import JSONDict, JSONMapping, PyTree

CODES = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
"""How cabinetry interpolates."""

DATA = "Data"
KNOWN = ("normfactor", "normsys", "histosys", "staterror")
Placed = tuple[str, JSONMapping, JSONMapping]
"""Channel, sample and modifier."""


def write_cabinetry(result: Result, folder: Path) -> None:
    """Write config.yml, histograms/ and workspace.json; observed events are in them once they were looked at.

    Raises:
        ExportError: if the model has what cabinetry's configuration has no place for, naming channel, sample and modifier.
    """
    settings = result.model_settings or CODES
    if any(settings.get(kind, codes) != codes for kind, codes in CODES.items()):
        msg = f"cabinetry interpolates with {CODES}, the model with {settings}: export it --to pyhf"
        raise ExportError(msg)
    workspace = result.observed or result.workspace
    (folder / "histograms").mkdir()
    config = configuration(workspace)
    for name, (yields, errors, channel) in _histograms(workspace, config).items():
        path = folder / "histograms" / f"{name.replace(' ', '-')}.npz"
        _, edges = result.edges(channel, len(yields))
        bins = np.arange(len(yields) + 1.0) if edges is None else np.array(edges)
        np.savez(path, yields=yields, stdev=errors, bins=bins)
    (folder / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (folder / "workspace.json").write_text(json.dumps(workspace, indent=1), encoding="utf-8")


def configuration(workspace: JSONMapping) -> JSONDict:
    """cabinetry's configuration of a workspace.

    Raises:
        ExportError: likewise.
    """
    placed = [
        (channel["name"], sample, modifier)
        for channel in workspace["channels"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
    ]
    for channel, sample, modifier in placed:
        if modifier["type"] not in KNOWN:
            msg = f"cabinetry has no {modifier['type']}, which {channel}/{sample['name']} has in {modifier['name']!r}: export it --to pyhf"
            raise ExportError(msg)
    measurement = workspace["measurements"][0]
    parameters = {one["name"]: one for one in measurement["config"]["parameters"]}
    factors = [_norm_factor(name, placed, workspace, parameters) for name in _names(placed, "normfactor")]
    _check_parameters(parameters, factors)
    config: JSONDict = {
        "General": {
            "Measurement": measurement["name"],
            "POI": measurement["config"]["poi"],
            "InputPath": "none",
            "HistogramFolder": "histograms/",
        },
        "Regions": [{"Name": channel["name"]} for channel in workspace["channels"]],
        "Samples": [{"Name": DATA, "Data": True}, *_samples(workspace)],
        "NormFactors": factors,
        "Systematics": list(_systematics(placed)),
    }
    fixed = [{"Name": name, "Value": one["inits"][0]} for name, one in parameters.items() if one.get("fixed")]
    if fixed:
        config["General"]["Fixed"] = fixed
    return config


def _names(placed: Iterable[Placed], kind: str) -> list[str]:
    return list(dict.fromkeys(modifier["name"] for _, _, modifier in placed if modifier["type"] == kind))


def _samples(workspace: JSONMapping) -> Iterator[JSONDict]:
    regions: dict[str, list[str]] = defaultdict(list)
    errors: dict[str, set[bool]] = defaultdict(set)
    for channel in workspace["channels"]:
        names = set()
        for sample in channel["samples"]:
            found = [m["name"] for m in sample["modifiers"] if m["type"] == "staterror"]
            regions[sample["name"]].append(channel["name"])
            errors[sample["name"]].add(bool(found))
            names |= set(found)
        if len(names) > 1:
            msg = f"channel {channel['name']!r} has several staterrors ({', '.join(sorted(names))}); cabinetry has one a channel: export it --to pyhf"
            raise ExportError(msg)
    for sample, has in errors.items():
        if len(has) > 1:
            msg = f"sample {sample!r} has a staterror in some channels only; cabinetry has it in all or none of them: export it --to pyhf"
            raise ExportError(msg)
        yield {"Name": sample, "Regions": regions[sample], **({} if has == {True} else {"DisableStaterror": True})}


def _norm_factor(
    name: str, placed: Iterable[Placed], workspace: JSONMapping, parameters: Mapping[str, JSONMapping]
) -> JSONDict:
    where = {(channel, sample["name"]) for channel, sample, modifier in placed if modifier["name"] == name}
    regions, samples = ({one[i] for one in where} for i in (0, 1))
    there = {(channel["name"], sample["name"]) for channel in workspace["channels"] for sample in channel["samples"]}
    if where != {(region, sample) for region in regions for sample in samples} & there:
        msg = f"the normfactor {name!r} scales other samples in one channel than in another, which cabinetry cannot say: export it --to pyhf"
        raise ExportError(msg)
    own = parameters.get(name, {})
    return {
        "Name": name,
        "Samples": sorted(samples),
        "Regions": sorted(regions),
        "Nominal": own.get("inits", [1.0])[0],
        "Bounds": list(own.get("bounds", [[0.0, 10.0]])[0]),
    }


def _check_parameters(parameters: Mapping[str, JSONMapping], factors: Iterable[JSONMapping]) -> None:
    known = {factor["Name"] for factor in factors}
    for name, one in parameters.items():
        more = set(one) - {"name", "fixed"} - ({"inits", "bounds"} if name in known or one.get("fixed") else set())
        if more:
            msg = f"cabinetry has no place for the {', '.join(sorted(more))} of the parameter {name!r}: export it --to pyhf"
            raise ExportError(msg)


def _systematics(placed: Iterable[Placed]) -> Iterator[JSONDict]:
    """One systematic for what has the same effect, and one for each sample and channel otherwise."""
    alike: dict[tuple[PyTree, ...], list[tuple[str, str]]] = defaultdict(list)
    kinds: dict[tuple[str, str, str], str] = {}
    for channel, sample, modifier in placed:
        if modifier["type"] not in ("normsys", "histosys"):
            continue
        place = channel, sample["name"], modifier["name"]
        if kinds.setdefault(place, modifier["type"]) != modifier["type"]:
            msg = f"{channel}/{sample['name']} has both a normsys and a histosys {modifier['name']!r}, of which cabinetry makes one: export it --to pyhf"
            raise ExportError(msg)
        data = modifier["data"]
        if modifier["type"] == "normsys":
            alike[modifier["name"], sample["name"], data["hi"], data["lo"]].append(place[:2])
        else:
            if not sum(sample["data"]) or not sum(data["hi_data"]) or not sum(data["lo_data"]):
                msg = (
                    f"{channel}/{sample['name']} has no events, nominal or with {modifier['name']!r}, by which cabinetry would divide: export it "
                    "--to pyhf"
                )
                raise ExportError(msg)
            alike[modifier["name"], sample["name"]].append(place[:2])
    for (modifier_name, sample_name, *effect), places in alike.items():
        regions = sorted({channel for channel, _ in places})
        several = len([key for key in alike if key[:2] == (modifier_name, sample_name)]) > 1
        name = f"{modifier_name}_{sample_name}" + (f"_{'_'.join(regions)}" if several else "")
        common = {"Name": name, "ModifierName": modifier_name, "Samples": [sample_name], "Regions": regions}
        if effect:
            up, down = ({"Normalization": value - 1.0} for value in effect)
            yield {**common, "Type": "Normalization", "Up": up, "Down": down}
        else:
            yield {**common, "Type": "NormPlusShape", "Up": {}, "Down": {}}


def _histograms(workspace: JSONMapping, config: JSONMapping) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Yields, their errors and the channel, by the names that cabinetry gives to files."""
    found = {}
    shapes = [one for one in config["Systematics"] if one["Type"] == "NormPlusShape"]
    for observation in workspace["observations"]:
        data = np.array(observation["data"], float)
        found[f"{observation['name']}_{DATA}"] = data, np.sqrt(np.abs(data)), observation["name"]
    for channel in workspace["channels"]:
        for sample in channel["samples"]:
            data = np.array(sample["data"], float)
            errors = next((m["data"] for m in sample["modifiers"] if m["type"] == "staterror"), np.zeros_like(data))
            stem = f"{channel['name']}_{sample['name']}"
            found[stem] = data, np.array(errors, float), channel["name"]
            for modifier in sample["modifiers"]:
                for one in shapes:
                    here = channel["name"] in one["Regions"] and sample["name"] in one["Samples"]
                    if here and (modifier["name"], modifier["type"]) == (one["ModifierName"], "histosys"):
                        for side, values in (("Up", "hi_data"), ("Down", "lo_data")):
                            varied = np.array(modifier["data"][values], float)
                            found[f"{stem}_{one['Name']}_{side}"] = varied, np.zeros_like(varied), channel["name"]
    return found
