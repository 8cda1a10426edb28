"""A pyhf model specification, read: every number or template name with its place."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffea.errors import SpecError
from diffea.types import PyTree

Key = tuple[str, str, str]

MODIFIER_TYPES = ("histosys", "lumi", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
MIRRORED = ":mirrored"
_LISTS = {"histosys": ("hi_data", "lo_data"), "shapesys": ("data",), "staterror": ("data",)}


@dataclass(frozen=True)
class Source:
    """Where numbers come from: the specification itself, or a template.

    Attributes:
        place: path in the specification, such as ``channels[0]/samples[1]/data``.
        numbers: the numbers, or None if a template is named.
        key: the template's (channel, sample, variation), or None.
        mirrored: where the nominal numbers are from that the template is mirrored at, or None.
    """

    place: str
    numbers: tuple[float, ...] | None
    key: Key | None
    mirrored: Source | None = None


@dataclass(frozen=True)
class Modifier:
    """A modifier of one sample in one channel; `sources` by the name of the field (``hi_data``, ``lo``, ``data`` …)."""

    name: str
    type: str
    place: str
    sources: Mapping[str, Source]


@dataclass(frozen=True)
class Sample:
    """A sample in one channel; `modifiers` by (name, type)."""

    name: str
    place: str
    data: Source
    modifiers: Mapping[tuple[str, str], Modifier]


@dataclass(frozen=True)
class Channel:
    """A channel; `samples` by name."""

    name: str
    place: str
    samples: Mapping[str, Sample]


@dataclass(frozen=True)
class Spec:
    """A whole specification: channels in pyhf's order (sorted by name) and the measurement's settings of parameters."""

    channels: tuple[Channel, ...]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def modifier_names(self) -> list[str]:
        """Names of all modifiers, sorted."""
        return sorted({name for c in self.channels for s in c.samples.values() for name, _ in s.modifiers})

    def sources(self) -> Iterable[tuple[Channel, Sample, Modifier | None, str, Source]]:
        """Every source with what it belongs to, in the order of the specification's channels, samples, modifiers."""
        for channel in self.channels:
            for sample in channel.samples.values():
                yield channel, sample, None, "data", sample.data
                for modifier in sample.modifiers.values():
                    for name, source in modifier.sources.items():
                        yield channel, sample, modifier, name, source


