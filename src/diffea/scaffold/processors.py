"""Processors: what an existing coffea processor says, as far as its text tells."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from diffea.errors import AnalysisError
from diffea.scaffold.closure import needed

HALVES = ("process", "postprocess", "accumulator")
REDUCTIONS = ("sum", "any", "all", "count_nonzero")
AXES = {"Reg": "Regular", "Regular": "Regular", "Var": "Variable", "Variable": "Variable"}
SIDES: dict[type[ast.cmpop], Literal["above", "below"]] = {
    ast.Gt: "above", ast.GtE: "above", ast.Lt: "below", ast.LtE: "below",
}  # fmt: skip
FLIPPED = {"above": "below", "below": "above"}
COUNTS = 10  # a whole number below it is taken for a number of objects


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A comparison with a number, which may become a parameter.

    Attributes:
        name: of the parameter and of its column.
        source: Python of what is compared.
        side: that passes.
        value: the number.
        width: a first one of the transition.
        low, high: within which to look first.
        objects: whether it is of objects, of which events need some, and not of events.
        line: of the module.
    """

    name: str
    source: str
    side: str
    value: float
    width: float
    low: float
    high: float
    objects: bool
    line: int


@dataclasses.dataclass(frozen=True)
class Original:
    """An existing processor.

    Attributes:
        place: ``module:class``.
        path: of its module.
        imports, helpers: statements of the module that it needs.
        members: of the class, beside ``process``.
        events: what ``process`` calls its argument.
        before, after: the text of ``process`` up to the first histogram that is filled, and from there on.
        line: where ``process`` stands.
        thresholds: in the text before.
        channels: Python of an axis, by name.
        observables: Python of what is filled, by channel.
        weight: Python of the events' weight, if one is given.
        arguments: that making the processor needs.
    """

    place: str
    path: Path
    imports: tuple[str, ...]
    helpers: tuple[str, ...]
    members: tuple[str, ...]
    events: str
    before: str
    after: str
    line: int
    thresholds: tuple[Threshold, ...]
    channels: dict[str, str]
    observables: dict[str, str]
    weight: str | None
    arguments: tuple[str, ...]


def read_processor(place: str) -> Original:
    """Read the text of a coffea processor.

    Args:
        place: ``module:class``; the module is looked for in the working folder, too.

    Raises:
        AnalysisError: if there is no such class, it has no ``process``, or its text cannot be read.
    """
    cls = _class(place)
    try:
        lines, first = inspect.getsourcelines(cls)
        path = Path(inspect.getsourcefile(cls) or "")
        module = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, TypeError, SyntaxError) as error:
        msg = f"the text of {place} cannot be read ({error}): give a class of a Python file"
        raise AnalysisError(msg) from error
    text = textwrap.dedent("".join(lines))
    (body,) = ast.parse(text).body
    methods = {node.name: node for node in getattr(body, "body", []) if isinstance(node, ast.FunctionDef)}
    if "process" not in methods:
        msg = f"{place} defines no `process(self, events)` itself, so that there is nothing to divide: name the class that does"
        raise AnalysisError(msg)
    process = methods["process"]
    before, after = _halves(process)
    members = [node for node in body.body if getattr(node, "name", None) not in HALVES and not _is_docstring(node)]  # type: ignore[attr-defined]
    arguments = _arguments(methods.get("__init__"))
    if arguments:
        members = [node for node in members if getattr(node, "name", None) != "__init__"]
    imports, helpers = needed(module, path, cls, [process, *members])
    events = process.args.args[1].arg if len(process.args.args) > 1 else "events"
    return Original(
        place=place,
        path=path,
        imports=tuple(imports),
        helpers=tuple(helpers),
        members=tuple(_text(text, [node]) for node in members),
        events=events,
        before=_text(text, before),
        after=_text(text, after),
        line=first + process.lineno - 1,
        thresholds=tuple(_thresholds(before, events, first - 1)),
        channels=(channels := _channels(body)),
        observables=_observables(after, channels),
        weight=_weight(after),
        arguments=arguments,
    )


def _class(place: str) -> type:
    name, _, wanted = place.partition(":")
    if not (name and wanted.isidentifier()):
        msg = f"an existing processor is named as my_module:MyProcessor, got {place!r}"
        raise AnalysisError(msg)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(name)
    except Exception as error:
        msg = f"the module {name} cannot be imported: {type(error).__name__}: {error}"
        raise AnalysisError(msg) from error
    cls = getattr(module, wanted, None)
    if not isinstance(cls, type):
        found = ", ".join(key for key, value in vars(module).items() if callable(getattr(value, "process", None)))
        msg = f"{name} has no class {wanted}; classes with a `process` in it: {found or 'none'}"
        raise AnalysisError(msg)
    return cls


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _arguments(init: ast.FunctionDef | None) -> tuple[str, ...]:
    """Those without which no instance can be made."""
    if init is None:
        return ()
    given = init.args.args[1:]
    needed_ = [argument.arg for argument in given[: len(given) - len(init.args.defaults)]]
    pairs = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    return (*needed_, *(argument.arg for argument, default in pairs if default is None))


