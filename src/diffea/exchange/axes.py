"""Axes of histograms as JSON, of their kind again when they are read."""

from __future__ import annotations

from typing import Any

import hist
import numpy as np

from diffea.errors import ExchangeError
from diffea.histograms import edges_of
from diffea.types import Axis, JSONDict, JSONMapping

axis = hist.axis
FUNCTIONS = {"log": axis.transform.log, "sqrt": axis.transform.sqrt}


def described(ax: Axis) -> JSONDict:
    """An axis as JSON values: its ``kind``, what makes it, and its bin ``edges``.

    Raises:
        ExchangeError: if it is transformed by a function that has no name.
    """
    common = {
        "kind": type(ax).__name__,
        "name": ax.name,
        "label": "" if ax.label == ax.name else ax.label,
        "growth": bool(ax.traits.growth),
    }
    edges = {"edges": [_number(edge) for edge in edges_of(ax)]}
    flow = {trait: bool(getattr(ax.traits, trait)) for trait in ("underflow", "overflow")}
    match ax:
        case axis.Boolean():
            return {**common, **flow, **edges}
        case axis.IntCategory() | axis.StrCategory():
            return {**common, **flow, **edges, "categories": list(ax)}
        case axis.Regular() if ax.transform is not None:
            return {**common, **flow, **edges, "transform": _transform(ax)}
        case axis.Regular() | axis.Variable() | axis.Integer():
            return {**common, **flow, **edges, "circular": bool(ax.traits.circular)}
    msg = f"axis {ax.name!r} is of a kind that an exchange file cannot hold: {type(ax).__name__}"
    raise ExchangeError(msg)


def made(stored: JSONMapping) -> Axis:
    """The inverse of ``described``; an axis without a ``kind`` is one of variable bins.

    Raises:
        KeyError, TypeError, ValueError: if it describes no axis.
    """
    edges = np.asarray([float(edge) for edge in stored["edges"]])
    found = _made(stored, edges)
    own = edges_of(found)
    if own.shape != edges.shape or not np.allclose(own, edges, rtol=1e-12):
        msg = f"its edges, {edges}, are not those of the axis that it describes, {own}"
        raise ValueError(msg)
    return found


def _made(stored: JSONMapping, edges: np.ndarray) -> Axis:
    text: dict[str, Any] = {name: _of(str, stored[name]) for name in ("name", "label")}
    flow: dict[str, Any] = {trait: _of(bool, stored[trait]) for trait in ("underflow", "overflow")}
    growth, circular = (_of(bool, stored.get(trait, False)) for trait in ("growth", "circular"))
    bins, low, high = len(edges) - 1, edges[0], edges[-1]
    match stored.get("kind", "Variable"):
        case "Boolean":
            return axis.Boolean(**text)
        case "IntCategory" | "StrCategory" as kind:
            categories = [_of(int if kind == "IntCategory" else str, item) for item in stored["categories"]]
            return getattr(axis, kind)(categories, growth=growth, overflow=flow["overflow"], **text)
        case "Integer":
            return axis.Integer(int(low), int(high), **flow, growth=growth, circular=circular, **text)
        case "Regular" if "transform" in stored:
            return axis.Regular(bins, low, high, transform=_function(stored["transform"]), **text)
        case "Regular":
            return axis.Regular(bins, low, high, **flow, growth=growth, circular=circular, **text)
        case "Variable":
            return axis.Variable(edges, **flow, growth=growth, circular=circular, **text)
        case kind:
            msg = f"no axis is of kind {kind!r}"
            raise ValueError(msg)


def _number(value: float) -> float | str:
    return float(value) if np.isfinite(value) else str(float(value))


def _transform(ax: Axis) -> dict[str, object]:
    """The transform by name."""
    named = next((name for name, function in FUNCTIONS.items() if ax.transform == function), None)
    power = getattr(ax.transform, "power", None)
    if named is None and power is None:
        msg = (
            f"axis {ax.name!r} is transformed by a function of its own, which an exchange file cannot hold: "
            "give hist.axis.Variable(axis.edges) instead"
        )
        raise ExchangeError(msg)
    return {"function": named or "pow", "power": power}


def _function(stored: JSONMapping) -> Any:
    name = stored["function"]
    return axis.transform.Pow(float(stored["power"])) if name == "pow" else FUNCTIONS[name]


def _of(kind: type, value: object) -> Any:
    if type(value) is not kind:
        msg = f"expected {kind.__name__}, got {value!r}"
        raise TypeError(msg)
    return value
