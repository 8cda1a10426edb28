"""Slicing: the text that a class or a function needs, out of one or several modules, in one file."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator

from diffea.errors import ExportError
from diffea.export.modules import Module
from diffea.export.names import TWINS, Imported, Meaning, NumpyName, Own, Refused, Twin, chain_of, meaning

ALWAYS = ("channels", "variations", "columns", "fill")
NEVER = ("edges", "__init__", "process", "postprocess", "at")
OWN = "# The analysis, where diffea's soft cuts are exact ones and jax.numpy is NumPy.\n"
REMARKS = re.compile(r"  # (noqa|type): .*$", re.MULTILINE)


@dataclasses.dataclass
class Slice:
    """What is copied so far.

    Attributes:
        modules: by name, in the order in which they were met.
        texts: of statements, by module and number.
        imports: lines.
        names: at the top level of the file, each with what it stands for.
        order: of the modules, those that others need first.
    """

    modules: dict[str, Module] = dataclasses.field(default_factory=dict)
    texts: dict[tuple[str, int], str] = dataclasses.field(default_factory=dict)
    imports: set[str] = dataclasses.field(default_factory=set)
    names: dict[str, object] = dataclasses.field(default_factory=dict)
    order: list[str] = dataclasses.field(default_factory=list)
    members: dict[tuple[str, str], set[str]] = dataclasses.field(default_factory=dict)

    def copy(self) -> Slice:
        """The same, to go on with and perhaps to forget."""
        fields = dataclasses.fields(self)
        return Slice(*(type(value)(value) for value in (getattr(self, field.name) for field in fields)))

    def need_processor(self, cls: type) -> None:
        """A processor's class, and of it and its bases the members that selecting and filling need.

        Raises:
            ExportError: if something that is needed has no counterpart in NumPy, or no text.
        """
        bodies = {}
        for base in cls.__mro__:
            if _is_base(base):
                break
            module = self._module(base.__module__)
            found = [s for s in module.statements if isinstance(s, ast.ClassDef) and s.name == base.__qualname__]
            if not found:
                msg = f"{base.__qualname__} is not at the top level of {module.path}, so that its text cannot be copied: move it there"
                raise ExportError(msg)
            bodies[base.__module__, base.__qualname__] = found[-1]
        needed = set(ALWAYS)
        while True:
            asked = {
                node.attr
                for body in bodies.values()
                for member in body.body
                if _names_of(member) & needed
                for node in ast.walk(member)
                if isinstance(node, ast.Attribute)
            }
            of_class = {name for body in bodies.values() for member in body.body for name in _names_of(member)}
            if (more := needed | (asked & of_class)) == needed:
                break
            needed = more
        self.members |= dict.fromkeys(bodies, needed - set(NEVER))
        for module, name in bodies:
            self.need(module, name)

    def need(self, module_name: str, name: str) -> None:
        """Everything that binds a name in a module, and what that needs.

        Raises:
            ExportError: likewise.
        """
        module = self._module(module_name)
        self._claim(name, (module_name, name), module.place(module.statements[0]))
        for number in module.binders.get(name, ()):
            if (module_name, number) not in self.texts:
                self.texts[module_name, number] = ""  # so that what needs itself ends
                self.texts[module_name, number] = self._text(module, number)
        if module_name not in self.order:
            self.order.append(module_name)

    def _module(self, name: str) -> Module:
        if name not in self.modules:
            self.modules[name] = Module(name)
        return self.modules[name]

    def _claim(self, name: str, what: object, where: str) -> None:
        if self.names.setdefault(name, what) != what:
            msg = f"{where}: {name!r} is one thing here and another in a module that the processor needs too: give one of them another name"
            raise ExportError(msg)

    def _text(self, module: Module, number: int) -> str:
        statement = module.statements[number]
        editor = _Editor(self, module, statement)
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
        while first > 1 and module.lines[first - 2].startswith(b"#") and not _above(module, number, first - 1):
            first -= 1
        last = statement.end_lineno or statement.lineno
        after = module.statements[number + 1] if number + 1 < len(module.statements) else None
        if isinstance(statement, ast.Assign | ast.AnnAssign) and _is_text(after):
            last = after.end_lineno or last  # type: ignore[union-attr]
        return editor.text(first, last)

    def add(self, meant: Meaning, module: Module, node: ast.AST) -> str | None:
        """See that something is in the file; the name that it has there, if another than here.

        Raises:
            ExportError: if it has no place there.
        """
        match meant:
            case Refused(name):
                msg = (
                    f"{module.place(node)} uses {name}, which has no counterpart in plain NumPy: write it with diffea.soft, arithmetic and "
                    "functions of jax.numpy that NumPy has too"
                )
                raise ExportError(msg)
            case NumpyName(name):
                self.imports.add("import numpy as np")
                self._claim("np", "import numpy as np", module.place(node))
                return f"np.{name}"
            case Imported(line, name):
                self.imports.add(line)
                self._claim(name, line, module.place(node))
                return None
            case Twin(where, name) | Own(where, name):
                self.need(where, name)
                return name
        return None

    def source(self) -> tuple[str, str]:
        """The lines that import, and the rest: first what stands for diffea, then the user's own."""
        rank = {name: (not name.startswith(TWINS), place) for place, name in enumerate(self.order)}
        chosen = sorted((key for key, text in self.texts.items() if text), key=lambda key: (rank[key[0]], key[1]))
        body, before = "", ""
        for key in chosen:
            text, own = self.texts[key], not key[0].startswith(TWINS)
            if own and OWN not in body:
                body, before = f"{body}\n\n\n{OWN}", ""
            apart = "\n" if before and not _long(before) and not _long(text) else "\n\n\n"
            body, before = body + apart + text, text
        return import_lines(self.imports), body.strip("\n")


