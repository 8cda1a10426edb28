"""Editing: the text of one statement, without what is not needed, and with other names where the file has others."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Iterator

from diffea.errors import ExportError
from diffea.export.modules import Module
from diffea.export.names import Imported, Meaning, Refused, Twin, chain_of, meaning
from diffea.export.plain.functions import changed as CHANGED

REMARKS = re.compile(r"  # (noqa|type): .*$", re.MULTILINE)
COLUMNS = "columns"  # whose arrays are NumPy's and awkward's already
NO_ARRAY = (ast.Dict, ast.List, ast.Tuple, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.JoinedStr)
Refer = Callable[[Meaning, Module, ast.AST], str | None]


class Editor(ast.NodeVisitor):
    """Finds what a statement refers to, and what is to be replaced in its text.

    Args:
        refer: is told what each name stands for, and gives the name that it is to have, if another.
        kept: the members of a class that are kept; None for all.
        module: of the statement.
        statement: of its top level.
    """

    def __init__(self, refer: Refer, kept: set[str] | None, module: Module, statement: ast.stmt) -> None:
        self.refer, self.kept, self.module, self.statement = refer, kept, module, statement
        self.scopes: list[
            tuple[bool, set[str]]
        ] = []  # of functions, and of classes, whose names are not seen in their functions
        self.functions: list[str] = []
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
        """Give a name of the text another one.

        Raises:
            ExportError: if Python does not say where it stands, as within an f-string before 3.12.
        """
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        there = self.module.lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode(errors="replace")
        old = ".".join(chain_of(node) or [])
        if node.lineno != node.end_lineno or there != old:
            msg = f"{self.module.place(node)}: {old} cannot be replaced there: write it on one line, and out of an f-string"
            raise ExportError(msg)
        self.edits.append((node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, new.encode()))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        kept = self.kept if node is self.statement else None
        for part in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        members = [m for m in node.body if kept is None or not (names := names_of(m)) or names & kept]
        self.scopes.append((False, {name for member in members for name in names_of(member)}))
        for member in node.body:
            if member in members:
                self.visit(member)
            else:
                self._cut(member)
        self.scopes.pop()
        if not members:
            self.edits.append(
                (
                    node.body[-1].lineno,
                    node.body[-1].col_offset,
                    node.body[-1].lineno,
                    node.body[-1].col_offset,
                    b"pass",
                )
            )

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
                self.refer(Refused(name), self.module, node)

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
        self.functions.append(getattr(node, "name", ""))
        for part in body:
            self.visit(part)
        self.functions.pop()
        self.scopes.pop()

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """``x += y`` changes an array of NumPy in place, and one of JAX not: where x may be one, it is made anew."""
        self.generic_visit(node)
        in_fill = self.scopes and not any(name == COLUMNS for name in self.functions)
        if not in_fill or isinstance(node.value, NO_ARRAY):
            return
        new = self.refer(Twin(CHANGED.__module__, CHANGED.__name__), self.module, node)
        assert node.target.end_lineno is not None
        assert node.target.end_col_offset is not None
        line, column = node.target.end_lineno, node.target.end_col_offset
        text = self.module.lines[line - 1]
        end = text.index(b"=", column) + 1
        target = ast.get_source_segment(b"".join(self.module.lines).decode(), node.target)
        sign = text[column:end].decode().strip()
        self.edits.append((line, column, line, end, f' = {new}({target}, "{sign}",'.encode()))
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        self.edits.append((node.end_lineno, node.end_col_offset, node.end_lineno, node.end_col_offset, b")"))

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
                self.refer(meant, self.module, part)
            elif meant is not None and used == len(chain):
                self.refer(Imported("from typing import Any", "Any"), self.module, part)
                self.replace(part, "Any")

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "at":
            self.refer(Refused("the updates `.at[…]` of JAX's arrays"), self.module, node)
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
        new = self.refer(meant, self.module, node)
        part = node
        for _ in range(len(chain) - used):
            assert isinstance(part, ast.Attribute)
            part = part.value
        if new is not None and new != ".".join(chain[:used]):
            self.replace(part, new)

    def _local(self, name: str) -> bool:
        inner = self.scopes[-1:]
        return any(name in bound for is_function, bound in self.scopes if is_function) or any(
            name in b for _, b in inner
        )


def names_of(member: ast.stmt) -> set[str]:
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
