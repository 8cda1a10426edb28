"""Reading corrections: a correctionlib file (schema 2) as nodes, its categories settled and its formulas parsed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from correctionlib import _core

from diffea.errors import CorrectionError
from diffea.soft.correction_nodes import Bins, Formula, Node, Transform

__all__ = ["read_correction"]


def read_correction(
    source: str | Path | Mapping[str, Any], name: str, fixed: Mapping[str, Any]
) -> tuple[dict[str, str], Node]:
    """The inputs that are not fixed with their types (``real``, ``int``, ``string``), and the node, of a correction.

    Args:
        source: the file's path (``.json`` or ``.json.gz``), or its content.
        name: of the correction.
        fixed: inputs that are fixed.

    Raises:
        CorrectionError: when there is no such correction or input, or it holds what has no differentiable meaning.
    """
    content = source if isinstance(source, Mapping) else _content(Path(source))
    found = {correction["name"]: correction for correction in content["corrections"]}
    if name not in found:
        msg = f"expected one of the corrections {', '.join(found)}, got {name!r}"
        raise CorrectionError(msg)
    reader = _Reader(found[name], fixed)
    unknown = sorted(set(fixed) - set(reader.types))
    if unknown:
        msg = f"expected to fix some of the inputs {', '.join(reader.types)} of {name!r}, got {', '.join(unknown)}"
        raise CorrectionError(msg)
    if set(fixed) == set(reader.types):
        msg = f"expected an input of {name!r} that is not fixed, got all of {', '.join(fixed)}: this is a constant"
        raise CorrectionError(msg)
    inputs = {key: kind for key, kind in reader.types.items() if key not in fixed}
    return inputs, reader.node(found[name]["data"])


def _content(path: Path) -> Mapping[str, Any]:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


class _Reader:
    """Turns the content of one correction into nodes."""

    def __init__(self, correction: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
        self.name = correction["name"]
        self.types = {variable["name"]: variable["type"] for variable in correction["inputs"]}
        self.variables = [_core.Variable.from_string(json.dumps(variable)) for variable in correction["inputs"]]
        self.formulas = correction.get("generic_formulas") or []
        self.fixed = fixed

    def node(self, spec: Any) -> Node:
        """The node of a part of the file."""
        if not isinstance(spec, Mapping):
            return float(spec)
        kind = spec["nodetype"]
        if kind == "category":
            return self.node(self._chosen(spec))
        if kind == "binning":
            return self._bins([spec["input"]], [spec["edges"]], spec)
        if kind == "multibinning":
            return self._bins(spec["inputs"], spec["edges"], spec)
        if kind == "transform":
            whole = self.types[spec["input"]] == "int"
            return Transform(spec["input"], self.node(spec["rule"]), self.node(spec["content"]), whole)
        if kind == "formula":
            return self._formula(spec)
        if kind == "formularef":
            return self._formula({**self.formulas[spec["index"]], "parameters": spec["parameters"]})
        msg = (
            f"expected {self.name!r} to be made of categories, bins, transforms and formulas, got a {kind!r}: "
            "evaluate it in `columns` instead"
        )
        raise CorrectionError(msg)

    def _chosen(self, spec: Mapping[str, Any]) -> Any:
        """What a category node holds for the fixed input."""
        keys = [item["key"] for item in spec["content"]]
        if spec["input"] not in self.fixed:
            msg = f"expected the category {spec['input']!r} as a keyword: it takes {keys}"
            raise CorrectionError(msg)
        value = self.fixed[spec["input"]]
        if value in keys:
            return spec["content"][keys.index(value)]["value"]
        if spec.get("default") is None:
            msg = f"expected {spec['input']} to be one of {keys}, got {value!r}"
            raise CorrectionError(msg)
        return spec["default"]

    def _bins(self, inputs: list[str], edges: list[Any], spec: Mapping[str, Any]) -> Bins:
        flow = spec["flow"] if isinstance(spec["flow"], str) else self.node(spec["flow"])
        return Bins(tuple(inputs), tuple(map(_edges, edges)), tuple(map(self.node, spec["content"])), flow)

    def _formula(self, spec: Mapping[str, Any]) -> Formula:
        try:
            parsed = _core.Formula.from_string(json.dumps(spec), self.variables)
        except RuntimeError as error:
            msg = (
                f"expected a formula of {self.name!r} that correctionlib can parse, got {spec['expression']!r}: {error}"
            )
            raise CorrectionError(msg) from error
        return Formula(self._tree(parsed.ast))

    def _tree(self, ast: Any) -> Any:
        kind = ast.nodetype.name
        if kind == "LITERAL":
            return float(ast.data)
        if kind == "VARIABLE":
            return list(self.types)[ast.data]
        return (ast.data.name, *map(self._tree, ast.children))


def _edges(spec: Any) -> tuple[float, ...]:
    if isinstance(spec, Mapping):
        return tuple(np.linspace(spec["low"], spec["high"], spec["n"] + 1).tolist())
    return tuple(map(float, spec))
