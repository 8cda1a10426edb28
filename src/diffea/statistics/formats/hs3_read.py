"""Reading an HS3 document of ``histfactory_dist`` as a pyhf workspace.

A normfactor with a normal constraint is pyhf's lumi, a shapefactor with normal constraints a staterror, with Poisson ones a shapesys.
``hi`` and ``lo`` of a
histosys are events, not differences, and ``vals`` of a shapesys too: so pyhs3 and ROOT (the first) and pyhs3 (the second) read them.
"""

from __future__ import annotations

import numpy as np

from diffea.errors import FormatError
from diffea.statistics.formats.hs3_document import Constraint, Document, need
from diffea.statistics.formats.hs3_names import CODES, DEFAULT_CODES
from diffea.statistics.formats.hs3_sets import Use, gather_sets
from diffea.types import JSONDict, JSONMapping

_LUMI = "lumi"

Codes = dict[str, dict[str, str]]


def read_hs3(document: JSONMapping, analysis: str | None = None) -> tuple[JSONDict, Codes]:
    """The pyhf workspace of an HS3 document, and its interpolation codes as pyhf's ``modifier_settings``.

    Args:
        document: the JSON, read.
        analysis: name of the analysis; the first by default.

    Raises:
        FormatError: if a part is missing, or pyhf has no counterpart; with the place.
    """
    reader = _Reader(Document(document, analysis))
    pairs = reader.document.channels()
    channels = [reader.channel(distribution) for distribution, _ in pairs]
    observations = []
    for (distribution, data), channel in zip(pairs, channels, strict=True):
        place = f"data[{data['name']!r}]"
        contents = need(data, "contents", place) if data.get("type") == "binned" else None
        if contents is None or len(contents) != len(channel["samples"][0]["data"]):
            msg = (
                f"{place}: expected binned data of the bins of {distribution['name']!r}, got {data.get('type')!r} data"
            )
            raise FormatError(msg)
        observations.append({"name": channel["name"], "data": [float(n) for n in contents]})
    parameters = reader.finish()
    workspace = {
        "channels": channels,
        "observations": observations,
        "measurements": [
            {"name": reader.document.name, "config": {"poi": reader.document.poi, "parameters": parameters}}
        ],
        "version": "1.0.0",
    }
    return workspace, {kind: {"interpcode": code} for kind, code in {**DEFAULT_CODES, **reader.codes}.items()}


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.codes: dict[str, str] = {}
        self.scalars: dict[str, str] = {}
        self.lumi: Constraint | None = None
        self.uses: list[Use] = []

    def channel(self, distribution: JSONMapping) -> JSONDict:
        """A channel of the workspace; the modifiers of its samples that have a parameter a bin are left for `finish`."""
        place = f"distributions[{distribution['name']!r}]"
        if distribution.get("type") != "histfactory_dist":
            msg = (
                f"{place}: a {distribution.get('type')} is no histogram: a HistFactory model has only histfactory_dist"
            )
            raise FormatError(msg)
        if distribution.get("barlow_beeston_method", "lite") != "lite":
            msg = f"{place}/barlow_beeston_method: 'full' (a parameter for every sample and bin) has no counterpart in pyhf, only 'lite'"
            raise FormatError(msg)
        samples: list[JSONDict] = []
        for j, part in enumerate(need(distribution, "samples", place)):
            here = f"{place}/samples[{j}]"
            data = need(part, "data", here)
            values = [float(n) for n in need(data, "contents", f"{here}/data")]
            errors = [float(n) for n in data.get("errors") or np.zeros(len(values))]
            sample: JSONDict = {"name": part.get("name", f"sample{j}"), "data": values, "modifiers": []}
            for k, modifier in enumerate(part.get("modifiers") or []):
                self._modifier(modifier, f"{here}/modifiers[{k}]", distribution["name"], sample, errors)
            samples.append(sample)
        if not samples:
            msg = f"{place}/samples: expected at least one sample"
            raise FormatError(msg)
        return {"name": distribution["name"], "samples": samples}

    def _modifier(self, modifier: JSONMapping, place: str, channel: str, sample: JSONDict, errors: list[float]) -> None:
        kind = need(modifier, "type", place)
        if kind in ("normfactor", "normsys", "histosys"):
            name = modifier.get("parameter") or need(modifier, "name", place)
            data = getattr(self, f"_{kind}")(modifier, name, place)
            is_lumi = kind == "normfactor" and self.scalars[name] == _LUMI
            entry = {"name": _LUMI if is_lumi else name, "type": _LUMI if is_lumi else kind, "data": data}
            sample["modifiers"].append(entry)
        elif kind in ("shapefactor", "shapesys", "staterror"):
            self.uses.append(self._use(modifier, kind, place, channel, sample, errors))
        else:
            msg = f"{place}: a modifier of type {kind!r} has no counterpart in pyhf"
            raise FormatError(msg)

    def _normfactor(self, modifier: JSONMapping, name: str, place: str) -> None:
        if modifier.get("constraint"):
            msg = f"{place}: a normfactor with the constraint {modifier['constraint']!r} has no counterpart; name a gaussian_dist in aux_distributions"
            raise FormatError(msg)
        found = self.document.constraint(name, modifier.get("constraint_name"))
        if found is not None and found.kind != "normal":
            msg = f"{place}: the normfactor {name!r} has a Poisson constraint; pyhf has a normal one (lumi) or none"
            raise FormatError(msg)
        kind = "normfactor" if found is None else _LUMI
        if self.scalars.setdefault(name, kind) != kind:
            msg = f"{place}: {name!r} is the parameter of a normsys or histosys too, or constrained in one place only"
            raise FormatError(msg)
        if found is not None and self.lumi not in (None, found):
            msg = f"{place}: {name!r} and {self.lumi.name!r} are normfactors with a constraint; pyhf has one, its lumi"
            raise FormatError(msg)
        self.lumi = found or self.lumi

    def _normsys(self, modifier: JSONMapping, name: str, place: str) -> dict[str, float]:
        data = self._shift("normsys", modifier, name, place)
        return {key: float(need(data, key, f"{place}/data")) for key in ("hi", "lo")}

    def _histosys(self, modifier: JSONMapping, name: str, place: str) -> dict[str, list[float]]:
        data = self._shift("histosys", modifier, name, place)
        both = {key: need(need(data, key, f"{place}/data"), "contents", f"{place}/data/{key}") for key in ("hi", "lo")}
        return {f"{key}_data": [float(n) for n in values] for key, values in both.items()}

    def _shift(self, kind: str, modifier: JSONMapping, name: str, place: str) -> JSONMapping:
        """The data of a normsys or histosys, once its constraint and interpolation are seen to be pyhf's."""
        found = self.document.constraint(name, modifier.get("constraint_name"))
        if modifier.get("constraint", "Gauss") != "Gauss":
            msg = f"{place}: the constraint {modifier['constraint']!r} of {name!r} has no counterpart in pyhf, only 'Gauss'"
            raise FormatError(msg)
        if found is not None and (
            "constraint" in modifier or (found.kind, found.centre, found.width) != ("normal", 0.0, 1.0)
        ):
            msg = (
                f"{place}: {name!r} has a {found.kind} constraint at {found.centre:g} of width {found.width:g} besides its own; "
                "a HistFactory model has one, normal, at 0 of width 1"
            )
            raise FormatError(msg)
        if self.scalars.setdefault(name, "alpha") != "alpha":
            msg = f"{place}: {name!r} is the parameter of a normfactor too: it cannot be both"
            raise FormatError(msg)
        data = need(modifier, "data", place)
        asked = data.get("interpolation", modifier.get("interpolation", DEFAULT_CODES[kind]))
        if asked not in CODES[kind]:
            msg = f"{place}: the interpolation {asked!r} of a {kind} has no counterpart, only {sorted(CODES[kind])}"
            raise FormatError(msg)
        if self.codes.setdefault(kind, CODES[kind][asked]) != CODES[kind][asked]:
            msg = f"{place}: interpolation {asked!r}, but another {kind} has {self.codes[kind]!r}: a model has one for all of a kind"
            raise FormatError(msg)
        return data

    def _use(
        self, modifier: JSONMapping, kind: str, place: str, channel: str, sample: JSONDict, errors: list[float]
    ) -> Use:
        n = len(sample["data"])
        parameters = modifier.get("parameters")
        if not parameters and kind == "staterror":
            parameters = [f"staterror_{channel}_bin{i}" for i in range(n)]
        if not isinstance(parameters, list) or len(parameters) != n:
            msg = f"{place}/parameters: expected {n} names, one a bin, got {parameters!r}"
            raise FormatError(msg)
        native: list[float] | None = None
        if kind == "staterror":
            native = errors
            if modifier.get("constraint") != "Gauss":
                msg = (
                    f"{place}: a staterror with the constraint {modifier.get('constraint')!r} has no counterpart in pyhf, only 'Gauss' "
                    "(readers differ about what it is where it is not said)"
                )
                raise FormatError(msg)
        if kind == "shapesys":
            native = [float(n) for n in need(need(modifier, "data", place), "vals", f"{place}/data")]
            if "ROOT" in self.document.packages or modifier.get("constraint", "Poisson") != "Poisson":
                msg = (
                    f"{place}: the shapesys is one of ROOT, or its constraint is not 'Poisson': ROOT's 'vals' are not events; write it "
                    "as a shapefactor with poisson_dist in aux_distributions"
                )
                raise FormatError(msg)
        name = str(modifier.get("name") or parameters[0])
        return Use(name, kind, place, channel, sample, tuple(parameters), errors, native)

    def finish(self) -> list[JSONMapping]:
        """Enter the modifiers with a parameter a bin; the measurement's settings of all parameters."""
        settings = []
        for name, kind in self.scalars.items():
            init, bounds = {"alpha": (0.0, (-5.0, 5.0))}.get(kind, (1.0, (0.0, 10.0)))
            entry: JSONDict = {
                "name": _LUMI if kind == _LUMI else name,
                "inits": [self.document.value(name, init)],
                "bounds": [list(self.document.bounds(name, bounds))],
            }
            if kind == _LUMI and self.lumi is not None:
                entry |= {"auxdata": [self.lumi.centre], "sigmas": [self.lumi.width]}
            if self.document.is_constant(name):
                entry["fixed"] = True
            settings.append(entry)
        return [*settings, *gather_sets(self.document, self.uses)]