def import_lines(imports: Iterable[str]) -> str:
    """Imports as they are usually written: those of the standard library, then those of packages."""
    names: dict[str, list[str]] = {}
    lines = set()
    for line in imports:
        if line.startswith("from "):
            _, module, _, name = line.split(" ", 3)
            names.setdefault(module, []).append(name)
        else:
            lines.add(line)
    lines |= {f"from {module} import {', '.join(sorted(found))}" for module, found in names.items()}
    groups: tuple[list[str], list[str]] = ([], [])
    for line in sorted(lines, key=lambda line: (line.startswith("from "), line)):
        groups[line.split()[1].partition(".")[0] not in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(group) for group in groups if group)


def _long(text: str) -> bool:
    """Whether a statement stands by itself."""
    return "\n" in text or text.startswith(("def ", "class "))


class _Editor(ast.NodeVisitor):
    """Finds what a statement refers to, and what is to be replaced in its text."""

    def __init__(self, slice_: Slice, module: Module, statement: ast.stmt) -> None:
        self.slice, self.module, self.statement = slice_, module, statement
        self.scopes: list[tuple[bool, set[str]]] = []  # of functions, and of classes, whose names are not seen in their functions
        self.edits: list[tuple[int, int, int, int, bytes]] = []
        self.visit(statement)

    def text(self, first: int, last: int) -> str:
        """Lines of the module, edited."""
        lines = list(self.module.lines[first - 1 : last])
        for line, column, end_line, end_column, new in sorted(self.edits, reverse=True):
            start, end = line - first, end_line - first
            head, tail = lines[start][:column], lines[end][end_column:]
            lines[start : end + 1] = [head + new + tail] if new or (head + tail).strip() else []
        return REMARKS.sub("", b"".join(lines).decode()).rstrip()

    def replace(self, node: ast.expr, new: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        self.edits.append((node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, new.encode()))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        kept = self.slice.members.get((self.module.name, node.name)) if node is self.statement else None
        for part in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        members = [m for m in node.body if kept is None or not (names := _names_of(m)) or names & kept]
        self.scopes.append((False, {name for member in members for name in _names_of(member)}))
        for member in node.body:
            if member in members:
                self.visit(member)
            else:
                self._cut(member)
        self.scopes.pop()
        if not members:
            self.edits.append((node.body[-1].lineno, node.body[-1].col_offset, node.body[-1].lineno, node.body[-1].col_offset, b"pass"))

    def _cut(self, member: ast.stmt) -> None:
        first = min([member.lineno, *(d.lineno for d in getattr(member, "decorator_list", ()))])
        last = member.end_lineno or member.lineno
        length = len(self.module.lines[last - 1])
        self.edits.append((first, 0, last, length, b""))

    def visit_Import(self, node: ast.Import) -> None:
        self._imports(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._imports(node)

    def _imports(self, node: ast.Import | ast.ImportFrom) -> None:
        if node is self.statement:
            msg = f"{self.module.place(node)} is imported in a way that cannot be copied"
            raise ExportError(msg)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for name in names:
            if name.partition(".")[0] in ("jax", "diffea"):
                self.slice.add(Refused(name), self.module, node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self._function(node, node.body)
        if node.returns is not None:
            self.annotation(node.returns)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node, [node.body])

    def _function(self, node: ast.FunctionDef | ast.Lambda, body: list[ast.stmt] | list[ast.expr]) -> None:
        given = node.args
        for default in (*given.defaults, *filter(None, given.kw_defaults)):
            self.visit(default)
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        for argument in arguments:
            if argument.annotation is not None:
                self.annotation(argument.annotation)
        bound = {argument.arg for argument in arguments} | {name for part in body for name in _bound(part)}
        self.scopes.append((True, bound))
        for part in body:
            self.visit(part)
        self.scopes.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.annotation(node.annotation)
        for part in (node.target, node.value):
            if part is not None:
                self.visit(part)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.scopes.append((True, set(_bound(node))))
        self.generic_visit(node)
        self.scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def annotation(self, node: ast.expr) -> None:
        """A type: what is not of the standard library or an installed package becomes ``Any``."""
        for chain, part in _chains(node):
            meant, used = meaning(self.module, chain)
            if isinstance(meant, Imported):
                self.slice.add(meant, self.module, part)
            elif meant is not None and used == len(chain):
                self.slice.add(Imported("from typing import Any", "Any"), self.module, part)
                self.replace(part, "Any")

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "at":
            self.slice.add(Refused("the updates `.at[…]` of JAX's arrays"), self.module, node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = chain_of(node)
        if chain is None:
            self.generic_visit(node)
        else:
            self._refer(chain, node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._refer([node.id], node)

    def _refer(self, chain: list[str], node: ast.expr) -> None:
        if self._local(chain[0]):
            return
        meant, used = meaning(self.module, chain)
        if meant is None:
            if not hasattr(builtins, chain[0]) and chain[0] not in ("__file__", "__name__"):
                msg = f"{self.module.place(node)}: nothing in the file is named {chain[0]!r}"
                raise ExportError(msg)
            return
        new = self.slice.add(meant, self.module, node)
        part = node
        for _ in range(len(chain) - used):
            assert isinstance(part, ast.Attribute)
            part = part.value
        if new is not None and new != ".".join(chain[:used]):
            self.replace(part, new)

    def _local(self, name: str) -> bool:
        inner = self.scopes[-1:]
        return any(name in bound for is_function, bound in self.scopes if is_function) or any(name in b for _, b in inner)


def _is_base(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "diffea" and not cls.__module__.startswith("diffea.demo")


def _names_of(member: ast.stmt) -> set[str]:
    """The names that a member of a class binds; none for a text or ``pass``."""
    match member:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {member.name}
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.For() | ast.With() | ast.If():
            return set(_bound(member))
    return set()


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that are bound in a node, those in functions within it left out."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            yield node.name
            return
        case ast.Lambda():
            return
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.ExceptHandler(name=str()) | ast.MatchAs(name=str()) | ast.MatchStar(name=str()):
            yield str(node.name)
        case ast.MatchMapping(rest=str()):
            yield str(node.rest)
        case ast.alias():
            yield (node.asname or node.name).partition(".")[0]
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _chains(node: ast.expr) -> Iterator[tuple[list[str], ast.expr]]:
    """The dotted names in a type, outermost first."""
    if (chain := chain_of(node)) is not None:
        yield chain, node
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _chains(child)


def _above(module: Module, number: int, line: int) -> bool:
    """Whether a line belongs to the statement before."""
    return number > 0 and (module.statements[number - 1].end_lineno or 0) >= line


def _is_text(statement: ast.stmt | None) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
