"""The parameter sets of a model, in pyhf's order, with inits, bounds, constraints and what the measurement changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diffea.errors import SpecError
from diffea.statistics.spec import Channel, Modifier, Sample, Spec

Constraint = Literal["normal", "poisson"]


@dataclass(frozen=True)
class ParameterSet:
    """One parameter, or one per bin, of a modifier's name.

    Attributes:
        name: the modifier's name.
        slice: where its values are in the vector of parameters.
        is_scalar: one parameter (then `par_names` has no index).
        constraint: ``"normal"``, ``"poisson"``, or None for a free parameter.
        inits, bounds: shapes (n,) and (n, 2).
        fixed: shape (n,); None where the yields decide (staterror and shapesys on empty bins).
        auxdata: shape (n,); None where the yields decide (shapesys), or there is no constraint.
        sigmas: shape (n,) of a normal constraint; None where the yields decide (staterror), or there is none.
        kinds: types of the modifiers that share the parameter.
    """

    name: str
    slice: slice
    is_scalar: bool
    constraint: Constraint | None
    inits: np.ndarray
    bounds: np.ndarray
    fixed: np.ndarray | None
    auxdata: np.ndarray | None
    sigmas: np.ndarray | None
    factors: np.ndarray | None
    kinds: tuple[str, ...]

    @property
    def n_parameters(self) -> int:
        """Number of parameters in the set."""
        return len(self.inits)


@dataclass(frozen=True)
class _Requirement:
    constraint: Constraint | None
    n: int
    is_scalar: bool
    init: float | None
    bounds: tuple[float, float] | None
    auxdata: float | None
    settable: tuple[str, ...] = ("inits", "bounds", "fixed")


def _requirement(kind: str, nbins: int) -> _Requirement:
    """What pyhf's modifiers of a kind ask of their parameter (`required_parset` there)."""
    aux = ("inits", "bounds", "fixed", "auxdata")
    match kind:
        case "normfactor":
            return _Requirement(None, 1, True, 1.0, (0.0, 10.0), None)
        case "shapefactor":
            return _Requirement(None, nbins, False, 1.0, (0.0, 10.0), None)
        case "normsys" | "histosys":
            return _Requirement("normal", 1, True, 0.0, (-5.0, 5.0), 0.0, aux)
        case "lumi":
            return _Requirement("normal", 1, True, None, None, None, (*aux, "sigmas"))
        case "staterror":
            return _Requirement("normal", nbins, False, 1.0, (1e-10, 10.0), 1.0, (*aux, "sigmas"))
        case _:
            return _Requirement("poisson", nbins, False, 1.0, (1e-10, 10.0), None, (*aux, "factors"))


def _required(spec: Spec, nbins: Mapping[str, int]) -> Iterator[tuple[str, str, str, _Requirement]]:
    """(name, kind, place, requirement) in the order in which pyhf's builders meet them."""
    samples = sorted({name for channel in spec.channels for name in channel.samples})
    names = sorted({id_ for channel in spec.channels for s in channel.samples.values() for id_ in s.modifiers})
    uses: dict[tuple[str, str], list[tuple[Channel, Sample, Modifier]]] = {id_: [] for id_ in names}
    order: list[tuple[str, str]] = []
    for channel in spec.channels:
        for sample in (channel.samples[name] for name in samples if name in channel.samples):
            for id_ in (id_ for id_ in names if id_ in sample.modifiers):
                uses[id_].append((channel, sample, sample.modifiers[id_]))
                if id_ not in order:
                    order.append(id_)
    for kind in ("histosys", "lumi", "normfactor", "normsys", "shapefactor", "shapesys", "staterror"):
        for id_ in names if kind == "staterror" else order:
            if id_[1] == kind:
                yield id_[0], kind, uses[id_][0][2].place, _requirement(kind, _bins(id_, uses[id_], nbins))