def with_measurement(spec: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Channels and parameters of a specification, and the first measurement's parameter of interest.

    That is "" if the measurement has none, None if there is no measurement.

    Raises:
        SpecError: if there is a measurement without what pyhf's schema ``workspace.json`` asks of it.
    """
    if not isinstance(spec, Mapping):
        msg = f"a specification is a dict with 'channels', got {type(spec).__name__}"
        raise SpecError(msg)
    source = {key: spec[key] for key in ("channels", "parameters") if key in spec}
    if not spec.get("measurements"):
        return source, None
    try:
        config = spec["measurements"][0]["config"]
        poi, parameters = config["poi"], [*config["parameters"]]
    except (KeyError, TypeError) as error:
        msg = "measurements[0]: expected {'name': …, 'config': {'poi': …, 'parameters': […]}}"
        raise SpecError(msg) from error
    return {**source, "parameters": [*parameters, *source.get("parameters", [])]}, poi or ""


def read_spec(spec: Mapping[str, Any]) -> Spec:
    """Read a specification of pyhf's schema ``model.json``, in which lists of numbers may be template names.

    A template name is ``"sample"`` (that sample's nominal template in the same channel) or ``"sample:variation"``. A side of a histosys
    may be ``"sample:variation:mirrored"``: twice the nominal numbers less that variation, for one that is known to one side.

    Raises:
        SpecError: where pyhf's schema refuses the specification, or names are used twice; with the place.
    """
    _validate(_skeleton(spec), "model.json")
    channels = []
    for i, channel in enumerate(spec["channels"]):
        place = f"channels[{i}]"
        samples: dict[str, Sample] = {}
        for j, sample in enumerate(channel["samples"]):
            if sample["name"] in samples:
                msg = f"{place}/samples[{j}]: channel {channel['name']!r} has a sample {sample['name']!r} already"
                raise SpecError(msg)
            samples[sample["name"]] = _read_sample(sample, f"{place}/samples[{j}]", channel["name"])
        channels.append(Channel(channel["name"], place, samples))
    names = [channel.name for channel in channels]
    for name in names:
        if names.count(name) > 1:
            msg = f"two channels are named {name!r}: names of channels must differ"
            raise SpecError(msg)
    parameters: dict[str, Mapping[str, Any]] = {}
    for i, parameter in enumerate(spec.get("parameters", [])):
        if parameter["name"] in parameters:
            msg = f"parameters[{i}]: parameter {parameter['name']!r} is configured twice"
            raise SpecError(msg)
        parameters[parameter["name"]] = parameter
    return Spec(tuple(sorted(channels, key=lambda channel: channel.name)), parameters)


def _read_sample(sample: Mapping[str, Any], place: str, channel: str) -> Sample:
    modifiers: dict[tuple[str, str], Modifier] = {}
    nominal = _source(sample["data"], f"{place}/data", channel)
    for k, modifier in enumerate(sample["modifiers"]):
        here = f"{place}/modifiers[{k}]"
        id_ = (modifier["name"], modifier["type"])
        if id_ in modifiers:
            msg = f"{here}: sample {sample['name']!r} in {channel!r} has a {id_[1]} {id_[0]!r} already"
            raise SpecError(msg)
        data, sources = modifier["data"], {}
        if modifier["type"] == "normsys":
            sources = {name: Source(f"{here}/data/{name}", (float(data[name]),), None) for name in ("hi", "lo")}
        elif modifier["type"] == "histosys":
            sources = {
                name: _source(data[name], f"{here}/data/{name}", channel, nominal) for name in ("hi_data", "lo_data")
            }
        elif modifier["type"] in ("shapesys", "staterror"):
            sources = {"data": _source(data, f"{here}/data", channel)}
        modifiers[id_] = Modifier(*id_, here, sources)
    return Sample(sample["name"], place, nominal, modifiers)


def _source(data: Any, place: str, channel: str, nominal: Source | None = None) -> Source:
    if isinstance(data, str):
        sample, _, variation = data.removesuffix(MIRRORED).partition(":")
        mirrored = data.endswith(MIRRORED)
        if mirrored and (nominal is None or not variation):
            msg = f"{place}: only a side of a histosys is mirrored, 'sample:variation{MIRRORED}', got {data!r}"
            raise SpecError(msg)
        return Source(place, None, (channel, sample, variation or "nominal"), nominal if mirrored else None)
    return Source(place, tuple(float(number) for number in data), None)


def _skeleton(spec: Mapping[str, Any]) -> Any:
    """The specification as pyhf's schema wants it: one number for a template's name, lists for arrays."""
    skeleton = copy.deepcopy(dict(spec))
    for sample in (sample for channel in _items(skeleton, "channels") for sample in _items(channel, "samples")):
        _name_as_number(sample, "data")
        for modifier in _items(sample, "modifiers"):
            for key in _LISTS.get(str(modifier.get("type")), ()):
                _name_as_number(modifier if key == "data" else modifier.get("data"), key)
    return skeleton


def _name_as_number(holder: PyTree, key: str) -> None:
    if isinstance(holder, dict) and isinstance(holder.get(key), str):
        holder[key] = [1.0]
    else:
        _plain(holder, key)


def _plain(holder: PyTree, key: str) -> None:
    if isinstance(holder, dict) and isinstance(holder.get(key), (np.ndarray, tuple)):
        holder[key] = np.asarray(holder[key]).tolist()


def _items(holder: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = holder.get(key, [])
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_workspace(
    workspace: Mapping[str, Any], patches: Sequence[Any] = (), measurement: str | None = None
) -> tuple[dict[str, Any], str | None, dict[str, list[float]]]:
    """Model specification, parameter of interest and observations of a pyhf workspace.

    Args:
        workspace: a workspace (template names allowed instead of numbers).
        patches: JSON patches (lists of operations) or patches of a `pyhf.PatchSet`, applied in turn.
        measurement: name of the measurement; the first one if None.

    Raises:
        SpecError: if a part is missing, a patch does not apply, or there is no such measurement.
    """
    import jsonpatch

    if not isinstance(workspace, Mapping):
        msg = f"a workspace is a dict with channels, measurements and observations, got {type(workspace).__name__}"
        raise SpecError(msg)
    document = copy.deepcopy(dict(workspace))
    for number, patch in enumerate(patches):
        operations = getattr(patch, "patch", patch)
        if not isinstance(operations, list):
            msg = (
                f"patches[{number}]: expected a JSON patch (a list of operations) or one patch of a pyhf.PatchSet "
                f"(patchset['its name']), got {type(patch).__name__}"
            )
            raise SpecError(msg)
        try:
            document = jsonpatch.JsonPatch(operations).apply(document)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            msg = f"patches[{number}] does not apply to the workspace: {error}"
            raise SpecError(msg) from error
    missing = [key for key in ("channels", "measurements", "observations") if key not in document]
    if missing:
        msg = f"a workspace has channels, measurements and observations; {', '.join(missing)} missing"
        raise SpecError(msg)
    if not document["measurements"]:
        msg = f"the workspace has no measurement, got {document['measurements']!r}"
        raise SpecError(msg)
    _check_measured(document)
    measurements = {item["name"]: item for item in reversed(document["measurements"])}  # the first of a name, as pyhf
    if measurement is not None and measurement not in measurements:
        msg = f"the workspace has no measurement {measurement!r}, only {sorted(measurements)}"
        raise SpecError(msg)
    config = measurements[measurement or document["measurements"][0]["name"]]["config"]
    spec = {"channels": document["channels"], "parameters": config["parameters"]}
    observations = {item["name"]: [float(n) for n in item["data"]] for item in document["observations"]}
    if len(observations) < len(document["observations"]):
        msg = (
            f"the workspace has two observations of one channel: {[item['name'] for item in document['observations']]}"
        )
        raise SpecError(msg)
    return spec, config["poi"] or None, observations


def _check_measured(document: Mapping[str, Any]) -> None:
    """See that measurements and observations are what pyhf's schema takes; channels are looked at when they are read.

    Raises:
        SpecError: with the place.
    """
    skeleton = copy.deepcopy({key: document[key] for key in ("measurements", "observations")})
    for item in _items(skeleton, "observations"):
        _plain(item, "data")
    channel = {"name": "any", "samples": [{"name": "any", "data": [1.0], "modifiers": []}]}
    _validate({**skeleton, "channels": [channel], "version": "1.0.0"}, "workspace.json")


def _validate(document: PyTree, schema: str) -> None:
    import pyhf

    try:
        pyhf.schema.validate(document, schema)
    except pyhf.exceptions.InvalidSpecification as error:
        msg = f"{error.path or 'specification'}: {error.parent.message} (schema {schema} of pyhf {pyhf.__version__})"
        raise SpecError(msg) from error
