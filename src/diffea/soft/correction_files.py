"""Reading corrections: a correctionlib file (schema 2) as nodes, its categories settled and its formulas parsed."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from correctionlib import _core

from diffea.errors import CorrectionError
from diffea.soft.correction_nodes import Bins, Formula, Node, Transform, Tree
from diffea.types import JSONMapping

__all__ = ["read_correction"]

SCHEMA = 2
DEEPEST = 200  # brackets within brackets; correctionlib's parser ends the process at some thousands
LONGEST = 2000  # operations of a formula, likewise
OPERATION = re.compile(r"[-+*/^<>=!&|,(]")
KINDS: dict[str, tuple[type, ...]] = {"real": (float, int), "int": (int,), "string": (str,)}


def read_correction(
    source: str | Path | JSONMapping, name: str, fixed: Mapping[str, object]
) -> tuple[dict[str, str], Node]:
    """The inputs that are not fixed with their types (``real``, ``int``, ``string``), and the node, of a correction.

    Args:
        source: the file's path (``.json`` or ``.json.gz``), or its content.
        name: of the correction.
        fixed: inputs that are fixed.

    Raises:
        CorrectionError: when there is no such correction or input, it is not of the schema, or holds what has no differentiable meaning.
    """
    content = source if isinstance(source, Mapping) else _content(Path(source))
    correction = _found(content, name)
    reader = _Reader(correction, fixed)
    unknown = sorted(set(fixed) - set(reader.types))
    if unknown:
        msg = f"expected to fix some of the inputs {', '.join(reader.types)} of {name!r}, got {', '.join(unknown)}"
        raise CorrectionError(msg)
    if set(fixed) == set(reader.types):
        msg = f"expected an input of {name!r} that is not fixed, got all of {', '.join(fixed)}: this is a constant"
        raise CorrectionError(msg)
    inputs = {key: kind for key, kind in reader.types.items() if key not in fixed}
    try:
        return inputs, reader.node(correction["data"])
    except CorrectionError as error:
        msg = f"correction {name!r}: {error}"
        raise CorrectionError(msg) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        msg = f"correction {name!r} is not of correctionlib's schema {SCHEMA}: {type(error).__name__}: {error}"
        raise CorrectionError(msg) from error


def _content(path: Path) -> object:
    try:
        content = path.read_bytes()
        return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, EOFError, ValueError, zlib.error, RecursionError) as error:
        msg = f"expected {path} to be a correctionlib file (.json or .json.gz), got {type(error).__name__}: {error}"
        raise CorrectionError(msg) from error


def _found(content: Any, name: str) -> JSONMapping:
    """The one correction of that name."""
    corrections = content.get("corrections") if isinstance(content, Mapping) else None
    if not isinstance(corrections, Sequence) or not all(isinstance(c, Mapping) and "name" in c for c in corrections):
        msg = f"expected a list of named corrections, as in correctionlib's schema {SCHEMA}, got {content!r:.200}"
        raise CorrectionError(msg)
    if (version := content.get("schema_version", SCHEMA)) != SCHEMA:
        msg = f"expected a file of schema {SCHEMA}, got {version!r}: `correction convert` of correctionlib makes one"
        raise CorrectionError(msg)
    found = [correction for correction in corrections if correction["name"] == name]
    if len(found) != 1:
        names = ", ".join(str(correction["name"]) for correction in corrections)
        msg = f"expected one of the corrections {names}, got {name!r}{', which comes twice' if found else ''}"
        raise CorrectionError(msg)
    if _depth(found[0]) > DEEPEST:
        msg = f"correction {name!r} is nested more than {DEEPEST} deep"
        raise CorrectionError(msg)
    return found[0]


class _Reader:
    """Turns the content of one correction into nodes."""

    def __init__(self, correction: JSONMapping, fixed: Mapping[str, object]) -> None:
        self.name = correction["name"]
        try:
            self.inputs = [(variable["name"], variable["type"]) for variable in correction["inputs"]]
            self.variables = [_core.Variable.from_string(json.dumps(variable)) for variable in correction["inputs"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            msg = f"expected the inputs of {self.name!r} with name and type, got {correction.get('inputs')!r:.200} ({error})"
            raise CorrectionError(msg) from error
        if twice := [name for name, count in Counter(name for name, _ in self.inputs).items() if count > 1]:
            msg = f"expected every input of {self.name!r} once, got {', '.join(twice)} twice"
            raise CorrectionError(msg)
        self.types = dict(self.inputs)
        self.formulas = correction.get("generic_formulas") or []
        self.fixed = fixed
        for name in set(fixed) & set(self.types):
            self._check_fixed(name, fixed[name])

    def node(self, spec: object) -> Node:
        """The node of a part of the file."""
        if not isinstance(spec, Mapping):
            return _number(spec)
        kind = spec["nodetype"]
        if kind == "category":
            return self.node(self._chosen(spec))
        if kind == "binning":
            return self._bins([spec["input"]], [spec["edges"]], spec)
        if kind == "multibinning":
            return self._bins(spec["inputs"], spec["edges"], spec)
        if kind == "transform":
            whole = self._type(spec["input"], "real", "int") == "int"
            return Transform(spec["input"], self.node(spec["rule"]), self.node(spec["content"]), whole)
        if kind == "formula":
            return self._formula(spec)
        if kind == "formularef":
            return self._formula({**self._generic(spec["index"]), "parameters": spec["parameters"]})
        msg = (
            f"expected {self.name!r} to be made of categories, bins, transforms and formulas, got a {kind!r}: "
            "evaluate it in `columns` instead"
        )
        raise CorrectionError(msg)

    def _check_fixed(self, name: str, value: Any) -> None:
        kind = self.types[name]
        value = value.item() if np.ndim(value) == 0 and hasattr(value, "item") else value
        fits = isinstance(value, KINDS[kind]) and not isinstance(value, bool)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            msg = f"expected the input {name!r} of {self.name!r} to be fixed to a finite value of type {kind}, got {value!r}"
            raise CorrectionError(msg)

    def _type(self, name: str, *kinds: str) -> str:
        """The type of an input, which must be one of some."""
        if name not in self.types or self.types[name] not in kinds:
            msg = f"expected one of the inputs {', '.join(self.types)} of type {' or '.join(kinds)}, got {name!r}"
            raise CorrectionError(msg)
        return self.types[name]

    def _chosen(self, spec: JSONMapping) -> object:
        """What a category node holds for the fixed input."""
        keys = [item["key"] for item in spec["content"]]
        kind = self._type(spec["input"], "string", "int")
        if len(set(keys)) < len(keys) or not all(type(key) in KINDS[kind] for key in keys):
            msg = f"expected different keys of type {kind} for the category {spec['input']!r}, got {keys}"
            raise CorrectionError(msg)
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

    def _bins(self, inputs: list[str], edges: list[object], spec: JSONMapping) -> Bins:
        for name in inputs:
            self._type(name, "real", "int")
        flow = spec["flow"] if isinstance(spec["flow"], str) else self.node(spec["flow"])
        return Bins(tuple(inputs), tuple(map(_edges, edges)), tuple(map(self.node, spec["content"])), flow)

    def _generic(self, index: object) -> JSONMapping:
        if type(index) is not int or not 0 <= index < len(self.formulas):
            msg = f"expected the number of one of {len(self.formulas)} generic formulas, got {index!r}"
            raise CorrectionError(msg)
        return self.formulas[index]

    def _formula(self, spec: JSONMapping) -> Formula:
        expression = spec["expression"]
        if _brackets(expression) > DEEPEST or len(OPERATION.findall(expression)) > LONGEST:
            raise CorrectionError(_too_deep(expression))
        parameters = [_number(parameter) for parameter in spec.get("parameters") or []]
        text = json.dumps({**spec, **({"parameters": parameters} if parameters else {})})
        try:
            parsed = _core.Formula.from_string(text, self.variables)
        except RuntimeError as error:
            msg = f"expected a formula of {self.name!r} that correctionlib can parse, got {expression!r:.200}: {error}"
            raise CorrectionError(msg) from error
        if _levels(parsed.ast) > DEEPEST:
            raise CorrectionError(_too_deep(expression))
        return Formula(self._tree(parsed.ast))

    def _tree(self, ast: Any) -> Tree:
        kind = ast.nodetype.name
        if kind == "LITERAL":
            return float(ast.data)
        if kind == "VARIABLE":
            return self.inputs[ast.data][0]
        return (ast.data.name, *map(self._tree, ast.children))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        msg = f"expected a finite number, got {value!r:.200}"
        raise CorrectionError(msg)
    return float(value)


def _edges(spec: Any) -> tuple[float, ...]:
    if isinstance(spec, Mapping):
        low, high, count = _number(spec["low"]), _number(spec["high"]), spec["n"]
        if type(count) is not int or count < 1:
            msg = f"expected a number of bins, got {count!r}"
            raise CorrectionError(msg)
        return (low, *_starts(low, high, count), high)
    return tuple(
        float(edge) if edge in ("inf", "+inf", "-inf") or abs(edge) == math.inf else _number(edge) for edge in spec
    )


def _starts(low: float, high: float, count: int) -> list[float]:
    """The first number in each of equal bins after the first, by correctionlib's arithmetic, which rounds: 0.3 begins one of ten from 0 to 1."""
    numbers = np.arange(1, count)
    before, first = np.full(numbers.shape, low), np.full(numbers.shape, high)
    while np.any((before < (middle := before + (first - before) / 2)) & (middle < first)):
        reached = count * ((middle - low) / (high - low)) >= numbers
        before, first = np.where(reached, before, middle), np.where(reached, middle, first)
    return first.tolist()


def _depth(content: object) -> int:
    """How many lists and objects lie within each other."""
    depth, level = 0, [content]
    while level:
        depth += 1
        level = [inner for outer in level for inner in _inner(outer)]
        if depth > DEEPEST:
            break
    return depth


def _inner(content: object) -> Iterator[object]:
    if isinstance(content, Mapping):
        yield from content.values()
    elif isinstance(content, Sequence) and not isinstance(content, str | bytes):
        yield from content


def _brackets(expression: str) -> int:
    depth = deepest = 0
    for character in expression:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest


def _levels(ast: Any) -> int:
    levels, level = 0, [ast]
    while level:
        levels += 1
        level = [child for parent in level for child in parent.children]
    return levels


def _too_deep(expression: str) -> str:
    return (
        f"expected a formula of at most {DEEPEST} operations within each other, {LONGEST} in all, got {expression!r:.60}…: "
        "make it of several nodes, or compute it in `columns`"
    )