def _bins(id_: tuple[str, str], uses: list[tuple[Channel, Sample, Modifier]], nbins: Mapping[str, int]) -> int:
    """Number of bins that a per-bin modifier covers; checks that sharing it makes sense."""
    first = nbins[uses[0][0].name]
    channels = {channel.name: nbins[channel.name] for channel, _, _ in uses}
    if id_[1] == "shapesys" and len(uses) > 1:
        msg = f"{uses[1][2].place}: shapesys {id_[0]!r} is used at {uses[0][2].place} already; give each its own name"
        raise SpecError(msg)
    if id_[1] == "shapefactor" and max(channels.values()) > first:
        msg = (
            f"{uses[0][2].place}: shapefactor {id_[0]!r} is shared by channels of {channels} bins; pyhf counts the "
            f"bins in {uses[0][0].name!r} ({first}), so that one must have the most: rename channels or modifiers"
        )
        raise SpecError(msg)
    if id_[1] == "staterror":
        masks = {
            name: {channel.name for channel, sample, _ in uses if sample.name == name}
            for _, sample, _ in uses
            for name in [sample.name]
        }
        if len({frozenset(mask) for mask in masks.values()}) > 1:
            msg = (
                f"{uses[0][2].place}: staterror {id_[0]!r} covers different channels for different samples "
                f"({ {name: sorted(mask) for name, mask in masks.items()} }); give each channel a staterror of its own"
            )
            raise SpecError(msg)
        return sum(channels.values())
    return first


def parameter_sets(spec: Spec, nbins: Mapping[str, int]) -> dict[str, ParameterSet]:
    """The parameter sets by name, in pyhf's order.

    Raises:
        SpecError: if one name is used by modifiers that need different parameters, or the measurement's settings
            do not fit.
    """
    required: dict[str, list[tuple[str, str, _Requirement]]] = {}
    for name, kind, place, requirement in _required(spec, nbins):
        required.setdefault(name, []).append((kind, place, requirement))
    if not required:
        msg = "the specification has no modifier, so the model has no parameter: add a normfactor for the signal"
        raise SpecError(msg)
    sets: dict[str, ParameterSet] = {}
    start = 0
    for name, uses in required.items():
        kind, place, requirement = uses[0]
        for other_kind, other_place, other in uses[1:]:
            if other != requirement:
                msg = f"{other_place}: {other_kind} {name!r} cannot share its parameter with {kind} {name!r} ({place})"
                raise SpecError(msg)
        kinds = tuple(use[0] for use in uses)
        sets[name] = _configured(name, place, kinds, requirement, start, spec.parameters.get(name, {}))
        start += requirement.n
    return sets


def _configured(
    name: str, place: str, kinds: tuple[str, ...], need: _Requirement, start: int, user: Mapping[str, Any]
) -> ParameterSet:
    for key in ("inits", "bounds", "auxdata", "sigmas", "factors"):
        if user.get(key) is None:
            continue
        if key not in need.settable:
            msg = f"parameters[{name!r}]: a {kinds[0]} does not use {key!r}"
            raise SpecError(msg)
        if len(user[key]) != need.n:
            msg = f"parameters[{name!r}]/{key}: expected {need.n} value(s), got {len(user[key])}"
            raise SpecError(msg)

    def values(key: str, default: Any) -> np.ndarray | None:
        given = user.get(key)
        if given is not None:
            return np.asarray(given, float)
        return None if default is None else np.broadcast_to(np.asarray(default, float), (need.n, *np.shape(default)))

    inits, bounds = values("inits", need.init), values("bounds", need.bounds)
    auxdata, sigmas = values("auxdata", need.auxdata), values("sigmas", None)
    if kinds[0] == "lumi" and (inits is None or bounds is None or auxdata is None or sigmas is None):
        msg = (
            f"{place}: the lumi modifier {name!r} needs auxdata, sigmas, inits and bounds in the measurement's "
            f"parameters, got {sorted(set(user) - {'name'})}"
        )
        raise SpecError(msg)
    assert inits is not None
    assert bounds is not None
    if sigmas is not None and not np.all(sigmas > 0):
        msg = f"parameters[{name!r}]/sigmas: must be positive, got {sigmas.tolist()}"
        raise SpecError(msg)
    if need.constraint == "normal" and sigmas is None and kinds[0] != "staterror":
        sigmas = np.ones(need.n)
    fixed: np.ndarray | None = None
    if "fixed" in user:
        fixed = np.full(need.n, bool(user["fixed"]))
    elif kinds[0] not in ("staterror", "shapesys"):
        fixed = np.zeros(need.n, bool)
    return ParameterSet(
        name,
        slice(start, start + need.n),
        need.is_scalar,
        need.constraint,
        inits,
        bounds,
        fixed,
        auxdata,
        sigmas,
        values("factors", None),
        kinds,
    )
