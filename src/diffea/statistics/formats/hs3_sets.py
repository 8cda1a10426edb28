"""Modifiers of an HS3 document that have a parameter a bin: which of pyhf's they are, and their parameters' settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffea.errors import FormatError
from diffea.statistics.formats.hs3_document import Constraint, Document
from diffea.types import JSONDict


@dataclass
class Use:
    """A modifier with a parameter a bin, in one sample.

    Attributes:
        name, kind, place: as in the document; `channel` and `sample` (of the workspace) that it is in.
        parameters: names, one a bin.
        errors: statistical errors of the sample.
        native: uncertainties in events that the modifier itself gives (a staterror or shapesys, not a shapefactor).
    """

    name: str
    kind: str
    place: str
    channel: str
    sample: JSONDict
    parameters: tuple[str, ...]
    errors: list[float]
    native: list[float] | None


_KINDS = {"normal": "staterror", "poisson": "shapesys"}


def gather_sets(document: Document, uses: Sequence[Use]) -> list[JSONDict]:
    """Enter the modifiers into their samples; the settings of their parameters.

    Raises:
        FormatError: if parameters are shared, constrained or held in a way that pyhf has not.
    """
    sets: dict[tuple[str, ...], list[Use]] = {}
    for use in uses:
        sets.setdefault(use.parameters, []).append(use)
    _refuse_overlaps(sets)
    kinds = {parameters: _kind(document, own) for parameters, own in sets.items()}
    names = _names(sets, kinds)
    settings: dict[str, list[tuple[str, JSONDict]]] = {}
    for parameters, own in sets.items():
        name, kind = names[parameters], kinds[parameters]
        if kind == "shapefactor":
            entry = _shapefactor(name, own)
        else:
            entry = (_shapesys if kind == "shapesys" else _staterror)(document, name, own)
        entry |= _common(document, own)
        settings.setdefault(name, []).append((own[0].channel, entry))
    return [
        _joined(name, [entry for _, entry in sorted(parts, key=lambda part: part[0])])
        for name, parts in settings.items()
    ]


def _refuse_overlaps(sets: dict[tuple[str, ...], list[Use]]) -> None:
    owners: dict[str, Use] = {}
    for own in sets.values():
        for parameter in own[0].parameters:
            if parameter in owners:
                msg = f"{own[0].place}: the parameter {parameter!r} belongs to other bins at {owners[parameter].place}; pyhf shares all or none"
                raise FormatError(msg)
            owners[parameter] = own[0]


def _constraints(document: Document, use: Use) -> list[Constraint | None]:
    return [document.constraint(parameter) for parameter in use.parameters]


def _kind(document: Document, uses: list[Use]) -> str:
    found = {_KINDS[item.kind] for item in _constraints(document, uses[0]) if item is not None}
    found |= {use.kind for use in uses if use.native is not None}
    if len(found) > 1 or (any(use.native is not None for use in uses) and any(_constraints(document, uses[0]))):
        msg = f"{uses[0].place}: its parameters have constraints of {sorted(found)}, some twice; expected one"
        raise FormatError(msg)
    return next(iter(found), "shapefactor")


def _names(sets: dict[tuple[str, ...], list[Use]], kinds: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """pyhf's names: those of the document, with the channel where one name stands for several sets of parameters.

    Staterrors of several channels are one set of parameters in pyhf if they cover the same samples.
    """
    by_name: dict[str, list[tuple[str, ...]]] = {}
    for parameters, own in sets.items():
        by_name.setdefault(own[0].name, []).append(parameters)
    names = {}
    for name, several in by_name.items():
        covered = {frozenset(use.sample["name"] for use in sets[parameters]) for parameters in several}
        channels = [sets[parameters][0].channel for parameters in several]
        is_one = len(several) == 1 or (
            {kinds[p] for p in several} == {"staterror"} and len(covered) == 1 and len(set(channels)) == len(channels)
        )
        for parameters in several:
            first = sets[parameters][0]
            names[parameters] = name if is_one else f"{name}_{first.channel}_{first.sample['name']}"
    return names


def _common(document: Document, uses: list[Use]) -> JSONDict:
    """Initial values and bounds, and whether each parameter is constant."""
    lowest = 0.0 if _kind(document, uses) == "shapefactor" else 1e-10
    return {
        "inits": [document.value(name, 1.0) for name in uses[0].parameters],
        "bounds": [list(document.bounds(name, (lowest, 10.0))) for name in uses[0].parameters],
        "fixed": [document.is_constant(name) for name in uses[0].parameters],
    }


def _shapefactor(name: str, uses: list[Use]) -> JSONDict:
    for use in uses:
        use.sample["modifiers"].append({"name": name, "type": "shapefactor", "data": None})
    return {"of itself": [False] * len(uses[0].parameters)}


def _shapesys(document: Document, name: str, uses: list[Use]) -> JSONDict:
    if len(uses) > 1:
        msg = f"{uses[1].place}: the parameters of a shapesys, or with Poisson constraints, belong to one sample in pyhf; they are at {uses[0].place} too"
        raise FormatError(msg)
    (use,) = uses
    widths = use.native or [0.0] * len(use.parameters)
    for i, found in enumerate(_constraints(document, use)):
        if found is not None:
            if use.sample["data"][i] <= 0 or not np.isclose(found.centre, found.width, rtol=1e-9):
                msg = (
                    f"{use.place}: the Poisson constraint of {found.name!r} has datum {found.centre:g} and expects {found.width:g} in a "
                    f"bin of {use.sample['data'][i]:g} events: pyhf's shapesys has equal ones, of bins with events"
                )
                raise FormatError(msg)
            widths[i] = use.sample["data"][i] / np.sqrt(found.width)
    use.sample["modifiers"].append({"name": name, "type": "shapesys", "data": [float(w) for w in widths]})
    return {"of itself": [not (n > 0 and w > 0) for n, w in zip(use.sample["data"], widths, strict=True)]}


def _staterror(document: Document, name: str, uses: list[Use]) -> JSONDict:
    """Errors are those of the samples; where they do not give the constraint's width, the first sample's, or `sigmas`."""
    errors = [list(use.native or use.errors) for use in uses]
    total = np.sum([use.sample["data"] for use in uses], axis=0)
    constraints = _constraints(document, uses[0])
    if any(use.native is None for use in uses):
        for i, found in enumerate(constraints):
            if found is None:
                for own in errors:
                    own[i] = 0.0
            elif found.centre != 1.0:
                msg = f"{uses[0].place}: the constraint of {found.name!r} is at {found.centre:g}, that of a staterror at 1"
                raise FormatError(msg)
            elif total[i] > 0 and not any(own[i] for own in errors):
                errors[0][i] = found.width * total[i]
    for use, own in zip(uses, errors, strict=True):
        use.sample["modifiers"].append({"name": name, "type": "staterror", "data": own})
    variance = np.square(errors).sum(axis=0)
    known = (total > 0) & (variance > 0)
    relative = np.where(known, np.sqrt(variance) / np.where(known, total, 1.0), 1.0)
    asked = np.array([r if found is None else found.width for r, found in zip(relative, constraints, strict=True)])
    needed = {} if np.allclose(asked, relative, rtol=1e-12, atol=0.0) else {"needed": True}
    return {"of itself": (~known).tolist(), "sigmas": asked.tolist(), **needed}


def _joined(name: str, parts: list[JSONDict]) -> JSONDict:
    """The settings of a set from those of its channels."""
    fixed, natural = ([flag for part in parts for flag in part[key]] for key in ("fixed", "of itself"))
    entry: JSONDict = {
        "name": name,
        **{key: [v for part in parts for v in part[key]] for key in ("inits", "bounds")},
    }
    if any("needed" in part for part in parts):
        entry["sigmas"] = [value for part in parts for value in part["sigmas"]]
    if fixed != natural:
        if len(set(fixed)) > 1:
            msg = (
                f"of the parameters of {name!r} those of bins {np.flatnonzero(fixed).tolist()} are constant: pyhf holds all of a modifier's, "
                f"or those of bins without events or uncertainty ({np.flatnonzero(natural).tolist()})"
            )
            raise FormatError(msg)
        entry["fixed"] = fixed[0]
    return entry
