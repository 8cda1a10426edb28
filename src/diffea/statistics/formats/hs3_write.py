"""Writing a model as an HS3 document (HEP Statistics Serialization Standard, github.com/hep-statistics-serialization-standard).

staterror and shapesys are written as what they are, a shapefactor whose parameters have constraints of their own
(`aux_distributions`): readers differ about HS3's short forms (``vals`` of a shapesys are events in pyhs3, effective counts in
ROOT; pyhs3 0.4.2 cannot evaluate a staterror), and about these no two do. Bins without events or uncertainty have no
constraint and a constant parameter, so there the density differs from pyhf's by pyhf's constant factor.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import numpy as np

from diffea.errors import FormatError
from diffea.statistics.config import ModelConfig
from diffea.statistics.formats.hs3_names import (
    DEFAULT_CODES,
    DOMAIN,
    KNOWN_CODES,
    LIKELIHOOD,
    POINT,
    VERSION,
    parameter_names,
)
from diffea.types import JSONDict, JSONMapping


def write_hs3(workspace: JSONMapping, config: ModelConfig) -> JSONDict:
    """The HS3 document of a model with numbers.

    Args:
        workspace: its pyhf workspace.
        config: its configuration.

    Raises:
        FormatError: if it has an interpolation code, a constraint or a name for which HS3 has no counterpart; with the parameter.
    """
    writer = _Writer(config)
    measurement = workspace["measurements"][0]
    axes = {
        channel["name"]: [
            {"name": f"obs_{channel['name']}", "min": 0.0, "max": float(n), "nbins": n}
            for n in [len(channel["samples"][0]["data"])]
        ]
        for channel in workspace["channels"]
    }
    channels = [writer.channel(channel, axes[channel["name"]]) for channel in workspace["channels"]]
    constraints, functions, constants = writer.constraints()
    observed = {item["name"]: item["data"] for item in workspace["observations"]}
    likelihood = {"name": LIKELIHOOD, "distributions": list(axes), "data": [f"observed_{name}" for name in axes]}
    if constraints:
        likelihood["aux_distributions"] = [item["name"] for item in constraints]
    poi = measurement["config"]["poi"]
    document = {
        "metadata": {
            "hs3_version": VERSION,
            "packages": [{"name": "diffea", "version": importlib.metadata.version("diffea")}],
        },
        "distributions": [*channels, *constraints],
        "functions": functions,
        "data": [
            {"name": f"observed_{name}", "type": "binned", "contents": list(observed[name]), "axes": axis}
            for name, axis in axes.items()
        ],
        "likelihoods": [likelihood],
        "domains": [{"name": DOMAIN, "type": "product_domain", "axes": writer.domain()}],
        "parameter_points": [{"name": POINT, "parameters": [*writer.point(), *constants]}],
        "analyses": [
            {
                "name": measurement["name"],
                "likelihood": LIKELIHOOD,
                "parameters_of_interest": [poi] if poi else [],
                "domains": [DOMAIN],
                "init": POINT,
            }
        ],
    }
    _refuse_equal_names(document)
    return document


class _Writer:
    def __init__(self, config: ModelConfig) -> None:
        self.config, self.layout, self.prepared = config, config.layout, config.prepared
        self.codes = {kind: getattr(config.settings, kind) for kind in KNOWN_CODES}
        self.names = [
            name
            for item in self.layout.sets.values()
            for name in parameter_names(item.name, item.n_parameters, item.is_scalar)
        ]
        self.fixed = np.asarray(self.prepared.fixed)
        self.stat = {
            (self.layout.bin_names[bin_], self._owner(int(p))): int(p)
            for _, mask, parameters in self.layout.staterror
            for bin_, p in zip(np.flatnonzero(mask), parameters, strict=True)
        }

    def _owner(self, parameter: int) -> str:
        return next(i.name for i in self.layout.sets.values() if i.slice.start <= parameter < i.slice.stop)

    def channel(self, channel: JSONMapping, axes: list[JSONDict]) -> JSONDict:
        """The distribution of a channel."""
        samples = []
        for sample in channel["samples"]:
            errors = [modifier["data"] for modifier in sample["modifiers"] if modifier["type"] == "staterror"]
            contents = {"contents": list(sample["data"])}
            if errors:
                contents["errors"] = np.sqrt(np.square(errors).sum(axis=0)).tolist()
            modifiers = [
                self._modifier(modifier, channel["name"], len(sample["data"])) for modifier in sample["modifiers"]
            ]
            samples.append({"name": sample["name"], "data": contents, "modifiers": modifiers})
        return {"name": channel["name"], "type": "histfactory_dist", "axes": axes, "samples": samples}

    def _modifier(self, modifier: JSONMapping, channel: str, n: int) -> JSONDict:
        name, kind, data = modifier["name"], modifier["type"], modifier["data"]
        match kind:
            case "normfactor" | "lumi":
                return {"name": name, "type": "normfactor", "parameter": name}
            case "normsys":
                return self._shift(name, kind, {"hi": data["hi"], "lo": data["lo"]})
            case "histosys":
                shifts = {"hi": {"contents": data["hi_data"]}, "lo": {"contents": data["lo_data"]}}
                return self._shift(name, kind, shifts)
            case "staterror":
                indices = [self.stat[f"{channel}[{i}]", name] for i in range(n)]
            case _:
                start = self.layout.sets[name].slice.start
                indices = [start + i for i in range(n)]
        return {"name": name, "type": "shapefactor", "parameters": [self.names[i] for i in indices]}

    def _shift(self, name: str, kind: str, data: JSONDict) -> JSONDict:
        code = self.codes[kind]
        if code not in KNOWN_CODES[kind]:
            msg = (
                f"{kind} {name!r} is interpolated by {code}, for which HS3 has no counterpart: make the model with "
                f"modifier_settings={{{kind!r}: {{'interpcode': …}}}}, one of {KNOWN_CODES[kind]}"
            )
            raise FormatError(msg)
        if code != DEFAULT_CODES[kind]:
            data["interpolation"] = code
        return {"name": name, "type": kind, "parameter": name, "constraint": "Gauss", "data": data}

    def constraints(self) -> tuple[list[JSONDict], list[JSONDict], list[JSONDict]]:
        """Distributions of auxiliary data, the functions that they need, and the auxiliary data as constants."""
        distributions, functions, constants = [], [], []
        for kind, parameter, centre, width in self._auxiliary():
            name, item = self.names[parameter], self.layout.sets[self._owner(parameter)]
            if item.kinds[0] in ("normsys", "histosys"):
                if (centre, width) != (0.0, 1.0):
                    msg = (
                        f"parameters[{name!r}]/auxdata: the constraint of a {item.kinds[0]} is at 0 in HS3, here at {centre:g}; "
                        "take 'auxdata' away from the measurement"
                    )
                    raise FormatError(msg)
                continue
            if item.fixed is None and self.fixed[parameter]:
                continue
            nominal, mean = f"nom_{name}", name
            if kind == "poisson_dist":
                mean = f"mean_{name}"
                functions.append({"name": mean, "type": "product", "factors": [name, width]})
            distribution: JSONDict = {"name": f"constraint_{name}", "type": kind, "x": nominal, "mean": mean}
            distributions.append(distribution if kind == "poisson_dist" else {**distribution, "sigma": width})
            constants.append({"name": nominal, "value": centre, "const": True})
        return distributions, functions, constants

    def _auxiliary(self) -> Iterator[tuple[str, int, float, float]]:
        """(distribution, parameter, auxiliary datum, width or factor) of every constraint."""
        aux = np.asarray(self.prepared.auxdata)
        both = (
            ("gaussian_dist", self.layout.normal, self.prepared.sigmas),
            ("poisson_dist", self.layout.poisson, self.prepared.factors),
        )
        for kind, (parameters, places), widths in both:
            for parameter, place, width in zip(parameters, places, np.asarray(widths), strict=True):
                yield kind, int(parameter), float(aux[place]), float(width)

    def domain(self) -> list[JSONDict]:
        """Bounds of all parameters."""
        bounds = self.config.suggested_bounds()
        return [
            {"name": name, "min": float(low), "max": float(high)}
            for name, (low, high) in zip(self.names, bounds, strict=True)
        ]

    def point(self) -> list[JSONDict]:
        """Initial values of all parameters, constant where they are fixed."""
        return [
            {"name": name, "value": float(value), **({"const": True} if fixed else {})}
            for name, value, fixed in zip(self.names, self.config.suggested_init(), self.fixed, strict=True)
        ]


def _refuse_equal_names(document: JSONMapping) -> None:
    """Distributions, functions and parameters of HS3 share one set of names."""
    names = [item["name"] for part in ("distributions", "functions") for item in document[part]]
    names += [item["name"] for item in document["parameter_points"][0]["parameters"]]
    for name in names:
        if names.count(name) > 1:
            msg = f"{name!r} would name two things in the HS3 document (channels, parameters and constraints): rename a modifier or channel"
            raise FormatError(msg)
