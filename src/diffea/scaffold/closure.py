"""Closure: the statements of a module that a part of its text needs."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from pathlib import Path


def needed(module: ast.Module, path: Path, cls: type, parts: Iterable[ast.AST]) -> tuple[list[str], list[str]]:
    """Imports and other statements at a module's top level that bind what is used, and what those use, in their order.

    Args:
        module: parsed.
        path: of its file.
        cls: the class whose text the parts are; it is not among what is needed.
        parts: what uses.
    """
    text = path.read_text(encoding="utf-8")
    statements = [node for node in module.body if getattr(node, "name", None) != cls.__name__]
    wanted, found = _used(parts), set[int]()
    while True:
        more = {
            index
            for index, node in enumerate(statements)
            if index not in found and (_binds(node) & wanted or "*" in _binds(node))
        }
        if not more:
            break
        found |= more
        wanted |= _used(statements[index] for index in more)
    chosen = [statements[index] for index in sorted(found)]
    package = cls.__module__.rpartition(".")[0]
    imports = [
        ast.unparse(_absolute(node, package)) for node in chosen if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    helpers = [
        "\n".join(text.splitlines()[_first(node) - 1 : node.end_lineno])
        for node in chosen
        if not isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return imports, helpers


def _used(parts: Iterable[ast.AST]) -> set[str]:
    names = {node.id for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)}
    return names - set(dir(builtins))


def _binds(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _absolute(node: ast.Import | ast.ImportFrom, package: str) -> ast.Import | ast.ImportFrom:
    """An import that does not depend on where it stands."""
    if isinstance(node, ast.Import) or not node.level:
        return node
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ast.ImportFrom(".".join([*parents, *filter(None, [node.module])]), node.names, 0)


def _first(node: ast.stmt) -> int:
    return min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
