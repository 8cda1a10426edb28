"""An HS3 document as it is read: its parts by name, values and bounds of parameters, and constraints on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from diffea.errors import FormatError
from diffea.types import JSONMapping


@dataclass(frozen=True)
class Constraint:
    """What an auxiliary distribution says of one parameter: a normal of this width, or a Poisson count of `width` times it."""

    kind: Literal["normal", "poisson"]
    name: str
    centre: float
    width: float


def need(part: object, key: str, place: str) -> Any:
    """A component that must be there.

    Raises:
        FormatError: if it is not.
    """
    if not isinstance(part, Mapping) or key not in part:
        msg = f"{place}: expected {key!r}, which is missing"
        raise FormatError(msg)
    return part[key]


def by_name(document: JSONMapping, part: str) -> dict[str, JSONMapping]:
    """The entries of a part of the document."""
    return {need(item, "name", f"{part}[{i}]"): item for i, item in enumerate(document.get(part) or [])}


class Document:
    """An HS3 document with one of its analyses.

    Args:
        document: the JSON, read.
        analysis: name of the analysis; the first if None.

    Raises:
        FormatError: if a part is missing, or refers to one that is.
    """

    def __init__(self, document: JSONMapping, analysis: str | None) -> None:
        need(document, "metadata", "HS3 document")
        self.packages = [p.get("name") for p in document["metadata"].get("packages") or []]
        self.distributions, self.functions = by_name(document, "distributions"), by_name(document, "functions")
        self.data = by_name(document, "data")
        analyses, likelihoods = by_name(document, "analyses"), by_name(document, "likelihoods")
        if not analyses or (analysis is not None and analysis not in analyses):
            msg = f"the HS3 document has no analysis {analysis!r}, only {sorted(analyses)}"
            raise FormatError(msg)
        self.name = analysis if analysis is not None else next(iter(analyses))
        chosen, place = analyses[self.name], f"analyses[{self.name!r}]"
        pois = chosen.get("parameters_of_interest") or []
        if len(pois) > 1:
            msg = f"{place}: parameters of interest {pois}: a HistFactory model has one; keep one, the others are fitted like any parameter"
            raise FormatError(msg)
        self.poi = pois[0] if pois else ""
        self.likelihood = self._find(likelihoods, need(chosen, "likelihood", place), place)
        points = by_name(document, "parameter_points")
        start = chosen.get("init") or next(iter(points), None)
        point = self._find(points, start, place) if start is not None else {}
        self.points = {item["name"]: item for item in point.get("parameters") or []}
        domains = by_name(document, "domains")
        axes = [a for name in chosen.get("domains") or [] for a in self._find(domains, name, place).get("axes") or []]
        self.axes = {axis["name"]: axis for axis in axes}
        self._constraints = {
            found.name: (found, name)
            for name in self.likelihood.get("aux_distributions") or []
            for found in [self._read(name)]
        }

    @staticmethod
    def _find(parts: Mapping[str, JSONMapping], name: str, place: str) -> JSONMapping:
        if name not in parts:
            msg = f"{place}: there is no {name!r}, only {sorted(parts)}"
            raise FormatError(msg)
        return parts[name]

    def channels(self) -> list[tuple[JSONMapping, JSONMapping]]:
        """The distributions of the likelihood, each with its data."""
        place = f"likelihoods[{self.likelihood.get('name')!r}]"
        names, data = (need(self.likelihood, key, place) for key in ("distributions", "data"))
        if len(names) != len(data):
            msg = f"{place}: {len(names)} distributions and {len(data)} data"
            raise FormatError(msg)
        return [
            (self._find(self.distributions, a, place), self._find(self.data, b, place))
            for a, b in zip(names, data, strict=True)
        ]

    def value(self, name: str, default: float) -> float:
        """Initial value of a parameter."""
        return float(self.points.get(name, {}).get("value", default))

    def bounds(self, name: str, default: tuple[float, float]) -> tuple[float, float]:
        """Bounds of a parameter."""
        axis = self.axes.get(name, {})
        low, high = axis.get("min"), axis.get("max")
        return (default[0] if low is None else float(low), default[1] if high is None else float(high))

    def is_constant(self, name: str) -> bool:
        """Whether a parameter stays at its initial value."""
        return bool(self.points.get(name, {}).get("const", False))

    def constraint(self, parameter: str, named: str | None = None) -> Constraint | None:
        """The constraint on a parameter, by the likelihood or by the name that a modifier gives.

        Raises:
            FormatError: if there are two.
        """
        own, where = self._constraints.get(parameter, (None, None))
        if named is None or named == where:
            return own
        if own is not None:
            msg = f"parameter {parameter!r} is constrained twice, by {where!r} and by {named!r}: keep one"
            raise FormatError(msg)
        return self._read(named)

    def _number(self, value: str | float) -> float | None:
        if isinstance(value, (int, float)):
            return float(value)
        return self.value(value, 0.0) if self.is_constant(value) else None

    def _read(self, name: str) -> Constraint:
        place = f"distributions[{name!r}]"
        part = self._find(self.distributions, name, place)
        x, mean = (need(part, key, place) for key in ("x", "mean"))
        if part.get("type") == "gaussian_dist":
            sigma = self._number(need(part, "sigma", place))
            for parameter, centre in ((mean, self._number(x)), (x, self._number(mean))):
                if isinstance(parameter, str) and centre is not None and sigma is not None:
                    return Constraint("normal", parameter, centre, sigma)
        if part.get("type") == "poisson_dist":
            parameter, factor = self._scaled(mean, place)
            if (centre := self._number(x)) is not None:
                return Constraint("poisson", parameter, centre, factor)
        msg = (
            f"{place}: a {part.get('type')} of x = {x!r}, mean = {mean!r} is no constraint that a HistFactory model has: "
            "expected a gaussian_dist or poisson_dist of one parameter and constants"
        )
        raise FormatError(msg)

    def _scaled(self, mean: str | float, place: str) -> tuple[str, float]:
        """The parameter in the mean of a Poisson constraint, and the constant that multiplies it."""
        factors: Sequence[str | float] = [mean]
        if isinstance(mean, str) and mean in self.functions:
            if self.functions[mean].get("type") != "product":
                msg = f"{place}: its mean {mean!r} is a {self.functions[mean].get('type')}; expected a product"
                raise FormatError(msg)
            factors = need(self.functions[mean], "factors", f"functions[{mean!r}]")
        names = [factor for factor in factors if isinstance(factor, str)]
        free = names if len(names) == 1 else [name for name in names if self._number(name) is None]
        if len(free) != 1:
            msg = f"{place}: its mean depends on {free}; expected one parameter"
            raise FormatError(msg)
        return free[0], math.prod(self._number(factor) or 0.0 for factor in factors if factor != free[0])
