"""Modules: the text of a user's modules, statement by statement."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

from diffea.errors import ExportError
from diffea.sources import of_a_user
from diffea.types import PyTree

COPIED = ("diffea.demo", "diffea.export.plain")


def is_own(name: str) -> bool:
    """Whether a module's text is copied: a user's, the demo's, or a twin of diffea's."""
    return of_a_user(name) or any(name == known or name.startswith(f"{known}.") for known in COPIED)


class Module:
    """A module that is imported, and its text.

    Attributes:
        name: of the module.
        path: of its file.
        lines: of its text, as bytes, since the columns of a syntax tree count bytes.
        statements: of its top level.
        globals: what it holds now.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        found = sys.modules.get(name)
        self.path = Path(str(getattr(found, "__file__", None) or ""))
        if found is None or self.path.suffix != ".py" or not self.path.is_file():
            msg = (
                f"the code in {name} has no file, so that it cannot be copied: write the analysis into a Python file (a cell of a notebook is "
                "none)"
            )
            raise ExportError(msg)
        text = self.path.read_bytes()
        self.lines = text.splitlines(keepends=True)
        self.statements = ast.parse(text).body
        self.globals: dict[str, PyTree] = vars(found)

    @functools.cached_property
    def binders(self) -> dict[str, list[int]]:
        """The statements, by number, that bind or change each name."""
        found: dict[str, list[int]] = {}
        for number, statement in enumerate(self.statements):
            for name in set(_changed(statement)):
                found.setdefault(name, []).append(number)
        return found

    def importing(self, name: str) -> tuple[str, str] | None:
        """The module and the name there, of what a ``from … import`` binds to a name."""
        for number in self.binders.get(name, ()):
            statement = self.statements[number]
            if isinstance(statement, ast.ImportFrom):
                source = self._absolute(statement)
                return next((source, alias.name) for alias in statement.names if (alias.asname or alias.name) == name)
        return None

    def import_line(self, name: str) -> str:
        """The statement that imports a module under a name."""
        for number in self.binders.get(name, ()):
            statement = self.statements[number]
            if isinstance(statement, ast.Import):
                alias = next(a for a in statement.names if (a.asname or a.name.partition(".")[0]) == name)
                return f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
            if isinstance(statement, ast.ImportFrom):
                source, original = self.importing(name) or ("", "")
                return f"from {source} import {original}" + (f" as {name}" if name != original else "")
        msg = f"{self.path}: the module {name!r} is not imported at the top of the file, so that it cannot be exported: import it there"
        raise ExportError(msg)

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        package = (self.globals.get("__package__") or "").split(".")
        base = package[: len(package) + 1 - statement.level]
        return ".".join([*base, *filter(None, [statement.module])])

    def place(self, node: ast.AST) -> str:
        """File, line and text of a node, for a message."""
        line: int = getattr(node, "lineno", 1)
        return f"{self.path}, line {line}: `{self.lines[line - 1].decode().strip()}`"


def _changed(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds, or whose contents it may change."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Import() | ast.ImportFrom():
            yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):  # such as TABLE.update(…)
            yield name
        case ast.Expr():
            return
        case _:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id
                elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
                    yield from (name.id for name in [node.value] if isinstance(name, ast.Name))