def _text(text: str, nodes: Sequence[ast.stmt]) -> str:
    """Of consecutive statements, with the comments between them, without indentation."""
    if not nodes:
        return ""
    start = min([nodes[0].lineno, *(node.lineno for node in getattr(nodes[0], "decorator_list", []))])
    lines = text.splitlines()[start - 1 : nodes[-1].end_lineno]
    return textwrap.dedent("\n".join(lines))


def _halves(process: ast.FunctionDef) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Statements before the first that fills or returns, and the others."""
    body = process.body[1:] if _is_docstring(process.body[0]) else process.body
    cut = next((index for index, node in enumerate(body) if any(_ends(part) for part in ast.walk(node))), len(body))
    return list(body[:cut]), list(body[cut:])


def _ends(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) or _is_fill(node)


def _is_fill(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fill"


def _thresholds(nodes: Sequence[ast.stmt], events: str, offset: int) -> Iterator[Threshold]:
    """Comparisons with numbers that are not numbers of objects."""
    taken: set[str] = set()
    for node in nodes:
        within = {id(part) for call in ast.walk(node) if _reduces(call) for part in ast.walk(call)}
        for part in ast.walk(node):
            if not (isinstance(part, ast.Compare) and len(part.ops) == 1 and type(part.ops[0]) in SIDES):
                continue
            what, side = part.left, SIDES[type(part.ops[0])]
            number = _number(part.comparators[0])
            if number is None:
                what, number = part.comparators[0], _number(part.left)
                side = FLIPPED[side]  # type: ignore[assignment]
            if number is None or (isinstance(number, int) and number < COUNTS):
                continue
            name = stem = _name(what, events)
            for again in range(2, 99):
                if name not in taken:
                    break
                name = f"{stem}_{again}"
            taken.add(name)
            low, high = sorted((0.5 * number, 2.0 * number)) if number else (-1.0, 1.0)
            width = float(f"{0.05 * abs(number):.2g}") or 0.1
            yield Threshold(
                name, ast.unparse(what), side, float(number), width, low, high, id(part) in within, part.lineno + offset
            )


def _reduces(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS


def _number(node: ast.expr) -> float | int | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _name(node: ast.expr, events: str) -> str:
    """A name of the attributes and variables of an expression."""
    words = re.findall(r"[A-Za-z_]\w*", ast.unparse(node))
    kept = [word for word in words if word not in (events, "ak", "np", "abs", "numpy", "awkward")]
    return "_".join(kept)[:40] or "threshold"


def _channels(body: ast.AST) -> dict[str, str]:
    """Axes that are written out in numbers, as ``hist.axis`` has them."""
    found: dict[str, str] = {}
    for node in ast.walk(body):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in AXES):
            continue
        try:
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                ast.literal_eval(argument)
        except (ValueError, TypeError, SyntaxError):
            continue
        name = next(
            (
                keyword.value.value
                for keyword in node.keywords
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
            ),
            f"channel_{len(found)}",
        )
        arguments = [ast.unparse(part) for part in (*node.args, *node.keywords)]
        found.setdefault(str(name), f"hist.axis.{AXES[node.func.attr]}({', '.join(arguments)})")
    return found


def _fills(nodes: Sequence[ast.stmt]) -> Iterator[ast.Call]:
    yield from (part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Call) and _is_fill(part))


def _observables(nodes: Sequence[ast.stmt], channels: dict[str, str]) -> dict[str, str]:
    """What is filled: by the keyword that an axis is named by, or by position where there is one axis."""
    found: dict[str, str] = {}
    for call in _fills(nodes):
        found |= {
            k.arg: ast.unparse(_whole(k.value)) for k in call.keywords if k.arg in channels and k.arg not in found
        }
        if len(channels) == 1 and len(call.args) == 1:
            found.setdefault(next(iter(channels)), ast.unparse(_whole(call.args[0])))
    return found


def _weight(nodes: Sequence[ast.stmt]) -> str | None:
    weights = (k.value for call in _fills(nodes) for k in call.keywords if k.arg == "weight")
    return next((ast.unparse(_whole(value)) for value in weights), None)


def _whole(node: ast.expr) -> ast.expr:
    """Without the mask that selects: ``mt`` of ``mt[keep]``."""
    return _whole(node.value) if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Constant) else node
